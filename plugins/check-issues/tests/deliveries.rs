//! Whole deliveries through the plugin.

use check_issues::handle;
use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};

const DESK: Desk =
    Desk { handle, event: "check_run", document: include_str!("check_run.json"), manifest: include_str!("../check-issues.toml"), answer };

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/issues") => (200, json!([])),
        ("POST", "/issues") => (201, json!({"id": 1, "number": 1, "title": ""})),
        _ => (404, Value::Null),
    }
}

#[test]
fn a_failed_check_opens_an_issue_with_both_markers() {
    let report = DESK.run(|document| document["check_run"]["name"] = json!("`lint` --> @all"));
    assert_eq!(report.verdict, Verdict::Ack);
    let (method, path, body) = &changes(&report)[0];
    assert_eq!((*method, *path, &body["labels"]), ("POST", "/issues", &json!(["check-failure"])));
    let text = body["body"].as_str().unwrap_or_default();
    assert!(text.starts_with("`'lint' --> @all` ended with `failure` on `main` at c5b97d5"), "{text}");
    assert!(
        text.contains("<!-- hookyard:check-issues:run 128620228 -->")
            && text.contains("<!-- hookyard:check-issues:main `lint` --_ @all -->"),
        "{text}"
    );
}

#[test]
fn success_forks_and_branches_nobody_watches_are_skipped() {
    let report = DESK.run(|document| document["check_run"]["conclusion"] = json!("neutral"));
    assert_eq!(report.verdict, Verdict::skip("`neutral` is no failure"));
    let report = DESK.run(|document| document["check_run"]["check_suite"]["head_branch"] = Value::Null);
    assert_eq!(report.verdict, Verdict::skip("the commit is on no branch of this repository"));
    let mut host = DESK.configured(json!({"branches": ["release"]}));
    assert_eq!(DESK.run_in(&mut host, |_| ()).verdict, Verdict::skip("main is not watched"));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
