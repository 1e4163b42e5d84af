//! Whole deliveries through the plugin.

use hookyard_sdk::Verdict;
use issue_triage::{handle, validate};
use plugin_desk::{Desk, Value, changes, json};

const DESK: Desk =
    Desk { handle, event: "issues", document: include_str!("issues.json"), manifest: include_str!("../issue-triage.toml"), answer };

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/issues/12") => (200, issue()),
        ("POST", "/issues/12/labels") => (200, json!([])),
        ("POST", "/issues/12/assignees") => (201, issue()),
        _ => (404, Value::Null),
    }
}

fn issue() -> Value {
    DESK.example()["issue"].clone()
}

#[test]
fn words_earn_labels_and_labels_people() {
    let config = json!({"assignees": {"bug": ["ada"]}});
    let report = DESK.run_in(&mut DESK.configured(config), |_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let expected = [
        ("POST", "/issues/12/labels", json!({"labels": ["bug", "priority:high"]})),
        ("POST", "/issues/12/assignees", json!({"assignees": ["ada"]})),
    ];
    assert_eq!(changes(&report), expected);
    assert_eq!(report.logs[0].message, "cannot be assigned here", "the answer does not have her");
}

#[test]
fn the_manifests_rules_are_those_of_the_code() {
    let (by_manifest, by_code) = (DESK.run(|_| ()), DESK.run_in(&mut DESK.configured(json!({})), |_| ()));
    assert_eq!(changes(&by_manifest), changes(&by_code));
}

#[test]
fn another_action_is_skipped() {
    assert_eq!(DESK.run(|document| document["action"] = json!("edited")).verdict, Verdict::skip("`edited` is not triaged"));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}

#[test]
fn a_rule_that_could_never_be_followed_is_told_before_the_plugin_serves() {
    assert_eq!(DESK.host().validate(validate), Ok(()), "the manifest's own");
    let rule = |words: Value| DESK.configured(json!({"rules": [{"words": words, "label": "bug"}]})).validate(validate);
    assert_eq!(rule(json!(["error"])), Ok(()));
    for silent in [json!([]), json!(["out of memory"]), json!([""])] {
        assert!(rule(silent.clone()).unwrap_err()[0].contains("`bug`"), "{silent}");
    }
    assert!(DESK.configured(json!({"misspelt": 1})).validate(validate).unwrap_err()[0].contains("misspelt"));
}
