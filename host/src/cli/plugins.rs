//! `plugins` and `emits`: what runs now, why something does not, and what came of it.

use serde_json::Value;

use super::{
    api::{self, Api, encoded, query},
    deliveries::done,
    exit::Failure,
    output::{Output, field},
    plugin::print_admission,
};

/// The arguments of `plugins`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    host: api::Args,
    /// Whose plugins
    #[arg(long, global = true, default_value = "default")]
    tenant: String,
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
        /// The `next_cursor` of the page before
        #[arg(long)]
        cursor: Option<String>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
}

/// Does what is asked.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let (output, mut api) = (args.host.output(), Api::new(&args.host)?);
    let path = |name: &str| format!("plugins/{}/{}", encoded(&args.tenant), encoded(name));
    match &args.verb {
        Verb::List => {
            let page = api.get(&format!("plugins{}", query(&[("tenant", Some(&args.tenant))]))).await?;
            list(output, &page, &["name", "status", "digest", "since", "events", "refusal"])
        }
        Verb::Show { name } => show(output, &api.get(&path(name)).await?),
        Verb::Pause { name } => done(output, &api.post(&format!("{}/pause", path(name))).await?, &format!("{name} is paused")),
        Verb::Resume { name } => done(output, &api.post(&format!("{}/resume", path(name))).await?, &format!("{name} is resumed")),
        Verb::Approve { name } => {
            let answer = api.post(&format!("{}/approve", path(name))).await?;
            done(output, &answer, &format!("{name} serves {}", field(&answer, "digest")))
        }
        Verb::Rollback { name, to } => {
            let answer = api.post(&format!("{}/rollback{}", path(name), query(&[("to", to.as_deref())]))).await?;
            done(output, &answer, &format!("{name} serves {} again", field(&answer, "digest")))
        }
    }
}

/// Lists what plugins emitted.
pub(super) async fn emits(args: EmitsArgs) -> Result<(), Failure> {
    let (output, mut api) = (args.host.output(), Api::new(&args.host)?);
    let EmitsVerb::List { tenant, plugin, cursor, limit } = args.verb;
    let limit = limit.to_string();
    let pairs =
        [("tenant", tenant.as_deref()), ("plugin", plugin.as_deref()), ("cursor", cursor.as_deref()), ("limit", Some(limit.as_str()))];
    let page = api.get(&format!("emits{}", query(&pairs))).await?;
    list(output, &page, &["emitted_at", "id", "name", "content_type", "body"])
}

/// A page as a table of these fields, or unchanged.
pub(super) fn list(output: Output, page: &Value, names: &[&str]) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(page, false);
    }
    let rows: Vec<Vec<String>> =
        page["items"].as_array().into_iter().flatten().map(|item| names.iter().map(|name| cell(item, name)).collect()).collect();
    output.table(names, &rows)
}

/// A refusal is its code and words, everything else is its text.
fn cell(item: &Value, name: &str) -> String {
    match &item[name] {
        Value::Object(refusal) if name == "refusal" => {
            let part = |key: &str| refusal.get(key).and_then(Value::as_str).unwrap_or("-");
            format!("{}: {}", part("code"), part("reason"))
        }
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
        let held = version["held"].as_str().map(|why| format!("  held: {why}")).unwrap_or_default();
        output.line(&format!("{:18}{} since {}{held}", "version", field(version, "digest"), field(version, "served_from")))?;
    }
    Ok(())
}
