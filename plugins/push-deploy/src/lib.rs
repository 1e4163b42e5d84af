//! Asks for a deployment of what was pushed to the main branch, and for the closing of the issues its commits fix.
//!
//! It only asks: the events go to whoever deploys and closes, once the verdict is committed. Both may be published twice and carry the
//! same id then.

mod closing;

use hookyard_sdk::{Delivery, Verdict, config, emit, github::Push, log};
use serde::{Deserialize, Serialize};

/// Issues asked to be closed for one push: a run may emit 64 events, and one is the deployment.
const CLOSINGS_MAX: usize = 63;

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    main_branch: String,
    environment: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { main_branch: "main".into(), environment: "production".into() }
    }
}

#[derive(Serialize)]
struct DeploymentRequested<'a> {
    repository: &'a str,
    #[serde(rename = "ref")]
    name: &'a str,
    sha: &'a str,
    environment: &'a str,
    delivery: &'a str,
}

#[derive(Serialize)]
struct IssueCloseRequested<'a> {
    repository: &'a str,
    issue: u64,
    sha: &'a str,
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, String> {
    let config: Config = config::parse()?;
    let push: Push = match delivery.json() {
        Ok(push) => push,
        Err(error) => return Ok(Verdict::reject(error.to_string())),
    };
    if push.deleted {
        return Ok(Verdict::skip(format!("{} was deleted", push.name)));
    }
    if push.branch() != Some(config.main_branch.as_str()) {
        return Ok(Verdict::skip(format!("{} is not the branch {}", push.name, config.main_branch)));
    }
    request_deployment(&delivery, &push, &config.environment).map_err(|error| error.to_string())?;
    request_closings(&push).map_err(|error| error.to_string())?;
    Ok(Verdict::ack())
}

fn request_deployment(delivery: &Delivery, push: &Push, environment: &str) -> Result<(), emit::EmitError> {
    let repository = &push.repository.full_name;
    emit::json(
        "deployment-requested",
        &DeploymentRequested { repository, name: &push.name, sha: &push.after, environment, delivery: delivery.id() },
    )
}

fn request_closings(push: &Push) -> Result<(), emit::EmitError> {
    let messages = push.commits.iter().map(|commit| commit.message.as_str());
    let issues = closing::issues(messages, &push.repository.full_name);
    for (repository, issue) in issues.iter().take(CLOSINGS_MAX) {
        emit::json("issue-close-requested", &IssueCloseRequested { repository, issue: *issue, sha: &push.after })?;
    }
    if let Some(left_out) = issues.len().checked_sub(CLOSINGS_MAX).filter(|count| *count > 0) {
        log::warn("more issues than one push may close", &[("left_out", &left_out.to_string())]);
    }
    Ok(())
}
