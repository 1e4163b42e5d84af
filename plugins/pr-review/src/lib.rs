//! Asks the configured people and teams for a review of a pull request that is opened or leaves its draft.
//!
//! Never its author, and nobody who was asked or has answered already: the same delivery twice asks once.

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, PullRequest, PullRequestEvent, Repo, Review, Reviewers},
};
use serde::Deserialize;

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
    reviewers: Vec<String>,
    teams: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { api_url: API_URL.into(), reviewers: Vec::new(), teams: Vec::new() }
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: PullRequestEvent = delivery.json()?;
    if !matches!(event.action.as_str(), "opened" | "ready_for_review") {
        return Ok(Verdict::skip(format!("`{}` asks for no review", event.action)));
    }
    let repo = Repo::new(&config.api_url, &event.repository)?;
    let Some(pull) = repo.pull_request(event.number)?.filter(|pull| pull.state == "open") else {
        return Ok(Verdict::skip(format!("pull request {} is not open any more", event.number)));
    };
    if pull.draft == Some(true) {
        return Ok(Verdict::skip("a draft is reviewed once it is ready"));
    }
    let reviewers = missing(&config, &pull, &repo.reviews(event.number)?);
    if reviewers == Reviewers::default() {
        return Ok(Verdict::skip("everybody has been asked"));
    }
    repo.request_reviews(event.number, &reviewers)?;
    Ok(Verdict::ack())
}

/// Who is still to be asked. Names of GitHub ignore case.
fn missing(config: &Config, pull: &PullRequest, reviews: &[Review]) -> Reviewers {
    let people: Vec<&str> = (pull.user.iter())
        .chain(&pull.requested_reviewers)
        .chain(reviews.iter().filter_map(|review| review.user.as_ref()))
        .map(|user| user.login.as_str())
        .collect();
    let teams: Vec<&str> = pull.requested_teams.iter().filter_map(|team| team.slug.as_deref()).collect();
    Reviewers { reviewers: without(&config.reviewers, &people), team_reviewers: without(&config.teams, &teams) }
}

fn without(wanted: &[String], there: &[&str]) -> Vec<String> {
    wanted.iter().filter(|name| !there.iter().any(|other| other.eq_ignore_ascii_case(name))).cloned().collect()
}
