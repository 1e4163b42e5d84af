//! Whole deliveries through the plugin.

use comment_commands::handle;
use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};

const DESK: Desk = Desk {
    handle,
    event: "issue_comment",
    document: include_str!("issue_comment.json"),
    manifest: include_str!("../comment-commands.toml"),
    answer,
};

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/collaborators/ada/permission") => (200, json!({"permission": "write"})),
        ("GET", "/collaborators/eve/permission") => (200, json!({"permission": "read"})),
        ("GET", "/issues/12/comments") => (200, json!([])),
        ("POST", "/issues/12/comments") => (201, json!({"id": 1})),
        ("POST", "/issues/12/assignees") => (201, json!({"id": 1, "number": 12, "title": ""})),
        ("POST", _) => (201, json!({})),
        _ => (404, Value::Null),
    }
}

#[test]
fn a_writers_commands_are_obeyed_once() {
    let mut host = DESK.host();
    let report = DESK.run_in(&mut host, |_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let expected = [
        ("POST", "/issues/12/assignees", json!({"assignees": ["bob"]})),
        ("POST", "/issues/12/labels", json!({"labels": ["good first issue"]})),
        ("POST", "/issues/comments/492700400/reactions", json!({"content": "+1"})),
    ];
    assert_eq!(changes(&report), expected);
    let again = DESK.run_in(&mut host, |_| ());
    assert_eq!((again.verdict, again.requests.len()), (Verdict::skip("obeyed before"), 0));
}

#[test]
fn who_may_not_write_gets_no_answer() {
    let report = DESK.run(|document| document["comment"]["user"]["login"] = json!("eve"));
    assert_eq!((&report.verdict, changes(&report).len()), (&Verdict::skip("eve may not write here"), 0));
}

#[test]
fn bots_edits_and_plain_comments_ask_for_nothing() {
    let report = DESK.run(|document| document["sender"]["type"] = json!("Bot"));
    assert_eq!((report.verdict, report.requests.len()), (Verdict::skip("bots are not answered"), 0));
    for (field, value) in [("/action", "edited"), ("/comment/body", "Thanks! /close")] {
        let report = DESK.run(|document| *document.pointer_mut(field).expect("a field") = json!(value));
        assert_eq!((report.verdict, report.requests.len()), (Verdict::skip("no new command"), 0));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
