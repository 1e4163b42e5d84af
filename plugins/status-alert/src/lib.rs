//! Tells the team that a commit of the default branch has failed a check; once for each commit and context.

use hookyard_sdk::{Delivery, Verdict, config, github::Status, notify};
use serde::Deserialize;

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    notify: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { notify: "slack".into() }
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let status: Status = delivery.json()?;
    if !matches!(status.state.as_str(), "failure" | "error") {
        return Ok(Verdict::skip(format!("`{}` is no failure", status.state)));
    }
    let main = status.repository.default_branch.as_deref().unwrap_or("main");
    if !status.branches.iter().any(|branch| branch.name == main) {
        return Ok(Verdict::skip(format!("the commit is not the head of {main}")));
    }
    let text = format!(
        "{} reports {} for {} of {} ({}): {}",
        notify::link(status.target_url.as_deref(), &status.context),
        status.state,
        status.sha.get(..7).unwrap_or(&status.sha),
        notify::escape(main),
        notify::escape(&status.repository.full_name),
        notify::escape(status.description.as_deref().unwrap_or("no description")),
    );
    // The commit first: a long context is cut.
    let is_new = notify::once(&config.notify, &format!("status:{}:{}", status.sha, status.context), &text)?;
    if is_new { Ok(Verdict::ack()) } else { Ok(Verdict::skip("the team has been told")) }
}
