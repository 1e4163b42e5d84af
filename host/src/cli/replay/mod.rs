//! The past, again: a stored run repeated in this process, and stored traffic sent through a candidate.
//!
//! A run is a function of its component, configuration, delivery, attempt and of what its host calls were answered. The host keeps the last
//! three, so a component file is all that is needed to make any past run again, here, without a way out: the gate it runs behind has the
//! recorded answers and nothing else. The same version must come to the same end; another one shows what it would have done otherwise.

mod again;
mod candidate;
mod changes;
mod past;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::{
    again::{Again, Settled},
    candidate::Candidate,
    changes::Comparison,
    past::Past,
};
use super::{
    api::{Api, encoded, query},
    exit::{Exit, Failure},
    output::{Output, say},
    page::Since,
    progress::Progress,
    read_bounded,
};
use crate::{
    clock::Clock,
    delivery::{PluginName, TenantId, view::DeliveryView},
};

/// Deliveries of one page.
const PAGE: &str = "200";
/// Reasons that are listed for deliveries that cannot be replayed.
const REASONS_MAX: usize = 3;

/// Which past run, for `plugin run --replay`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OneArgs {
    /// Repeat a past run with its recorded answers and without any way out: the id of a delivery of a running host, or a file that
    /// `deliveries show ID --json` has written
    #[arg(long, value_name = "ID|FILE", conflicts_with_all = ["event", "payload", "config", "expect"])]
    replay: Option<String>,
    /// Which attempt of it, counted over all generations; the last one by default
    #[arg(long, value_name = "N", requires = "replay")]
    attempt: Option<usize>,
    /// Whose run it was; by default that of the plugin the component's file is named after
    #[arg(long, value_name = "NAME", requires = "replay")]
    plugin: Option<PluginName>,
    /// The tenant of the delivery
    #[arg(long, default_value = "default", requires = "replay")]
    tenant: TenantId,
    /// The admin listener's URL, where the run is asked for by its id
    #[arg(long, env = "HOOKYARD_ADMIN_URL", default_value = "http://127.0.0.1:9090", value_name = "URL")]
    admin: String,
}

/// Which traffic, for `deliveries replay` by filter and with a candidate.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ManyArgs {
    /// Send stored deliveries through this component instead, with its manifest beside it, and change nothing
    #[arg(long, value_name = "FILE.wasm", requires_all = ["since", "plugin", "dry_run"])]
    with: Option<PathBuf>,
    /// Run the plugin's legs again that are settled so; several are apart by commas
    #[arg(long = "state", value_delimiter = ',', requires_all = ["since", "plugin"], conflicts_with = "with")]
    states: Vec<Settled>,
    /// Deliveries received since: `24h`, `30m`, `7d`, or RFC 3339
    #[arg(long, conflicts_with = "id")]
    since: Option<Since>,
    /// Deliveries received before: the same
    #[arg(long, requires = "states")]
    until: Option<Since>,
    /// The plugin whose runs are repeated; with an id, whose leg runs again, acked or not
    #[arg(long)]
    plugin: Option<PluginName>,
    /// Its tenant
    #[arg(long, default_value = "default")]
    tenant: TenantId,
    /// Of this source only
    #[arg(long, requires = "states")]
    source: Option<String>,
    /// Of this event only
    #[arg(long, requires = "states")]
    event: Option<String>,
    /// Of this action only
    #[arg(long, requires = "states")]
    action: Option<String>,
    /// Change nothing: tell how many would run again. With `--with` nothing ever leaves this process, and it is required, so that nobody
    /// thinks otherwise
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
    /// Legs a second that run again
    #[arg(long, default_value_t = 100, requires = "states", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Show every delivery that would end otherwise, and how
    #[arg(long, requires = "with")]
    diff: bool,
    /// So many deliveries at most, the newest first
    #[arg(long, default_value_t = 10_000, requires = "since", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    limit: u32,
}

impl OneArgs {
    /// Whether a past run is meant.
    pub(super) fn is_meant(&self) -> bool {
        self.replay.is_some()
    }
}

impl ManyArgs {
    /// The plugin that is named.
    #[must_use]
    pub(super) fn plugin(&self) -> Option<&str> {
        self.plugin.as_ref().map(PluginName::as_str)
    }

    /// Whether many deliveries are meant, and not one.
    pub(super) fn is_meant(&self) -> bool {
        self.with.is_some() || !self.states.is_empty()
    }

    /// The legs that are to run again, where no candidate is meant.
    fn again(&self) -> Result<Again, Failure> {
        let missing = || Failure::new(Exit::Usage, "`--state` needs `--since` and `--plugin`");
        let now = Clock::system().now();
        Ok(Again {
            tenant: self.tenant.clone(),
            plugin: self.plugin.clone().ok_or_else(missing)?,
            states: self.states.clone(),
            since: self.since.ok_or_else(missing)?.before(now),
            until: self.until.map(|until| until.before(now)),
            source: self.source.clone(),
            event: self.event.clone(),
            action: self.action.clone(),
            dry_run: self.dry_run,
            rate: self.rate,
            limit: self.limit,
        })
    }
}

/// Repeats one past run; exit 1 where it comes to another end.
pub(super) async fn one(args: &OneArgs, component: &Path, json: bool) -> Result<(), Failure> {
    let output = Output::new(json);
    let candidate = Candidate::load(component)?;
    let plugin = args.plugin.clone().map_or_else(|| candidate.name(), Ok)?;
    let id = args.replay.as_deref().unwrap_or_default();
    let past = Past::of(view(id, &args.admin).await?, (&args.tenant, &plugin), args.attempt)?;
    let report = candidate.repeat(&past).await?;
    let comparison = Comparison::of(&past, &report, candidate.digest());
    if json {
        output.object(&comparison.object(), false)?;
    } else {
        comparison.print(output)?;
    }
    match (comparison.is_same(), comparison.is_same_version()) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::new(
            Exit::Failed,
            "the same version came to another end: not all of its answers were kept, or its configuration or limits are others here",
        )),
        (false, false) => Err(Failure::silent(Exit::Failed)),
    }
}

/// Runs many legs again, or sends stored deliveries through a candidate.
pub(super) async fn many(args: &ManyArgs, output: Output, api: &mut Api) -> Result<(), Failure> {
    if args.with.is_some() { through_candidate(args, output, api).await } else { args.again()?.run(output, api).await }
}

/// Sends stored deliveries through a candidate; exit 1 where one would end otherwise.
async fn through_candidate(args: &ManyArgs, output: Output, api: &mut Api) -> Result<(), Failure> {
    let missing = || Failure::new(Exit::Usage, "`--with` needs `--since`, `--plugin` and `--dry-run`");
    let component = args.with.as_deref().ok_or_else(missing)?;
    let (since, plugin) = (args.since.ok_or_else(missing)?.before(Clock::system().now()), args.plugin.as_ref().ok_or_else(missing)?);
    let candidate = Candidate::load(component)?;
    let (mut tally, limit) = (Tally::default(), usize::try_from(args.limit).unwrap_or(usize::MAX));
    let progress = Progress::counting("repeating runs").unless_lines_show_it();
    if !output.is_json() {
        say(&format!("{} {} against what served since {since}", component.display(), candidate.digest().short()));
    }
    let mut cursor: Option<String> = None;
    'pages: loop {
        let since = since.to_string();
        let pairs = [
            ("tenant", Some(args.tenant.as_str())),
            ("plugin", Some(plugin.as_str())),
            ("since", Some(since.as_str())),
            ("limit", Some(PAGE)),
            ("cursor", cursor.as_deref()),
        ];
        let page = api.get(&format!("deliveries{}", query(&pairs))).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            if tally.looked_at >= limit {
                break 'pages;
            }
            let id = item["delivery_id"].as_str().unwrap_or_default();
            let view = parsed(api.get(&format!("deliveries/{}", encoded(id))).await?)?;
            tally.looked_at += 1;
            progress.advance(1);
            match Past::of(view, (&args.tenant, plugin), None) {
                Ok(past) => {
                    let report = candidate.repeat(&past).await?;
                    tally.add(Comparison::of(&past, &report, candidate.digest()), (args.diff, output))?;
                }
                Err(why) => tally.skipped.push((id.to_owned(), why.message)),
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    drop(progress);
    tally.tell(output, &json!({ "tenant": args.tenant, "plugin": plugin, "since": since, "candidate": candidate.digest().to_string() }))
}

/// What came of all of them.
#[derive(Debug, Default)]
struct Tally {
    looked_at: usize,
    same: usize,
    changed: Vec<Comparison>,
    skipped: Vec<(String, String)>,
}

impl Tally {
    fn add(&mut self, comparison: Comparison, (diff, output): (bool, Output)) -> Result<(), Failure> {
        if comparison.is_same() {
            self.same += 1;
            return Ok(());
        }
        if diff && !output.is_json() {
            comparison.print(output)?;
            output.line("")?;
        }
        self.changed.push(comparison);
        Ok(())
    }

    fn tell(self, output: Output, what: &Value) -> Result<(), Failure> {
        if output.is_json() {
            let changed: Vec<Value> = self.changed.iter().map(Comparison::object).collect();
            let skipped: Vec<Value> = self.skipped.iter().map(|(id, why)| json!({ "delivery_id": id, "reason": why })).collect();
            let mut object = what.clone();
            object["deliveries"] = json!(self.looked_at);
            object["same"] = json!(self.same);
            object["changed"] = changed.into();
            object["skipped"] = skipped.into();
            output.object(&object, false)?;
        } else {
            self.print(output)?;
        }
        if self.changed.is_empty() { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
    }

    fn print(&self, output: Output) -> Result<(), Failure> {
        let verdicts = self.changed.iter().filter(|comparison| comparison.has_other_verdict()).count();
        let rows = [
            (self.same, "would end and act as they did"),
            (verdicts, "would get another verdict"),
            (self.changed.len() - verdicts, "would get the same verdict and act otherwise"),
            (self.skipped.len(), "cannot be replayed"),
        ];
        output.line(&format!("{:>7}  deliveries", self.looked_at))?;
        for (count, words) in rows.iter().filter(|(count, _)| *count > 0) {
            output.line(&format!("{count:>7}  {words}"))?;
        }
        for (turn, count) in changes::turns(&self.changed) {
            output.line(&format!("{count:>15}  {turn}"))?;
        }
        for (id, why) in self.skipped.iter().take(REASONS_MAX) {
            say(&format!("{id}: {why}"));
        }
        Ok(())
    }
}

/// A delivery from a running host, or from a file.
async fn view(id: &str, admin: &str) -> Result<DeliveryView, Failure> {
    let file = Path::new(id);
    if file.is_file() {
        let value = serde_json::from_slice(&read_bounded(file)?);
        return parsed(value.map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", file.display())))?);
    }
    let mut api = Api::at(admin)?;
    parsed(api.get(&format!("deliveries/{}", encoded(id))).await?)
}

fn parsed(value: Value) -> Result<DeliveryView, Failure> {
    let wrong = |error| Failure::new(Exit::Failed, format!("this is no delivery as `deliveries show ID --json` prints it: {error}"));
    serde_json::from_value(value).map_err(wrong)
}

#[cfg(test)]
mod tests;
