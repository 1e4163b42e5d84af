//! Whole deliveries through the plugin.

use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};
use status_alert::handle;

const DESK: Desk =
    Desk { handle, event: "status", document: include_str!("status.json"), manifest: include_str!("../status-alert.toml"), answer };

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("POST", "") => (200, json!("ok")),
        _ => (404, Value::Null),
    }
}

#[test]
fn a_failure_of_the_default_branch_is_told_once() {
    let mut host = DESK.host();
    let report = DESK.run_in(&mut host, |_| ());
    let text = "<https://ci.example.com/2|ci/build> reports failure for c5b97d5 of main (acme/shop): 2 tests failed";
    assert_eq!((&report.verdict, changes(&report)), (&Verdict::Ack, vec![("POST", "", json!({"text": text}))]));
    assert_eq!(DESK.run_in(&mut host, |_| ()).verdict, Verdict::skip("the team has been told"));
}

#[test]
fn success_and_other_branches_are_skipped() {
    let report = DESK.run(|document| document["state"] = json!("success"));
    assert_eq!(report.verdict, Verdict::skip("`success` is no failure"));
    let report = DESK.run(|document| document["repository"]["default_branch"] = json!("trunk"));
    assert_eq!(report.verdict, Verdict::skip("the commit is not the head of trunk"));
}

#[test]
fn a_context_that_is_too_long_for_a_key_is_cut_between_characters() {
    let report = DESK.run(|document| document["context"] = json!("ü".repeat(600)));
    assert_eq!(report.verdict, Verdict::Ack);
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
