//! Asks for the label that tells how large a pull request is: `size/XS` to `size/XL`, by its added and deleted lines.

use hookyard_sdk::{Delivery, Verdict, config, emit, github::PullRequestEvent};
use serde::{Deserialize, Serialize};

hookyard_sdk::plugin!(handle);

/// Lines from which on a pull request is too large for a size; ascending.
#[expect(clippy::struct_field_names, reason = "the names are keys of the manifest")]
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    xs_below: u64,
    s_below: u64,
    m_below: u64,
    l_below: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { xs_below: 10, s_below: 50, m_below: 200, l_below: 500 }
    }
}

impl Config {
    fn checked(self) -> Result<Self, String> {
        let ascending = self.xs_below < self.s_below && self.s_below < self.m_below && self.m_below < self.l_below;
        if ascending { Ok(self) } else { Err("the [config] thresholds must ascend: xs_below < s_below < m_below < l_below".into()) }
    }

    fn label(&self, lines: u64) -> &'static str {
        match lines {
            lines if lines < self.xs_below => "size/XS",
            lines if lines < self.s_below => "size/S",
            lines if lines < self.m_below => "size/M",
            lines if lines < self.l_below => "size/L",
            _ => "size/XL",
        }
    }
}

#[derive(Serialize)]
struct LabelRequested<'a> {
    repository: &'a str,
    number: u64,
    label: &'a str,
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, String> {
    let config = config::parse::<Config>()?.checked()?;
    let event: PullRequestEvent = match delivery.json() {
        Ok(event) => event,
        Err(error) => return Ok(Verdict::reject(error.to_string())),
    };
    if !matches!(event.action.as_str(), "opened" | "synchronize" | "reopened") {
        return Ok(Verdict::skip(format!("`{}` does not change the size", event.action)));
    }
    let (Some(additions), Some(deletions)) = (event.pull_request.additions, event.pull_request.deletions) else {
        return Ok(Verdict::reject("the pull request does not say how many lines it adds and deletes"));
    };
    let label = config.label(additions.saturating_add(deletions));
    let request = LabelRequested { repository: &event.repository.full_name, number: event.number, label };
    emit::json("label-requested", &request).map_err(|error| error.to_string())?;
    Ok(Verdict::ack())
}
