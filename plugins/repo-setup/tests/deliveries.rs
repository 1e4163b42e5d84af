//! Whole deliveries through the plugin.

use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};
use repo_setup::{handle, validate};

const DESK: Desk =
    Desk { handle, event: "repository", document: include_str!("repository.json"), manifest: include_str!("../repo-setup.toml"), answer };

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/labels") => (200, json!([{"id": 1, "name": "BUG"}])),
        ("GET", "/branches/main") => (200, json!({"name": "main"})),
        ("POST" | "PATCH" | "PUT", _) => (201, json!({})),
        _ => (404, Value::Null),
    }
}

#[test]
fn a_new_repository_gets_what_it_lacks() {
    let report = DESK.run(|_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let changes = changes(&report);
    let paths: Vec<(&str, &str)> = changes.iter().map(|(method, path, _)| (*method, *path)).collect();
    assert_eq!(paths, [("POST", "/labels"), ("PATCH", ""), ("PUT", "/branches/main/protection")]);
    assert_eq!(changes[0].2["name"], "priority:high");
    assert_eq!(changes[2].2["restrictions"], Value::Null);
    assert!(changes[2].2.get("required_status_checks").is_some(), "GitHub wants all four");
}

#[test]
fn an_empty_repository_is_protected_later_and_other_actions_are_skipped() {
    let report = DESK.run(|document| document["repository"]["default_branch"] = json!("trunk"));
    assert!(matches!(&report.verdict, Verdict::Retry { after: Some(after), .. } if after.as_secs() == 900), "{:?}", report.verdict);
    let report = DESK.run(|document| document["action"] = json!("renamed"));
    assert_eq!((report.verdict, report.requests.len()), (Verdict::skip("`renamed` sets nothing up"), 0));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}

#[test]
fn a_colour_github_would_refuse_is_told_before_the_plugin_serves() {
    assert_eq!(DESK.host().validate(validate), Ok(()), "the manifest's own");
    for colour in ["#d73a4a", "red", ""] {
        let objections = DESK.configured(json!({"labels": [{"name": "bug", "color": colour}]})).validate(validate).unwrap_err();
        assert!(objections[0].contains("`bug`"), "{objections:?}");
    }
}
