//! Labels a pull request with its size: `size/XS` to `size/XL`, by its added and deleted lines.
//!
//! It reads the pull request as it is now and puts the labels right: in which order deliveries come, and how often, does not matter.

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, PullRequestEvent, Repo},
};
use serde::Deserialize;

const SIZES: [&str; 5] = ["size/XS", "size/S", "size/M", "size/L", "size/XL"];

hookyard_sdk::plugin!(handle);

/// Lines from which on a pull request is too large for a size; ascending.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    xs_below: u64,
    s_below: u64,
    m_below: u64,
    l_below: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { api_url: API_URL.into(), xs_below: 10, s_below: 50, m_below: 200, l_below: 500 }
    }
}

impl Config {
    fn checked(self) -> Result<Self, String> {
        let ascending = self.xs_below < self.s_below && self.s_below < self.m_below && self.m_below < self.l_below;
        if ascending { Ok(self) } else { Err("the [config] thresholds must ascend: xs_below < s_below < m_below < l_below".into()) }
    }

    fn label(&self, lines: u64) -> &'static str {
        let below = [self.xs_below, self.s_below, self.m_below, self.l_below];
        SIZES[below.iter().take_while(|below| lines >= **below).count()]
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config = config::parse::<Config>()?.checked()?;
    let event: PullRequestEvent = delivery.json()?;
    if !matches!(event.action.as_str(), "opened" | "synchronize" | "reopened") {
        return Ok(Verdict::skip(format!("`{}` does not change the size", event.action)));
    }
    let repo = Repo::new(&config.api_url, &event.repository)?;
    let Some(pull) = repo.pull_request(event.number)? else {
        return Ok(Verdict::skip(format!("there is no pull request {} any more", event.number)));
    };
    let (Some(additions), Some(deletions)) = (pull.additions, pull.deletions) else {
        return Ok(Verdict::reject("the pull request does not say how many lines it adds and deletes"));
    };
    let label = config.label(additions.saturating_add(deletions));
    for old in pull.labels.iter().filter(|old| SIZES.contains(&old.name.as_str()) && old.name != label) {
        repo.remove_label(event.number, &old.name)?;
    }
    if !pull.labels.iter().any(|old| old.name == label) {
        repo.add_labels(event.number, &[label])?;
    }
    Ok(Verdict::ack())
}
