//! Whole deliveries through the plugin.

use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};
use release_deploy::handle;

const DESK: Desk =
    Desk { handle, event: "release", document: include_str!("release.json"), manifest: include_str!("../release-deploy.toml"), answer };

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/deployments") => (200, json!([])),
        ("POST", "/deployments") => (201, json!({"id": 1, "sha": "0", "ref": "v1.2.0"})),
        ("POST", "") => (200, json!("ok")),
        _ => (404, Value::Null),
    }
}

#[test]
fn a_published_release_is_deployed_and_told() {
    let report = DESK.run(|_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let changes = changes(&report);
    assert_eq!(
        (changes[0].1, &changes[0].2["ref"], &changes[0].2["payload"]),
        ("/deployments", &json!("v1.2.0"), &json!({"hookyard": "release:17372790"}))
    );
    assert_eq!(report.requests[2].credential.as_deref(), Some("slack"));
}

#[test]
fn pre_releases_are_deployed_where_the_configuration_says_so() {
    let pre = |document: &mut Value| document["release"]["prerelease"] = json!(true);
    assert_eq!(DESK.run(pre).verdict, Verdict::skip("v1.2.0 is a pre-release"));
    let mut host = DESK.configured(json!({"prereleases": true}));
    assert_eq!(changes(&DESK.run_in(&mut host, pre)).len(), 1, "and nobody is told where nobody is named");
}

#[test]
fn another_action_is_skipped() {
    assert_eq!(DESK.run(|document| document["action"] = json!("edited")).verdict, Verdict::skip("`edited` publishes nothing"));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
