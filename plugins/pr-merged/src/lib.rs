//! When a pull request is merged: a line in the changelog (a comment on an issue, or an event for others), and a workflow that is started.
//!
//! A pull request is merged once, so it is handled once. Until that is committed, the comment's marker is looked for first, and starting a
//! workflow, which leaves no mark of ours, is a step the host remembers.

use std::{collections::BTreeMap, time::Duration};

use hookyard_sdk::{
    Delivery, Step, Verdict, config, emit,
    github::{API_URL, Marker, PullRequestEvent, Repo},
    http::HttpError,
    kv, once, step,
};
use serde::{Deserialize, Serialize};

/// As long as GitHub can deliver it again, and operators look back.
const REMEMBERED: Duration = Duration::from_hours(31 * 24);

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    changelog_issue: Option<u64>,
    workflow: Option<String>,
    workflow_inputs: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { api_url: API_URL.into(), changelog_issue: None, workflow: None, workflow_inputs: BTreeMap::new() }
    }
}

#[derive(Serialize)]
struct Merged<'a> {
    repository: &'a str,
    number: u64,
    title: &'a str,
    author: &'a str,
    branch: &'a str,
    commit: Option<&'a str>,
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: PullRequestEvent = delivery.json()?;
    let pull = &event.pull_request;
    if event.action != "closed" || pull.merged != Some(true) {
        return Ok(Verdict::skip(format!("`{}` merges nothing", event.action)));
    }
    let handled = format!("handled:{}:{}", event.repository.full_name, event.number);
    if kv::get(&handled)?.is_some() {
        return Ok(Verdict::skip("handled before"));
    }
    let repo = Repo::new(&config.api_url, &event.repository)?;
    let since = pull.merged_at.as_deref().unwrap_or("1970-01-01T00:00:00Z");
    let author = pull.user.as_ref().map_or("ghost", |user| user.login.as_str());
    match config.changelog_issue {
        Some(issue) => {
            // A code span: names and titles in it call nobody.
            let line = format!("* #{} `{}` (`{author}`)", event.number, pull.title.replace('`', "'"));
            append(&repo, issue, event.number, since, &line)?;
        }
        None => emit::json(
            "pull-request-merged",
            &Merged {
                repository: &event.repository.full_name,
                number: event.number,
                title: &pull.title,
                author,
                branch: &pull.base.name,
                commit: pull.merge_commit_sha.as_deref(),
            },
        )?,
    }
    if let Some(workflow) = &config.workflow {
        start(&repo, workflow, &pull.base.name, &config.workflow_inputs, since)?;
    }
    kv::set_for(&handled, &[], REMEMBERED)?;
    Ok(Verdict::ack())
}

fn append(repo: &Repo, issue: u64, number: u64, since: &str, line: &str) -> Result<(), HttpError> {
    let marker = Marker::new("pr-merged", number);
    if repo.comments_since(issue, since)?.iter().any(|comment| marker.is_on(comment)) {
        return Ok(());
    }
    repo.comment(issue, &marker.on(line)).map(drop)
}

/// After a crash in between, a run that was started since the merge is taken for ours.
fn start(repo: &Repo, workflow: &str, branch: &str, inputs: &BTreeMap<String, String>, since: &str) -> Result<(), Verdict> {
    if once("workflow", || repo.start_workflow(workflow, branch, inputs).map(|()| Vec::new()))? == Step::Unknown {
        let runs = repo.started_since(workflow, since)?;
        if !runs.iter().any(|run| run.head_branch.as_deref() == Some(branch)) {
            repo.start_workflow(workflow, branch, inputs)?;
        }
        step::finish("workflow", &[])?;
    }
    Ok(())
}
