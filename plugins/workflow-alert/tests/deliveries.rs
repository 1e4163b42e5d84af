//! Whole deliveries through the plugin.

use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};
use workflow_alert::handle;

const DESK: Desk = Desk {
    handle,
    event: "workflow_run",
    document: include_str!("workflow_run.json"),
    manifest: include_str!("../workflow-alert.toml"),
    answer,
};

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/actions/runs/289782451/jobs") => {
            let jobs: Vec<Value> = (0..12).map(|job| json!({"name": format!("job {job}"), "conclusion": "failure"})).collect();
            (200, json!({"jobs": jobs}))
        }
        ("POST", "") => (200, json!("ok")),
        _ => (404, Value::Null),
    }
}

#[test]
fn a_failed_run_is_told_once_and_ten_jobs_are_named() {
    let mut host = DESK.host();
    let report = DESK.run_in(&mut host, |_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let text = changes(&report)[0].2["text"].as_str().unwrap_or_default().to_owned();
    assert!(
        text.starts_with("<https://github.com/acme/shop/actions/runs/289782451|CI #17> failed on main of acme/shop.\n• job 0\n"),
        "{text}"
    );
    assert!(text.ends_with("• job 9\n• and 2 more"), "{text}");
    assert_eq!(DESK.run_in(&mut host, |_| ()).verdict, Verdict::skip("the team has been told"));
}

#[test]
fn success_and_branches_nobody_watches_are_skipped() {
    let report = DESK.run(|document| document["workflow_run"]["conclusion"] = json!("success"));
    assert_eq!(report.verdict, Verdict::skip("`success` is no failure"));
    let mut host = DESK.configured(json!({"branches": ["release"]}));
    assert_eq!(DESK.run_in(&mut host, |_| ()).verdict, Verdict::skip("main is not watched"));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
