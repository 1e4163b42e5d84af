//! Whole deliveries through the plugin.

use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};
use pr_merged::handle;

const DESK: Desk = Desk {
    handle,
    event: "pull_request",
    document: include_str!("pull_request.json"),
    manifest: include_str!("../pr-merged.toml"),
    answer,
};

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/issues/3/comments") => (200, json!([])),
        ("GET", "/actions/workflows/publish.yml/runs") => (200, json!({"workflow_runs": []})),
        ("POST", "/issues/3/comments") => (201, json!({"id": 1})),
        ("POST", _) => (204, Value::Null),
        _ => (404, Value::Null),
    }
}

#[test]
fn without_a_changelog_others_are_told() {
    let report = DESK.run(|_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let expected = json!({
        "repository": "acme/shop", "number": 42, "title": "Round prices to cents", "author": "ada", "branch": "main",
        "commit": "c5b97d5ae6c19d5c5df71a34c7fbeeda2479ccbc",
    });
    assert_eq!((report.emits[0].name.as_str(), report.emits[0].json()), ("pull-request-merged", expected));
    assert!(report.requests.is_empty());
}

#[test]
fn a_workflow_that_may_have_been_started_is_looked_for_before_it_is_started_again() {
    let config = json!({"changelog_issue": 3, "workflow": "publish.yml"});
    let mut host = DESK.configured(config).interrupted("workflow");
    let report = DESK.run_in(&mut host, |_| ());
    let paths: Vec<&str> = report.requests.iter().map(plugin_desk::below).collect();
    let workflow = "/actions/workflows/publish.yml";
    let expected =
        ["/issues/3/comments", "/issues/3/comments", &format!("{workflow}/runs"), &format!("{workflow}/dispatches")].map(str::to_owned);
    assert_eq!((report.verdict, paths), (Verdict::Ack, expected.iter().map(String::as_str).collect()));
    let again = DESK.run_in(&mut host, |_| ());
    assert!(!again.requests.iter().any(|request| plugin_desk::below(request).ends_with("dispatches")), "the step is done");
}

#[test]
fn what_is_closed_without_being_merged_is_skipped() {
    let report = DESK.run(|document| document["pull_request"]["merged"] = json!(false));
    assert_eq!((&report.verdict, changes(&report).len()), (&Verdict::skip("`closed` merges nothing"), 0));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
