//! A check that fails opens an issue; while that is open, the same check failing again on the same branch is a comment on it.
//!
//! Both carry markers and are looked for first. Two runs at the same moment would both find nothing, so runs of one repository take turns
//! (`serialize_by` in the manifest); should two hosts still have opened two issues, the next failure goes to the older one and closes the other.

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, CheckRun, CheckRunEvent, CloseReason, Issue, Marker, NewIssue, Repo},
    http::HttpError,
};
use serde::Deserialize;

const PLUGIN: &str = "check-issues";

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    label: String,
    branches: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { api_url: API_URL.into(), label: "check-failure".into(), branches: Vec::new() }
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: CheckRunEvent = delivery.json()?;
    let check = &event.check_run;
    if event.action != "completed" || !matches!(check.conclusion.as_deref(), Some("failure" | "timed_out")) {
        return Ok(Verdict::skip(format!("`{}` is no failure", check.conclusion.as_deref().unwrap_or(&event.action))));
    }
    let Some(branch) = check.check_suite.as_ref().and_then(|suite| suite.head_branch.as_deref()) else {
        return Ok(Verdict::skip("the commit is on no branch of this repository"));
    };
    if !config.branches.is_empty() && !config.branches.iter().any(|wanted| wanted == branch) {
        return Ok(Verdict::skip(format!("{branch} is not watched")));
    }
    let repo = Repo::new(&config.api_url, &event.repository)?;
    report(&repo, check, branch, &config.label)?;
    Ok(Verdict::ack())
}

fn report(repo: &Repo, check: &CheckRun, branch: &str, label: &str) -> Result<(), HttpError> {
    // A branch has no spaces, so the key is of this branch and this check only.
    let (same, this) = (Marker::new(PLUGIN, format!("{branch} {}", check.name)), Marker::new(PLUGIN, format!("run {}", check.id)));
    let mut open = repo.issues(label, "open")?;
    open.retain(|issue| same.is_on(issue));
    open.sort_by_key(|issue| issue.number);
    match open.as_slice() {
        [] => {
            let title = format!("Check “{}” fails on {branch}", check.name).chars().take(250).collect();
            let issue = NewIssue { title, body: same.on(&this.on(&words(check, branch))), labels: &[label] };
            repo.open_issue(&issue).map(drop)
        }
        [oldest, others @ ..] => {
            others.iter().try_for_each(|other| repo.close(other.number, CloseReason::NotPlanned))?;
            comment(repo, oldest, &this, &words(check, branch), check.completed_at.as_deref())
        }
    }
}

fn comment(repo: &Repo, issue: &Issue, this: &Marker, words: &str, since: Option<&str>) -> Result<(), HttpError> {
    let comments = repo.comments_since(issue.number, since.unwrap_or("1970-01-01T00:00:00Z"))?;
    if this.is_on(issue) || comments.iter().any(|comment| this.is_on(comment)) {
        return Ok(());
    }
    repo.comment(issue.number, &this.on(words)).map(drop)
}

/// Names come from whoever runs the check: in code spans they call nobody.
fn words(check: &CheckRun, branch: &str) -> String {
    let (name, conclusion) = (check.name.replace('`', "'"), check.conclusion.as_deref().unwrap_or("failure"));
    let url = check.html_url.as_deref().or(check.details_url.as_deref()).unwrap_or_default();
    format!("`{name}` ended with `{conclusion}` on `{branch}` at {}.\n\n{url}", check.head_sha)
}
