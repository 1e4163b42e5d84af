//! Whole deliveries through the plugin.

use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};
use pr_review::handle;

const DESK: Desk = Desk {
    handle,
    event: "pull_request",
    document: include_str!("pull_request.json"),
    manifest: include_str!("../pr-review.toml"),
    answer,
};

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/pulls/42") => (200, pull()),
        ("GET", "/pulls/42/reviews") => (200, json!([{"user": {"id": 3, "login": "EVE"}}])),
        ("POST", _) => (201, json!({})),
        _ => (404, Value::Null),
    }
}

fn pull() -> Value {
    let mut pull = DESK.example()["pull_request"].clone();
    pull["requested_teams"] = json!([{"slug": "core"}]);
    pull
}

#[test]
fn those_are_asked_who_were_not_and_the_author_never() {
    let config = json!({"reviewers": ["Ada", "bob", "eve"], "teams": ["core", "docs"]});
    let report = DESK.run_in(&mut DESK.configured(config), |_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let expected = ("POST", "/pulls/42/requested_reviewers", json!({"reviewers": ["bob"], "team_reviewers": ["docs"]}));
    assert_eq!(changes(&report), [expected]);
}

#[test]
fn nobody_to_ask_and_other_actions_are_skipped() {
    assert_eq!(DESK.run(|_| ()).verdict, Verdict::skip("everybody has been asked"));
    let report = DESK.run(|document| document["action"] = json!("edited"));
    assert_eq!((report.verdict, report.requests.len()), (Verdict::skip("`edited` asks for no review"), 0));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
