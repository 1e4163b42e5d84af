//! A run in a real sandbox, told as the host tells it, and made again.

use std::path::Path;

use super::*;
use crate::{
    delivery::view::{AttemptView, HostCall, LegView, Recorded},
    runtime::tests::guests,
};

const MANIFEST: &str = "sources = [\"github\"]\nevents = [\"*\"]\n[config]\nurl = \"https://api.example.com/labels\"\n\
                        [[grants.http]]\nhost = \"api.example.com\"\nmethods = [\"GET\"]\ncredential = \"github\"\n";

fn component(dir: &Path, name: &str, guest: &str, manifest: &str) -> PathBuf {
    let file = dir.join(format!("{name}.wasm"));
    std::fs::write(&file, guests::component(guest)).unwrap();
    std::fs::write(file.with_extension("toml"), manifest).unwrap();
    file
}

/// A delivery whose one attempt fetched a page: the view a host would give.
fn fetched(digest: &str, calls: Vec<HostCall>) -> DeliveryView {
    let attempt = AttemptView {
        attempt: 1,
        generation: 0,
        started_at: crate::delivery::Timestamp::from_unix_ms(1_700_000_001_000),
        duration_ms: 1.0,
        outcome: "skip".to_owned(),
        settlement: "skip".to_owned(),
        detail: "bug, docs".to_owned(),
        fuel: 1,
        memory_peak_bytes: 1,
        digest: Some(digest.to_owned()),
        logs: Vec::new(),
        host_calls: calls,
        retry_after_ms: None,
    };
    let leg = LegView {
        plugin: "fetch".parse().unwrap(),
        state: crate::delivery::LegState::Skipped,
        attempts: 1,
        generation: 0,
        outcome: None,
        reason: None,
        digest: None,
        due_at: None,
        settled_at: None,
        history: vec![attempt],
    };
    let view = json!({
        "delivery_id": "0123456789abcdef0123456789abcdef", "provider_delivery_id": "guid", "tenant": "red", "source": "github",
        "event": "issues", "action": "opened", "repository": "acme/shop", "received_at": "2023-11-14T22:13:20.000Z", "sequence": 1,
        "body_bytes": 2, "id_reused": false, "body_seen_before": false, "status": "settled", "legs": [leg], "document": "{}",
        "content_type": "application/json", "headers": [["x-github-event", "issues"]],
    });
    parsed(view).unwrap()
}

fn answered(body: &str) -> HostCall {
    let question = crate::runtime::tests::question("GET", "https://api.example.com/labels", Some("github"));
    let recorded = Recorded::Response { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec().into(), truncated: false };
    HostCall { call: "http.send".to_owned(), input_digest: question, recorded: Some(recorded), ..HostCall::default() }
}

fn red() -> TenantId {
    "red".parse().unwrap()
}

async fn compared(file: &Path, view: DeliveryView) -> Comparison {
    let candidate = Candidate::load(file).unwrap();
    let past = Past::of(view, (&red(), &"fetch".parse().unwrap()), None).unwrap();
    let report = candidate.repeat(&past).await.unwrap();
    Comparison::of(&past, &report, candidate.digest())
}

#[tokio::test]
async fn the_same_version_comes_to_the_same_end_with_the_recorded_answers() {
    let dir = tempfile::tempdir().unwrap();
    let file = component(dir.path(), "fetch", "fetch", MANIFEST);
    let digest = Candidate::load(&file).unwrap().digest().to_string();
    let same = compared(&file, fetched(&digest, vec![answered("bug, docs")])).await;
    assert!(same.is_same() && same.is_same_version(), "{same:?}");
    let other = compared(&file, fetched(&digest, vec![answered("bug, DOCS")])).await;
    assert!(other.has_other_verdict(), "to the byte: {other:?}");
}

#[tokio::test]
async fn a_candidate_that_asks_for_something_else_is_shown_and_gets_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let file = component(dir.path(), "fetch", "fetch", &MANIFEST.replace("/labels", "/issues"));
    let comparison = compared(&file, fetched("0000", vec![answered("bug, docs")])).await;
    assert!(comparison.has_other_verdict() && !comparison.is_same_version());
    let object = comparison.object();
    assert_eq!((object["was"]["outcome"].as_str(), object["would_be"]["outcome"].as_str()), (Some("skip"), Some("reject")));
    let marks: Vec<_> = object["calls"].as_array().unwrap().iter().map(|call| call["change"].as_str().unwrap()).collect();
    assert_eq!(marks, ["removed", "added"]);
    assert_eq!(object["unanswered"], 1);
    assert_eq!(changes::turns(&[comparison]), [("skip → reject".to_owned(), 1)]);
}

#[test]
fn another_tenants_delivery_is_not_found_and_neither_is_another_plugins_run() {
    let exit = |tenant: &str, plugin: &str, attempt| {
        let of = (&tenant.parse().unwrap(), &plugin.parse().unwrap());
        Past::of(fetched("0000", Vec::new()), of, attempt).map(|_| ()).map_err(|failure| failure.exit)
    };
    assert_eq!(exit("red", "fetch", None), Ok(()));
    assert_eq!(exit("blue", "fetch", None), Err(Exit::NotFound));
    assert_eq!(exit("red", "other", None), Err(Exit::NotFound));
    assert_eq!(exit("red", "fetch", Some(1)), Ok(()));
    assert_eq!(exit("red", "fetch", Some(2)), Err(Exit::NotFound));
    assert_eq!(exit("red", "fetch", Some(0)), Err(Exit::NotFound));
}

#[test]
fn a_delivery_whose_document_is_gone_cannot_be_replayed() {
    let view = DeliveryView { document: None, ..fetched("0000", Vec::new()) };
    let failure = Past::of(view, (&red(), &"fetch".parse().unwrap()), None).unwrap_err();
    assert!(failure.message.contains("not kept"), "{}", failure.message);
}
