//! Whole deliveries through the plugin, with the manifest's own configuration.

use hookyard_sdk::{
    Delivery, Verdict,
    testing::{Host, Report},
};
use pr_size::handle;
use serde_json::{Value, json};

const PULL_REQUEST: &[u8] = include_bytes!("pull_request.json");

fn run(host: &mut Host, change: impl FnOnce(&mut Value)) -> Report {
    let mut document: Value = serde_json::from_slice(PULL_REQUEST).expect("the fixture is JSON");
    change(&mut document);
    host.run(handle, Delivery::sample("pull_request", document.to_string().as_bytes()))
}

fn host() -> Host {
    let manifest: toml::Table = toml::from_str(include_str!("../pr-size.toml")).expect("the manifest is TOML");
    Host::new().config(serde_json::to_value(&manifest["config"]).expect("tables are JSON"))
}

fn label(host: &mut Host, additions: u64, deletions: u64) -> Value {
    let report = run(host, |document| {
        document["pull_request"]["additions"] = json!(additions);
        document["pull_request"]["deletions"] = json!(deletions);
    });
    assert_eq!(report.verdict, Verdict::Ack);
    report.emits[0].json()["label"].clone()
}

#[test]
fn an_opened_pull_request_asks_for_its_label() {
    for action in ["opened", "synchronize", "reopened"] {
        let report = run(&mut host(), |document| document["action"] = json!(action));
        assert_eq!(report.verdict, Verdict::Ack, "{action}");
        let found: Vec<_> = report.emits.iter().map(|emit| (emit.name.as_str(), emit.json())).collect();
        assert_eq!(found, [("label-requested", json!({"repository": "acme/shop", "number": 42, "label": "size/M"}))], "{action}");
    }
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
    ];
    for (additions, deletions, size) in sizes {
        assert_eq!(label(&mut host(), additions, deletions), format!("size/{size}"), "{additions} + {deletions}");
    }
    assert_eq!(label(&mut host(), u64::MAX, u64::MAX), "size/XL");
}

#[test]
fn the_thresholds_are_the_configurations() {
    assert_eq!(label(&mut Host::new().config(json!({"l_below": 5000})), 4999, 0), "size/L");
}

#[test]
fn another_action_is_skipped_with_the_reason() {
    let report = run(&mut host(), |document| document["action"] = json!("closed"));
    assert_eq!(report.verdict, Verdict::skip("`closed` does not change the size"));
    assert!(report.emits.is_empty());
}

#[test]
fn thresholds_that_do_not_ascend_are_retried_and_a_strange_document_is_rejected() {
    let report = run(&mut Host::new().config(json!({"xs_below": 50})), |_| ());
    assert!(matches!(&report.verdict, Verdict::Retry { reason, .. } if reason.contains("ascend")), "{:?}", report.verdict);
    let report = run(&mut host(), |document| document["pull_request"]["additions"] = Value::Null);
    assert!(matches!(&report.verdict, Verdict::Reject(reason) if reason.contains("how many lines")), "{:?}", report.verdict);
    let report = host().run(handle, Delivery::sample("pull_request", b"[]"));
    assert!(matches!(report.verdict, Verdict::Reject(_)), "{:?}", report.verdict);
}
