//! Obeys the commands at the start of a comment: `/assign @ada`, `/label bug`, `/close`, … of those who may write.
//!
//! Bots are never answered, this one included, and strangers not even told so. What a command asks for is a state, so a second run changes
//! nothing; that a comment was obeyed is kept, so that a late one undoes nothing either.

mod commands;

use std::time::Duration;

use hookyard_sdk::{
    Delivery, Verdict, config,
    github::{API_URL, CloseReason, IssueComment, Marker, Repo, User},
    http::HttpError,
    kv, log,
};
use serde::Deserialize;

use crate::commands::{Command, HELP};

/// As long as GitHub can deliver it again, and operators look back.
const REMEMBERED: Duration = Duration::from_hours(31 * 24);
/// Failed runs that one `/retest` starts again.
const RERUNS_MAX: usize = 20;

hookyard_sdk::plugin!(handle);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    api_url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { api_url: API_URL.into() }
    }
}

/// Handles one delivery. A `[config]` that does not fit is retried, since the operator can mend it; a document that does not is rejected.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    let config: Config = config::parse()?;
    let event: IssueComment = delivery.json()?;
    let text = event.comment.body.as_deref().unwrap_or_default();
    let commands = commands::read(text);
    let Some(author) = event.comment.user.as_ref().filter(|_| event.action == "created" && !commands.is_empty()) else {
        return Ok(Verdict::skip("no new command"));
    };
    if author.is_bot() || event.sender.as_ref().is_some_and(User::is_bot) || Marker::is_any_in(text) {
        return Ok(Verdict::skip("bots are not answered"));
    }
    let obeyed = format!("obeyed:{}", event.comment.id);
    if kv::get(&obeyed)?.is_some() {
        return Ok(Verdict::skip("obeyed before"));
    }
    let repo = Repo::new(&config.api_url, &event.repository)?;
    if !repo.may_write(&author.login)? {
        return Ok(Verdict::skip(format!("{} may not write here", author.login)));
    }
    for command in &commands {
        obey(&repo, &event, command, &author.login)?;
    }
    repo.thumbs_up(event.comment.id)?;
    kv::set_for(&obeyed, &[], REMEMBERED)?;
    Ok(Verdict::ack())
}

fn obey(repo: &Repo, event: &IssueComment, command: &Command, author: &str) -> Result<(), HttpError> {
    let number = event.issue.number;
    match command {
        Command::Assign(people) if people.is_empty() => repo.assign(number, &[author]).map(drop),
        Command::Assign(people) => repo.assign(number, people).map(drop),
        Command::Unassign(people) if people.is_empty() => repo.unassign(number, &[author]),
        Command::Unassign(people) => repo.unassign(number, people),
        Command::Label(labels) => repo.add_labels(number, labels),
        Command::Unlabel(labels) => labels.iter().try_for_each(|label| repo.remove_label(number, label).map(drop)),
        Command::Close { not_planned: false } => repo.close(number, CloseReason::Completed),
        Command::Close { not_planned: true } => repo.close(number, CloseReason::NotPlanned),
        Command::Reopen => repo.reopen(number),
        Command::Retest => retest(repo, event),
        Command::Unclear(said) => reply(repo, event, &format!("I do not know what to do with `{}`. {HELP}", said.replace('`', "'"))),
    }
}

/// Only what has failed: a run that was started again meanwhile is not running again.
fn retest(repo: &Repo, event: &IssueComment) -> Result<(), HttpError> {
    let pull = if event.issue.pull_request.is_some() { repo.pull_request(event.issue.number)? } else { None };
    let Some(pull) = pull else { return reply(repo, event, "Only a pull request has something to test.") };
    let failed = |conclusion: Option<&str>| matches!(conclusion, Some("failure" | "timed_out" | "cancelled"));
    let runs = repo.runs_of(&pull.head.sha)?;
    let failed: Vec<u64> = runs.iter().filter(|run| failed(run.conclusion.as_deref())).map(|run| run.id).take(RERUNS_MAX).collect();
    log::info("runs start again", &[("runs", &failed.len().to_string())]);
    failed.iter().try_for_each(|run| repo.rerun_failed_jobs(*run))
}

/// Says something about the comment, once.
fn reply(repo: &Repo, event: &IssueComment, text: &str) -> Result<(), HttpError> {
    let (number, marker) = (event.issue.number, Marker::new("comment-commands", event.comment.id));
    let since = event.comment.created_at.as_deref().unwrap_or("1970-01-01T00:00:00Z");
    if repo.comments_since(number, since)?.iter().any(|comment| marker.is_on(comment)) {
        return Ok(());
    }
    repo.comment(number, &marker.on(text)).map(drop)
}
