//! The views read every example payload GitHub's own library publishes for their events (npm `@octokit/webhooks-examples`, MIT).

use std::{fs, io::Write as _, path::Path};

use hookyard_sdk::{Delivery, github};
use serde_json::Value;

/// Parses `document` as the view of its event; `None` where there is no view.
fn parse(event: &str, document: &[u8]) -> Option<Result<(), String>> {
    fn as_view<T: serde::de::DeserializeOwned>(delivery: &Delivery) -> Result<(), String> {
        delivery.json::<T>().map(drop).map_err(|error| error.to_string())
    }
    let view = match event {
        "push" => as_view::<github::Push>,
        "pull_request" => as_view::<github::PullRequestEvent>,
        "issues" => as_view::<github::Issues>,
        "issue_comment" => as_view::<github::IssueComment>,
        "release" => as_view::<github::ReleaseEvent>,
        "workflow_run" => as_view::<github::WorkflowRunEvent>,
        "check_run" => as_view::<github::CheckRunEvent>,
        "deployment" => as_view::<github::DeploymentEvent>,
        "deployment_status" => as_view::<github::DeploymentStatusEvent>,
        "status" => as_view::<github::Status>,
        "repository" => as_view::<github::RepositoryEvent>,
        "star" => as_view::<github::Star>,
        "watch" => as_view::<github::Watch>,
        "fork" => as_view::<github::Fork>,
        _ => return None,
    };
    Some(view(&Delivery::sample(event, document)))
}

#[test]
fn every_published_example_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fixtures/webhooks-examples/api.github.com/index.json");
    let Ok(text) = fs::read(&path) else {
        let _ = writeln!(std::io::stderr(), "skipped: run `cargo xtask test`, which fetches it ({})", path.display());
        return;
    };
    let events: Vec<Value> = serde_json::from_slice(&text).expect("the file is a list of events");
    let (mut read, mut failures) = (0, Vec::new());
    for event in &events {
        let name = event["name"].as_str().expect("an event has a name");
        for example in event["examples"].as_array().expect("an event has examples") {
            match parse(name, example.to_string().as_bytes()) {
                Some(Ok(())) => read += 1,
                Some(Err(error)) => failures.push(error),
                None => {}
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(read >= 130, "only {read} examples were read: the file is not what it was");
}
