//! Asks for a second pair of eyes on large pull requests, with the standard library over WASI: what it prints is in the run's log.

use hookyard_sdk::{Delivery, Verdict, config, emit, github::PullRequestEvent};
use serde_json::json;

hookyard_sdk::plugin!(handle);

/// Handles one delivery.
pub fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
    if delivery.event() != "pull_request" {
        return Ok(Verdict::skip(format!("no interest in {}", delivery.event())));
    }
    let event: PullRequestEvent = delivery.json()?;
    let lines = event.pull_request.additions.unwrap_or(0) + event.pull_request.deletions.unwrap_or(0);
    println!("counted {lines}");
    if lines < config::get_or("lines_min", 500)? {
        return Ok(Verdict::skip(format!("{lines} changed lines are few enough")));
    }
    emit::json("review-wanted", &json!({"title": event.pull_request.title, "lines": lines}))?;
    Ok(Verdict::ack())
}
