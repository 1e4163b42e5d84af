//! Whole deliveries through the plugin.

use deployment_start::handle;
use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};

const DESK: Desk = Desk {
    handle,
    event: "deployment",
    document: include_str!("deployment.json"),
    manifest: include_str!("../deployment-start.toml"),
    answer,
};

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/deployments/145988746/statuses") => (200, json!([])),
        ("POST", _) => (201, json!({})),
        _ => (404, Value::Null),
    }
}

#[test]
fn a_new_deployment_is_reported_as_begun() {
    let report = DESK.run(|_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let expected = ("POST", "/deployments/145988746/statuses", json!({"state": "in_progress", "description": "The deployment has begun."}));
    assert_eq!(changes(&report), [expected]);
}

#[test]
fn environments_nobody_named_are_left_alone() {
    let mut host = DESK.configured(json!({"environments": ["staging"]}));
    assert_eq!(DESK.run_in(&mut host, |_| ()).verdict, Verdict::skip("production is not ours"));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
