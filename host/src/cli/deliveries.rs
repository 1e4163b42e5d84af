//! `deliveries`: the delivery log. `tail` asks every second, which needs nothing of the host that `list` does not.

use std::{collections::HashMap, time::Duration};

use serde_json::Value;

use super::{
    api::{self, Api, encoded, query},
    exit::Failure,
    listing::{Columns, Row, time},
    output::{Output, field, next, say, short},
    page::{Page, Since},
    replay,
};
use crate::clock::Clock;

const COLUMNS: Columns<'_> =
    Columns { heads: &["received (utc)", "delivery", "tenant", "event", "repository", "status"], soft: &[4, 3, 2] };
const REPLAY_HELP: &str = "One delivery, but for what is acked:
  hookyard deliveries replay 4f0c77aa
What a plugin made of an hour, after it was mended; first how many, then at most 20 a second:
  hookyard deliveries replay --plugin triage --since 2h --until 1h --state acked,skipped --dry-run
  hookyard deliveries replay --plugin triage --since 2h --until 1h --state acked,skipped --rate 20
What a new version would make of them, without running anything for real:
  hookyard deliveries replay --plugin triage --since 24h --with triage.wasm --dry-run --diff";
const TAIL_EVERY: Duration = Duration::from_secs(1);

/// The arguments of `deliveries`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    host: api::Args,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Newest first
    List(Filter),
    /// One delivery with its attempts, logs and host calls
    Show {
        /// Hookyard's id, or the provider's
        id: String,
    },
    /// Run again what is settled of a delivery and not acked; or, by filter, one plugin's legs of many deliveries; or see what a candidate would
    /// make of them
    #[command(after_help = REPLAY_HELP)]
    Replay {
        /// Hookyard's id, or its first digits
        #[arg(required_unless_present_any = ["with", "states"], conflicts_with_all = ["with", "states"])]
        id: Option<String>,
        /// Acked legs, too
        #[arg(long, conflicts_with_all = ["with", "states", "plugin"])]
        all_plugins: bool,
        #[command(flatten)]
        candidate: replay::ManyArgs,
    },
    /// Print deliveries as they come and settle, at most 1000 a second
    Tail(Filter),
}

#[derive(Clone, Debug, clap::Args)]
struct Filter {
    #[arg(long)]
    tenant: Option<String>,
    #[arg(long)]
    source: Option<String>,
    #[arg(long)]
    event: Option<String>,
    #[arg(long)]
    action: Option<String>,
    /// waiting, settled, dead or unrouted
    #[arg(long)]
    status: Option<String>,
    #[arg(long)]
    plugin: Option<String>,
    /// Received since: `24h`, `30m`, `7d` ago, or RFC 3339
    #[arg(long)]
    since: Option<Since>,
    /// Received before, said in the same way
    #[arg(long)]
    until: Option<Since>,
    /// Part of an id or of the repository's name
    #[arg(long, short)]
    q: Option<String>,
    #[command(flatten)]
    page: Page,
}

impl Filter {
    fn path(&self) -> String {
        let limit = self.page.limit.to_string();
        let (since, until) = (self.since.map(Since::for_api), self.until.map(Since::for_api));
        let pairs = [
            ("tenant", &self.tenant),
            ("source", &self.source),
            ("event", &self.event),
            ("action", &self.action),
            ("status", &self.status),
            ("plugin", &self.plugin),
            ("since", &since),
            ("until", &until),
            ("q", &self.q),
            ("cursor", &self.page.cursor),
        ];
        let mut pairs: Vec<(&str, Option<&str>)> = pairs.iter().map(|(name, value)| (*name, value.as_deref())).collect();
        pairs.push(("limit", Some(&limit)));
        format!("deliveries{}", query(&pairs))
    }
}

/// Does what is asked.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let (output, mut api) = (args.host.output(), Api::new(&args.host)?);
    match args.verb {
        Verb::List(filter) => list(output, &api.get(&filter.path()).await?),
        Verb::Show { id } => show(output, &api.get(&format!("deliveries/{}", encoded(&id))).await?),
        Verb::Replay { candidate, .. } if candidate.is_meant() => replay::many(&candidate, output, &mut api).await,
        Verb::Replay { id, all_plugins, candidate } => {
            let id = id.unwrap_or_default();
            let which = query(&[("plugin", candidate.plugin()), ("all_plugins", all_plugins.then_some("true"))]);
            let answer = api.post(&format!("deliveries/{}/replay{which}", encoded(&id))).await?;
            done(output, &answer, &format!("{id} runs again: legs {}", field(&answer, "legs")))
        }
        Verb::Tail(filter) => tail(output, &mut api, Filter { page: Page { limit: 1000, ..filter.page }, ..filter }).await,
    }
}

/// An act's answer: the object, or words.
pub(super) fn done(output: Output, answer: &Value, words: &str) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(answer, false);
    }
    say(words);
    Ok(())
}

/// The attempts of a leg or dead letter, with what was logged and asked.
pub(super) fn history(output: Output, attempts: &Value) -> Result<(), Failure> {
    for attempt in attempts.as_array().into_iter().flatten() {
        let words = ["attempt", "started_at", "outcome", "settlement", "duration_ms", "fuel", "memory_peak_bytes", "detail"]
            .map(|name| format!("{name}={}", field(attempt, name)));
        output.line(&format!("    {}", words.join(" ")))?;
        for line in attempt["logs"].as_array().into_iter().flatten() {
            output.line(&format!("      {:5} {}", field(line, "level"), field(line, "message")))?;
        }
        for call in attempt["host_calls"].as_array().into_iter().flatten() {
            output.line(&format!("      {}({}) → {}", field(call, "call"), field(call, "input"), field(call, "answer")))?;
        }
    }
    Ok(())
}

/// What came, and beneath it what became of it.
fn row(delivery: &Value) -> Row {
    let legs: Vec<String> = delivery["legs"].as_array().into_iter().flatten().map(leg).collect();
    let cells = vec![
        time(delivery, "received_at"),
        short(&field(delivery, "delivery_id")).to_owned(),
        field(delivery, "tenant"),
        event(delivery),
        field(delivery, "repository"),
        field(delivery, "status"),
    ];
    Row { cells, notes: if legs.is_empty() { Vec::new() } else { vec![legs.join("  ")] } }
}

/// Event and action as manifests write them: `pull_request.opened`.
pub(super) fn event(delivery: &Value) -> String {
    match delivery["action"].as_str() {
        Some(action) => format!("{}.{action}", field(delivery, "event")),
        None => field(delivery, "event"),
    }
}

/// A leg in a word, and what is still to be known of it: `sizes=retry (attempt 3, next try 11-28 05:42:10)`.
fn leg(leg: &Value) -> String {
    let (attempts, generation) = (leg["attempts"].as_u64().unwrap_or(0), leg["generation"].as_u64().unwrap_or(0));
    let known = [
        (attempts > 1).then(|| format!("attempt {attempts}")),
        (generation > 0).then(|| format!("generation {generation}")),
        leg["due_at"].is_string().then(|| format!("next try {}", time(leg, "due_at"))),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    let rest = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
    format!("{}={}{rest}", field(leg, "plugin"), field(leg, "state"))
}

fn list(output: Output, page: &Value) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(page, false);
    }
    let deliveries: Vec<&Value> = page["items"].as_array().into_iter().flatten().collect();
    COLUMNS.print(output, &deliveries.iter().copied().map(row).collect::<Vec<_>>())?;
    if let Some(cursor) = page["next_cursor"].as_str() {
        say(&format!("more: --cursor {cursor}"));
    }
    // What is dead is what one who looks is after.
    let wanted = deliveries.iter().find(|delivery| delivery["status"] == "dead").or(deliveries.first());
    if wanted.is_none() {
        say("no such delivery is kept");
    }
    let show = |delivery: &&Value| format!("hookyard deliveries show {}", short(&field(delivery, "delivery_id")));
    say(&next(&wanted.map_or_else(|| "hookyard send --event push".to_owned(), show)));
    Ok(())
}

fn show(output: Output, delivery: &Value) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(delivery, false);
    }
    for name in
        ["delivery_id", "provider_delivery_id", "tenant", "source", "event", "action", "repository", "received_at", "body_bytes", "status"]
    {
        output.line(&format!("{name:22}{}", field(delivery, name)))?;
    }
    for item in delivery["legs"].as_array().into_iter().flatten() {
        output.line(&format!(
            "  {} outcome={} version={} reason={}",
            leg(item),
            field(item, "outcome"),
            short(&field(item, "digest")),
            field(item, "reason")
        ))?;
        history(output, &item["history"])?;
    }
    Ok(())
}

async fn tail(output: Output, api: &mut Api, filter: Filter) -> Result<(), Failure> {
    let (clock, mut seen) = (Clock::system(), HashMap::new());
    loop {
        let page = api.get(&filter.path()).await?;
        for delivery in changed(&page, &mut seen) {
            if output.is_json() {
                output.object(delivery, true)?;
            } else {
                let row = row(delivery);
                output.line(&row.cells.iter().chain(&row.notes).cloned().collect::<Vec<_>>().join("  "))?;
            }
        }
        clock.sleep(TAIL_EVERY).await;
    }
}

/// What is new or different since the last look, oldest first; `seen` becomes this look, so it never holds more than one page.
fn changed<'a>(page: &'a Value, seen: &mut HashMap<String, String>) -> Vec<&'a Value> {
    let look = |delivery: &Value| (field(delivery, "delivery_id"), format!("{:?}", row(delivery)));
    let items: Vec<&Value> = page["items"].as_array().into_iter().flatten().collect();
    let fresh = items.iter().rev().copied().filter(|item| seen.get(&look(item).0) != Some(&look(item).1)).collect();
    *seen = items.into_iter().map(look).collect();
    fresh
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(items: &[(&str, &str)]) -> Value {
        let items: Vec<Value> = items.iter().map(|(id, status)| json!({ "delivery_id": id, "status": status })).collect();
        json!({ "items": items, "next_cursor": null })
    }

    #[test]
    fn a_leg_tells_what_is_still_to_come_of_it() {
        let waits = json!({"plugin": "sizes", "state": "retry", "attempts": 3, "generation": 1, "due_at": "2026-11-28T05:42:10.000Z"});
        assert_eq!(leg(&waits), "sizes=retry (attempt 3, generation 1, next try 11-28 05:42:10)");
        assert_eq!(leg(&json!({"plugin": "sizes", "state": "acked", "attempts": 1, "generation": 0, "due_at": null})), "sizes=acked");
    }

    #[test]
    fn tail_shows_a_delivery_when_it_comes_and_when_it_changes_and_not_in_between() {
        let mut seen = HashMap::new();
        let ids = |page: &Value, seen: &mut HashMap<String, String>| {
            changed(page, seen).iter().map(|item| field(item, "delivery_id")).collect::<Vec<_>>()
        };
        assert_eq!(ids(&page(&[("b", "waiting"), ("a", "settled")]), &mut seen), ["a", "b"]);
        assert!(ids(&page(&[("b", "waiting"), ("a", "settled")]), &mut seen).is_empty());
        assert_eq!(ids(&page(&[("b", "settled"), ("a", "settled")]), &mut seen), ["b"]);
    }
}
