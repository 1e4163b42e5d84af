//! Deploys what was pushed to the main branch, and closes the issues its commits fix.
//!
//! The deployment carries the delivery's id, and a closed issue's comment a marker with the commit: both are looked for first, so the same
//! delivery twice leaves the same state.

mod closing;

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, CloseReason, Marker, NewDeployment, Origin, Push, Repo},
    http::HttpError,
    log,
};
use serde::Deserialize;

use crate::closing::Closing;

/// Issues closed for one push: each takes four requests, and a run may send a hundred.
const CLOSINGS_MAX: usize = 20;

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    main_branch: String,
    environment: String,
    production: bool,
    required_contexts: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let (main_branch, environment) = ("main".into(), "production".into());
        Self { api_url: API_URL.into(), main_branch, environment, production: true, required_contexts: Vec::new() }
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let push: Push = delivery.json()?;
    if push.deleted {
        return Ok(Verdict::skip(format!("{} was deleted", push.name)));
    }
    if push.branch() != Some(config.main_branch.as_str()) {
        return Ok(Verdict::skip(format!("{} is not the branch {}", push.name, config.main_branch)));
    }
    let repo = Repo::new(&config.api_url, &push.repository)?;
    deploy(&repo, &delivery, &push, &config)?;
    close_issues(&repo, &push)?;
    Ok(Verdict::ack())
}

/// Deploys the branch, which is its head at that moment: deliveries come in any order, and the older of two must not have the last word.
fn deploy(repo: &Repo, delivery: &Delivery, push: &Push, config: &Config) -> Result<(), HttpError> {
    let origin = Origin { hookyard: delivery.id() };
    if repo.is_deployed(origin, &config.main_branch, &config.environment)? {
        return Ok(());
    }
    let deployment = NewDeployment {
        name: &config.main_branch,
        environment: &config.environment,
        production_environment: config.production,
        description: format!("Push of {}", push.after.get(..7).unwrap_or(&push.after)),
        auto_merge: false,
        required_contexts: &config.required_contexts,
        payload: origin,
    };
    let made = repo.deploy(&deployment)?;
    log::info("deployed", &[("deployment", &made.id.to_string()), ("environment", &config.environment)]);
    Ok(())
}

fn close_issues(repo: &Repo, push: &Push) -> Result<(), HttpError> {
    let own = &push.repository.full_name;
    let closings = closing::issues(push.commits.iter().map(|commit| (commit.id.as_str(), commit.message.as_str())), own);
    // Who may push here need not be allowed to close issues elsewhere, and the app may: that would be a loan of its power.
    let (ours, elsewhere): (Vec<_>, Vec<_>) = closings.into_iter().partition(|closing| closing.repository.eq_ignore_ascii_case(own));
    let left_out = elsewhere.len() + ours.len().saturating_sub(CLOSINGS_MAX);
    if left_out > 0 {
        log::warn("issues left as they are: of another repository, or too many for one push", &[("left_out", &left_out.to_string())]);
    }
    let since = push.repository.pushed_at.as_deref().unwrap_or("1970-01-01T00:00:00Z");
    ours.iter().take(CLOSINGS_MAX).try_for_each(|closing| close(repo, closing, since))
}

/// The comment comes last and says that all is done: an issue that was opened again afterwards stays open.
fn close(repo: &Repo, closing: &Closing<'_>, since: &str) -> Result<(), HttpError> {
    let Some(issue) = repo.issue(closing.issue)?.filter(|issue| issue.pull_request.is_none()) else {
        log::info("no such issue", &[("issue", &closing.issue.to_string())]);
        return Ok(());
    };
    let marker = Marker::new("push-deploy", closing.commit);
    if repo.comments_since(closing.issue, since)?.iter().any(|comment| marker.is_on(comment)) {
        return Ok(());
    }
    if issue.state.as_deref() == Some("open") {
        repo.close(closing.issue, CloseReason::Completed)?;
    }
    repo.comment(closing.issue, &marker.on(&format!("Closed by {}.", closing.commit))).map(drop)
}
