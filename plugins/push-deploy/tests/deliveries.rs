//! Whole deliveries through the plugin.

use hookyard_sdk::{Verdict, http::Response};
use plugin_desk::{Desk, Value, changes, json};
use push_deploy::handle;

const DESK: Desk =
    Desk { handle, event: "push", document: include_str!("push.json"), manifest: include_str!("../push-deploy.toml"), answer };

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/deployments" | "/issues/12/comments" | "/issues/34/comments") => (200, json!([])),
        ("GET", path) if path.starts_with("/issues/") => {
            let number: u64 = path.trim_start_matches("/issues/").parse().unwrap_or_default();
            (200, json!({"id": number, "number": number, "title": "Prices", "state": "open"}))
        }
        ("POST", "/deployments") => (201, json!({"id": 1, "sha": "0", "ref": "main"})),
        ("POST", _) => (201, json!({"id": 1})),
        ("PATCH", _) => (200, json!({})),
        _ => (404, Value::Null),
    }
}

#[test]
fn a_push_to_the_main_branch_is_deployed_and_closes_what_it_fixes_here() {
    let report = DESK.run(|_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let deployment = json!({
        "ref": "main", "environment": "production", "production_environment": true, "description": "Push of c5b97d5",
        "auto_merge": false, "required_contexts": [], "payload": {"hookyard": "0123456789abcdef0123456789abcdef"},
    });
    let comment =
        "Closed by 9f2b0b6e3f5bd1a0e1d6a1a25d9d9f3d8f1d0b11.\n\n<!-- hookyard:push-deploy:9f2b0b6e3f5bd1a0e1d6a1a25d9d9f3d8f1d0b11 -->";
    let expected = [
        ("POST", "/deployments", deployment),
        ("PATCH", "/issues/12", json!({"state": "closed", "state_reason": "completed"})),
        ("POST", "/issues/12/comments", json!({"body": comment})),
    ];
    assert_eq!(changes(&report), expected);
    let looked = report.requests.iter().find(|request| request.url.contains("/issues/12/comments")).expect("it looked first");
    assert!(looked.url.contains("since=2026-05-18T07%3A14%3A10Z"), "{}", looked.url);
    assert_eq!(report.logs[1].fields[0].1, "1", "the issue of another repository is left alone");
}

#[test]
fn a_push_elsewhere_is_skipped_with_the_reason() {
    for (name, reason) in
        [("refs/heads/topic", "refs/heads/topic is not the branch main"), ("refs/tags/main", "refs/tags/main is not the branch main")]
    {
        let report = DESK.run(|document| document["ref"] = json!(name));
        assert_eq!((report.verdict, report.requests.len()), (Verdict::skip(reason), 0));
    }
    let report = DESK.run(|document| document["deleted"] = json!(true));
    assert_eq!(report.verdict, Verdict::skip("refs/heads/main was deleted"));
}

#[test]
fn the_configuration_names_branch_and_environment() {
    let mut host = DESK.configured(json!({"main_branch": "trunk", "environment": "staging", "production": false}));
    let report = DESK.run_in(&mut host, |document| document["ref"] = json!("refs/heads/trunk"));
    let deployment = &changes(&report)[0].2;
    assert_eq!(
        (&deployment["ref"], &deployment["environment"], &deployment["production_environment"]),
        (&json!("trunk"), &json!("staging"), &json!(false))
    );
    assert_eq!(DESK.run_in(&mut host, |_| ()).verdict, Verdict::skip("refs/heads/main is not the branch trunk"));
}

#[test]
fn more_issues_than_one_push_closes_are_told_of() {
    let message = (1..=30).map(|issue| format!("fix #{issue}")).collect::<Vec<_>>().join("\n");
    let mut host = DESK.host().answering(|request| match request.method.as_str() {
        "GET" if plugin_desk::below(request) == "/deployments" => Ok(Response::new(200).with_json(&json!([]))),
        "POST" => Ok(Response::new(201).with_json(&json!({"id": 1, "sha": "0", "ref": "main"}))),
        _ => Ok(Response::new(404)),
    });
    let report = DESK.run_in(&mut host, |document| {
        document["commits"] = json!([{"id": "c0ffee", "message": message}]);
    });
    assert_eq!(report.verdict, Verdict::Ack);
    let looked = report.requests.iter().filter(|request| plugin_desk::below(request).starts_with("/issues/")).count();
    assert_eq!((looked, report.logs[1].fields[0].1.as_str()), (20, "10"));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
