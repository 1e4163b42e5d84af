//! Whole deliveries through the plugin.

use deployment_report::handle;
use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};

const DESK: Desk = Desk {
    handle,
    event: "deployment_status",
    document: include_str!("deployment_status.json"),
    manifest: include_str!("../deployment-report.toml"),
    answer,
};

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/issues") => (200, json!([])),
        ("POST", "/issues") => (201, json!({"id": 1, "number": 1, "title": ""})),
        ("POST", "") => (200, json!("ok")),
        _ => (404, Value::Null),
    }
}

#[test]
fn a_failure_opens_an_issue_and_is_told() {
    let report = DESK.run(|_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let changes = changes(&report);
    assert_eq!((changes[0].1, &changes[0].2["labels"]), ("/issues", &json!(["deployment-failure"])));
    let text = "The deployment of <https://deploy.example.com/logs/7|main> (acme/shop) to production failed.";
    assert_eq!(changes[1].2, json!({"text": text}));
}

#[test]
fn success_is_only_told_and_what_is_no_end_is_skipped() {
    let report = DESK.run(|document| document["deployment_status"]["state"] = json!("success"));
    assert_eq!(changes(&report).len(), 1);
    let report = DESK.run(|document| document["deployment_status"]["state"] = json!("queued"));
    assert_eq!((report.verdict, report.requests.len()), (Verdict::skip("`queued` is no end"), 0));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
