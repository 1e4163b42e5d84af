//! Counts stars, watches and forks by day, and tells the team when a repository reaches a milestone.
//!
//! Counts are kept in `kv`: two runs that count at the same moment cannot lose one, because the host runs the second again. What was counted
//! is kept too, so a replay counts nothing twice.

use std::time::Duration;

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{Fork, Repository, Star, Watch, day},
    kv::{self, KvError},
    notify,
};
use serde::Deserialize;

/// A count is kept for this long.
const COUNTS_KEPT: Duration = Duration::from_hours(400 * 24);
/// That a delivery was counted is kept for this long.
const COUNTED_KEPT: Duration = Duration::from_hours(31 * 24);

hookyard_sdk::plugin!(handle);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    notify: Option<String>,
    milestones: Milestones,
}

/// Totals at which the team is told.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Milestones {
    stars: Vec<u64>,
    forks: Vec<u64>,
}

impl Default for Milestones {
    fn default() -> Self {
        Self { stars: vec![10, 100, 1_000, 10_000, 100_000], forks: vec![10, 100, 1_000, 10_000] }
    }
}

/// What a delivery says: what to count, and the total as GitHub counts it, where that can be a milestone.
struct Seen {
    kind: &'static str,
    repository: Repository,
    total: Option<u64>,
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let Some(seen) = seen(&delivery)? else {
        return Ok(Verdict::skip(format!("`{}` is not counted", delivery.event())));
    };
    let counted = format!("counted:{}", delivery.id());
    if kv::get(&counted)?.is_some() {
        return Ok(Verdict::skip("counted before"));
    }
    kv::set_for(&counted, &[], COUNTED_KEPT)?;
    let key = format!("{}:{}:{}", seen.kind, seen.repository.full_name, day(delivery.received_at_ms()));
    let count = number(&key)?.unwrap_or_default() + 1;
    kv::set_for(&key, count.to_string().as_bytes(), COUNTS_KEPT)?;
    if let (Some(channel), Some(reached)) = (&config.notify, milestone(&seen, &config.milestones)?) {
        let name = notify::link(seen.repository.html_url.as_deref(), &seen.repository.full_name);
        let key = format!("{}:{}:{reached}", seen.kind, seen.repository.full_name);
        notify::once(channel, &key, &format!("{name} has {reached} {}s.", seen.kind))?;
    }
    Ok(Verdict::ack())
}

/// A star is also told of as `watch`, for reasons of history: counted apart, and no milestone of its own.
fn seen(delivery: &Delivery) -> Result<Option<Seen>, Verdict> {
    Ok(match (delivery.event(), delivery.action()) {
        ("star", Some("created")) => {
            let repository = delivery.json::<Star>()?.repository;
            Some(Seen { kind: "star", total: repository.stargazers_count, repository })
        }
        ("star", Some("deleted")) => Some(Seen { kind: "unstar", total: None, repository: delivery.json::<Star>()?.repository }),
        ("watch", Some("started")) => Some(Seen { kind: "watch", total: None, repository: delivery.json::<Watch>()?.repository }),
        ("fork", _) => {
            let repository = delivery.json::<Fork>()?.repository;
            Some(Seen { kind: "fork", total: repository.forks_count, repository })
        }
        _ => None,
    })
}

/// The largest milestone between the highest total seen before and this one. The first total ever seen is preceded by the one below it, so
/// that a repository which had a thousand stars before does not celebrate.
fn milestone(seen: &Seen, milestones: &Milestones) -> Result<Option<u64>, KvError> {
    let Some(total) = seen.total else { return Ok(None) };
    let key = format!("highest:{}:{}", seen.kind, seen.repository.full_name);
    let before = number(&key)?.unwrap_or(total.saturating_sub(1));
    if total > before {
        kv::set(&key, total.to_string().as_bytes())?;
    }
    let milestones = if seen.kind == "fork" { &milestones.forks } else { &milestones.stars };
    Ok(milestones.iter().copied().filter(|milestone| before < *milestone && *milestone <= total).max())
}

fn number(key: &str) -> Result<Option<u64>, KvError> {
    Ok(kv::get(key)?.and_then(|value| String::from_utf8(value).ok()?.parse().ok()))
}
