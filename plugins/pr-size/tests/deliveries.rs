//! Whole deliveries through the plugin.

use hookyard_sdk::{Verdict, http::Response};
use plugin_desk::{Desk, Value, changes, json};
use pr_size::handle;

const DESK: Desk =
    Desk { handle, event: "pull_request", document: include_str!("pull_request.json"), manifest: include_str!("../pr-size.toml"), answer };

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("GET", "/pulls/42") => (200, pull(61, 17, &[])),
        ("POST" | "DELETE", _) => (200, json!([])),
        _ => (404, Value::Null),
    }
}

fn pull(additions: u64, deletions: u64, labels: &[&str]) -> Value {
    let mut pull = DESK.example()["pull_request"].clone();
    (pull["additions"], pull["deletions"]) = (json!(additions), json!(deletions));
    pull["labels"] = labels.iter().map(|name| json!({"id": 1, "name": name})).collect();
    pull
}

/// Labels a pull request of so many lines, and gives the requests that were to change something.
fn label(config: Value, additions: u64, deletions: u64, labels: &'static [&'static str]) -> Vec<(String, Value)> {
    let mut host = DESK.configured(config).answering(move |request| {
        let body = if request.method == "GET" { pull(additions, deletions, labels) } else { json!([]) };
        Ok(Response::new(200).with_json(&body))
    });
    let report = DESK.run_in(&mut host, |_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    let changes = changes(&report).into_iter();
    changes.map(|(method, path, body)| (format!("{method} {path}"), body["labels"].clone())).collect()
}

#[test]
fn each_threshold_belongs_to_the_larger_size() {
    let sizes = [
        (0, 0, "XS"),
        (5, 4, "XS"),
        (5, 5, "S"),
        (0, 49, "S"),
        (50, 0, "M"),
        (199, 0, "M"),
        (100, 100, "L"),
        (499, 0, "L"),
        (500, 0, "XL"),
        (u64::MAX, u64::MAX, "XL"),
    ];
    for (additions, deletions, size) in sizes {
        let expected = ("POST /issues/42/labels".to_owned(), json!([format!("size/{size}")]));
        assert_eq!(label(json!({}), additions, deletions, &[]), [expected], "{additions} + {deletions}");
    }
    assert_eq!(label(json!({"l_below": 5000}), 4999, 0, &[])[0].1, json!(["size/L"]));
}

#[test]
fn the_label_of_an_earlier_size_is_taken_off_and_others_stay() {
    let changes = label(json!({}), 61, 17, &["size/S", "kind/fix", "size/XL"]);
    let paths: Vec<&str> = changes.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["DELETE /issues/42/labels/size%2FS", "DELETE /issues/42/labels/size%2FXL", "POST /issues/42/labels"]);
    assert!(label(json!({}), 61, 17, &["size/M"]).is_empty(), "what is right stays");
}

#[test]
fn another_action_is_skipped_with_the_reason() {
    for action in ["opened", "synchronize", "reopened"] {
        let report = DESK.run(|document| document["action"] = json!(action));
        assert_eq!((&report.verdict, changes(&report).len()), (&Verdict::Ack, 1), "{action}");
    }
    let report = DESK.run(|document| document["action"] = json!("closed"));
    assert_eq!((report.verdict, report.requests.len()), (Verdict::skip("`closed` does not change the size"), 0));
}

#[test]
fn thresholds_that_do_not_ascend_are_retried() {
    let report = DESK.run_in(&mut DESK.configured(json!({"xs_below": 50})), |_| ());
    assert!(matches!(&report.verdict, Verdict::Retry { reason, .. } if reason.contains("ascend")), "{:?}", report.verdict);
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
