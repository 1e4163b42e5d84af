//! Whole deliveries through the plugin.

use hookyard_sdk::Verdict;
use plugin_desk::{Desk, Value, changes, json};
use star_count::handle;

const DESK: Desk =
    Desk { handle, event: "star", document: include_str!("star.json"), manifest: include_str!("../star-count.toml"), answer };

fn answer(method: &str, path: &str) -> (u16, Value) {
    match (method, path) {
        ("POST", "") => (200, json!("ok")),
        _ => (404, Value::Null),
    }
}

fn kept(report: &hookyard_sdk::testing::Report, key: &str) -> Option<String> {
    report.kv.get(key).map(|value| String::from_utf8_lossy(value).into_owned())
}

#[test]
fn a_delivery_is_counted_once_and_a_milestone_told() {
    let mut host = DESK.host();
    let report = DESK.run_in(&mut host, |_| ());
    assert_eq!(report.verdict, Verdict::Ack);
    assert_eq!(kept(&report, "star:acme/shop:2026-01-01").as_deref(), Some("1"));
    assert_eq!(changes(&report), [("POST", "", json!({"text": "<https://github.com/acme/shop|acme/shop> has 100 stars."}))]);
    let again = DESK.run_in(&mut host, |_| ());
    assert_eq!((&again.verdict, again.requests.len()), (&Verdict::skip("counted before"), 0));
    assert_eq!(kept(&again, "star:acme/shop:2026-01-01").as_deref(), Some("1"));
}

#[test]
fn each_kind_is_counted_apart() {
    let of = |event: &'static str, document: &'static str, action: &str| {
        let desk = Desk { event, document, ..DESK };
        desk.run(|document| document["action"] = json!(action))
    };
    for (event, document, action, kind) in [
        ("star", DESK.document, "deleted", "unstar"),
        ("watch", include_str!("watch.json"), "started", "watch"),
        ("fork", include_str!("fork.json"), "created", "fork"),
    ] {
        let report = of(event, document, action);
        assert_eq!(kept(&report, &format!("{kind}:acme/shop:2026-01-01")).as_deref(), Some("1"), "{kind}");
        assert!(report.requests.is_empty(), "{kind}");
    }
    assert!(matches!(of("star", DESK.document, "pinned").verdict, Verdict::Skip(_)));
}

#[test]
fn what_does_not_fit_is_refused() {
    DESK.refuses_what_does_not_fit();
}
