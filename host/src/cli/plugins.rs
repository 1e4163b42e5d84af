//! `plugins` and `emits`: what runs now, why something does not, and what came of it.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    api::{self, Api, encoded, query},
    deliveries::done,
    deploy,
    exit::{Exit, Failure},
    listing::{Columns, Row, time},
    output::{Output, field, next, say, short},
    page::Page,
    plugin::print_admission,
};

const COLUMNS: Columns<'_> = Columns { heads: &["name", "tenant", "status", "version", "since (utc)", "events"], soft: &[5, 0, 1] };
const EMITS: Columns<'_> = Columns { heads: &["emitted (utc)", "id", "tenant", "name", "body"], soft: &[4, 1, 3, 2] };
/// Whose plugin is meant where nobody is named.
const TENANT: &str = "default";

/// The arguments of `plugins`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    host: api::Args,
    /// Whose plugins; `list` has those of all tenants without it, the others take `default`
    #[arg(long, global = true)]
    tenant: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Every plugin: digest, status, last refusal
    List,
    /// One plugin
    Show {
        /// Which
        name: String,
    },
    /// Put both files of every plugin in a folder into the tenant's, as one version, and wait until it serves
    Deploy {
        /// The folder with NAME.wasm and NAME.toml
        dir: PathBuf,
    },
    /// Park its legs until it is resumed
    Pause {
        /// Which
        name: String,
    },
    /// Let its legs run again
    Resume {
        /// Which
        name: String,
    },
    /// Let the version serve that asks for more than the one before
    Approve {
        /// Which
        name: String,
    },
    /// Serve an earlier version again, until different files are dropped
    Rollback {
        /// Which
        name: String,
        /// The version, by the first digits of its digest; the one before where it is not given
        #[arg(long, value_name = "DIGEST")]
        to: Option<String>,
    },
}

/// The arguments of `emits`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct EmitsArgs {
    #[command(flatten)]
    host: api::Args,
    #[command(subcommand)]
    verb: EmitsVerb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum EmitsVerb {
    /// Newest first
    List {
        #[arg(long)]
        tenant: Option<String>,
        #[arg(long)]
        plugin: Option<String>,
        #[command(flatten)]
        page: Page,
    },
}

/// Does what is asked.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let (output, mut api) = (args.host.output(), Api::new(&args.host)?);
    let path = |name: &str| format!("plugins/{}/{}", encoded(args.tenant.as_deref().unwrap_or(TENANT)), encoded(name));
    match &args.verb {
        Verb::List => list(output, &api.get(&format!("plugins{}", query(&[("tenant", args.tenant.as_deref())]))).await?),
        Verb::Show { name } => match api.get(&path(name)).await {
            Ok(plugin) => show(output, &plugin),
            Err(failure) if failure.exit == Exit::NotFound && args.tenant.is_none() => Err(elsewhere(&mut api, name, failure).await),
            Err(failure) => Err(failure),
        },
        Verb::Deploy { dir } => {
            let tenant = args.tenant.as_deref().unwrap_or(TENANT);
            deploy::run(&mut api, dir, (args.host.config(), tenant)).await
        }
        Verb::Pause { name } => done(output, &api.post(&format!("{}/pause", path(name))).await?, &format!("{name} is paused")),
        Verb::Resume { name } => done(output, &api.post(&format!("{}/resume", path(name))).await?, &format!("{name} is resumed")),
        Verb::Approve { name } => {
            let answer = api.post(&format!("{}/approve", path(name))).await?;
            done(output, &answer, &format!("{name} serves {}", field(&answer, "digest")))
        }
        Verb::Rollback { name, to } => {
            let answer = api.post(&format!("{}/rollback{}", path(name), query(&[("to", to.as_deref())]))).await?;
            if let Some(warning) = answer["warning"].as_str() {
                say(&format!("warning: {warning}"));
            }
            done(output, &answer, &format!("{name} serves {} again", field(&answer, "digest")))
        }
    }
}

/// Lists what plugins emitted.
pub(super) async fn emits(args: EmitsArgs) -> Result<(), Failure> {
    let (output, mut api) = (args.host.output(), Api::new(&args.host)?);
    let EmitsVerb::List { tenant, plugin, page: Page { cursor, limit } } = args.verb;
    let limit = limit.to_string();
    let pairs =
        [("tenant", tenant.as_deref()), ("plugin", plugin.as_deref()), ("cursor", cursor.as_deref()), ("limit", Some(limit.as_str()))];
    let page = api.get(&format!("emits{}", query(&pairs))).await?;
    if output.is_json() {
        return output.object(&page, false);
    }
    let row = |emit: &Value| {
        let whole = field(emit, "id");
        let id = whole.split_once('.').map_or_else(|| whole.clone(), |(delivery, rest)| format!("{}.{rest}", short(delivery)));
        let cells = vec![time(emit, "emitted_at"), id, field(emit, "tenant"), field(emit, "name"), field(emit, "body")];
        Row { cells, notes: Vec::new() }
    };
    let rows: Vec<Row> = page["items"].as_array().into_iter().flatten().map(row).collect();
    EMITS.print(output, &rows)?;
    match page["next_cursor"].as_str() {
        Some(cursor) => say(&format!("more: --cursor {cursor}")),
        None if rows.is_empty() => say("no plugin has emitted such an event"),
        None => {}
    }
    Ok(())
}

/// Where a plugin that `default` has not is another tenant's, that is told.
async fn elsewhere(api: &mut Api, name: &str, failure: Failure) -> Failure {
    let Ok(page) = api.get("plugins").await else { return failure };
    let others = page["items"].as_array().into_iter().flatten().filter(|plugin| plugin["name"] == name);
    match others.map(|plugin| field(plugin, "tenant")).next() {
        Some(tenant) => failure.hint(format!("`{tenant}` has one: hookyard plugins show {name} --tenant {tenant}")),
        None => failure.hint("`hookyard plugins list` has those of all tenants"),
    }
}

fn list(output: Output, page: &Value) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(page, false);
    }
    let plugins: Vec<&Value> = page["items"].as_array().into_iter().flatten().collect();
    let row = |plugin: &&Value| Row {
        cells: vec![
            field(plugin, "name"),
            field(plugin, "tenant"),
            status(plugin),
            short(&field(plugin, "digest")).to_owned(),
            time(plugin, "since"),
            field(plugin, "events"),
        ],
        notes: plugin["refusal"]
            .is_object()
            .then(|| format!("refused: {}", cell(plugin, "refusal")))
            .into_iter()
            .chain(notes(plugin))
            .collect(),
    };
    COLUMNS.print(output, &plugins.iter().map(row).collect::<Vec<_>>())?;
    for other in page["passed_over"].as_array().into_iter().flatten() {
        say(&format!("not looked at: {}: {}", field(other, "path"), field(other, "reason")));
    }
    let refused = plugins.iter().find(|plugin| plugin["refusal"].is_object()).or(plugins.first());
    say(&next(&refused.map_or_else(
        || "hookyard plugin new NAME, then copy NAME.toml and NAME.wasm into the tenant's plugins folder".to_owned(),
        |plugin| match (field(plugin, "name"), field(plugin, "tenant")) {
            (name, tenant) if tenant == TENANT => format!("hookyard plugins show {name}"),
            (name, tenant) => format!("hookyard plugins show {name} --tenant {tenant}"),
        },
    )));
    Ok(())
}

/// What is to be looked at in the version that serves.
fn notes(plugin: &Value) -> impl Iterator<Item = String> + '_ {
    plugin["notes"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|note| format!("note: {note}"))
}

/// The status in words: a version that serves may have a newer one behind it, which does not.
fn status(plugin: &Value) -> String {
    let status = field(plugin, "status");
    let serves = plugin["digest"].is_string();
    match (plugin["compiling_since"].is_string(), plugin["refusal"].is_object()) {
        (true, _) if serves => format!("{status} (newer compiling)"),
        (_, true) if serves => format!("{status} (newer refused)"),
        _ => status,
    }
}

/// A refusal is its code and words, everything else is its text.
fn cell(item: &Value, name: &str) -> String {
    match &item[name] {
        Value::Object(refusal) if name == "refusal" => {
            let part = |key: &str| refusal.get(key).and_then(Value::as_str).unwrap_or("-");
            format!("{}: {}", part("code"), part("reason"))
        }
        _ if name == "status" => status(item),
        _ => field(item, name),
    }
}

fn show(output: Output, plugin: &Value) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(plugin, false);
    }
    for name in ["tenant", "name", "status", "digest", "since", "sources", "events", "refusal"] {
        output.line(&format!("{name:18}{}", cell(plugin, name)))?;
    }
    if plugin["compiling_since"].is_string() {
        output.line(&format!("{:18}{}", "compiling since", field(plugin, "compiling_since")))?;
    }
    if plugin["retry"].is_object() {
        output.line(&format!("{:18}{}", "retried", field(&plugin["retry"], "schedule")))?;
    }
    for circuit in plugin["circuits"].as_array().into_iter().flatten() {
        let until = circuit["until"].as_str().map(|until| format!(" until {until}")).unwrap_or_default();
        output.line(&format!("{:18}{} is {}{until}", "upstream", field(circuit, "destination"), field(circuit, "state")))?;
    }
    for note in notes(plugin) {
        output.line(&format!("{:18}{}", "look at", note.trim_start_matches("note: ")))?;
    }
    let breaker = &plugin["breaker"];
    if breaker["state"].as_str().is_some_and(|state| state != "closed") {
        let words = ["state", "faults", "until"].map(|name| format!("{name}={}", field(breaker, name)));
        output.line(&format!("{:18}{}", "breaker", words.join(" ")))?;
    }
    if plugin["crash"].is_string() {
        output.line(&format!("{:18}{}", "crash", field(plugin, "crash")))?;
    }
    if plugin["watch"].is_object() {
        let words =
            ["until", "handled", "failed", "tried", "better_before"].map(|name| format!("{name}={}", field(&plugin["watch"], name)));
        output.line(&format!("{:18}{}", "watch", words.join(" ")))?;
    }
    // Of a refused version first: it is what one who looks is after.
    for (title, found) in [("refused version", &plugin["refusal"]["report"]), ("serving version", &plugin["report"])] {
        if found.is_object() {
            output.line(&format!("-- {title}"))?;
            print_admission(output, found)?;
        }
    }
    if plugin["versions"].is_array() {
        output.line("-- kept versions")?;
    }
    for version in plugin["versions"].as_array().into_iter().flatten() {
        let told = |key: &str, word: &str| version[key].as_str().map(|why| format!("  {word}: {why}"));
        let held = told("held", "held").or_else(|| told("taken_back", "taken back")).unwrap_or_default();
        output.line(&format!("{:18}{} since {}{held}", "version", field(version, "digest"), field(version, "served_from")))?;
    }
    Ok(())
}
