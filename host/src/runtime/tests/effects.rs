//! What a run wants changed, and when it is dropped.

use super::*;
use crate::delivery::{Emit, KvRead};

fn reason(report: &RunReport) -> &str {
    match &report.outcome {
        Outcome::Verdict(Verdict::Skip(reason) | Verdict::Reject(reason)) => reason,
        other => panic!("no skip or reject: {other:?}"),
    }
}

#[tokio::test]
async fn every_verdict_comes_back_whole() {
    assert_eq!(play("ack", run()).await.outcome, Outcome::Verdict(Verdict::Ack));
    assert_eq!(reason(&play("skip", run()).await), "pull_request");
    assert_eq!(play("reject", run()).await.outcome, Outcome::Verdict(Verdict::Reject("hopeless".to_owned())));
    let retry = Verdict::Retry { after: Some(Duration::from_millis(1_500)), reason: "later".to_owned() };
    assert_eq!(play("retry", run()).await.outcome, Outcome::Verdict(retry));
}

#[tokio::test]
async fn the_guest_gets_the_exact_document_and_its_reason_is_cut_to_four_kib() {
    let document = r#"{"zen":"Keep it — logically awesome."}"#;
    let report = play("echo", Run { delivery: Arc::new(delivery(document.as_bytes())), ..run() }).await;
    assert_eq!(reason(&report), document);
    let long = play("echo", Run { delivery: Arc::new(delivery("ä".repeat(3_000).as_bytes())), ..run() }).await;
    assert_eq!(reason(&long), "ä".repeat(2_048));
}

#[tokio::test]
async fn the_configuration_is_read_by_dotted_keys() {
    let report = play("config", run()).await;
    assert_eq!(reason(&report), "10");
    assert_eq!((report.host_calls[0].call.as_str(), report.host_calls[0].answer.as_str()), ("config.get", "10"));
}

#[tokio::test]
async fn a_run_reads_its_own_writes_and_hands_versions_read_to_the_settlement() {
    let report = play("kv-own-writes", run()).await;
    assert_eq!(reason(&report), "one");
    assert_eq!(report.effects.kv_reads, [KvRead { key: "other".to_owned(), version: 0 }]);
    let write = &report.effects.kv_writes[0];
    assert_eq!((write.key.as_str(), write.value.as_deref()), ("count", Some(&b"one"[..])));
    assert_eq!(write.expires_at, Some(run().started_at.after(Duration::from_mins(1))));
    let calls: Vec<_> = report.host_calls.iter().map(|call| (call.call.as_str(), call.answer.as_str())).collect();
    assert_eq!(calls, [("kv.get", "none"), ("kv.set", "ok"), ("kv.get", "one")]);
}

#[tokio::test]
async fn events_leave_with_an_ack_and_are_dropped_with_a_reject() {
    let acked = play("emit-then-ack", run()).await;
    let event = Emit { name: "labelled".to_owned(), content_type: "text/plain".to_owned(), body: b"body".to_vec() };
    assert_eq!(acked.effects.emits, [event]);
    let rejected = play("emit-then-reject", run()).await;
    assert_eq!(rejected.effects, Effects::default());
    assert_eq!(rejected.host_calls.len(), 1);
}

#[tokio::test]
async fn a_dry_step_begun_twice_is_unknown_and_the_next_run_knows_nothing_of_it() {
    for _ in 0..2 {
        let report = play("once-twice", run()).await;
        assert_eq!(reason(&report), "0000000000000002");
        assert_eq!(report.host_calls[0].answer, "begun");
    }
}

#[tokio::test]
async fn a_trial_opens_no_socket_and_holds_no_secret() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let config = serde_json::json!({ "url": format!("http://{}/", listener.local_addr().unwrap()) });
    let component =
        |name: &'static str| async move { runtime().admit(guests::component(name).into(), &["http", "secrets"]).await.unwrap() };
    let asked = runtime().invoke(&component("fetch").await, Run { config: Arc::new(config), ..run() }).await;
    assert!(reason(&asked).contains("no way out"), "{}", reason(&asked));
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let signed = runtime().invoke(&component("sign").await, run()).await;
    assert!(reason(&signed).contains("holds no secrets"), "{}", reason(&signed));
}

#[tokio::test]
async fn what_a_recording_does_not_have_is_not_made_up() {
    let recording = Recording::of(TenantId::default_tenant(), &[]);
    assert_eq!(recording.tenant(), &TenantId::default_tenant());
    let replay = || Run { gate: Gate::Replay(Box::new(recording.clone())), ..run() };
    let read = play("kv-own-writes", replay()).await;
    assert_eq!(read.host_calls[0].answer, "Unavailable", "{:?}", read.host_calls);
    let stepped = play("once-twice", replay()).await;
    assert_eq!(stepped.host_calls[0].answer, "Unavailable", "{:?}", stepped.host_calls);
}

#[tokio::test]
async fn a_replayed_run_reads_what_it_read_and_begins_what_it_began() {
    for guest in ["kv-own-writes", "once-twice", "random", "wall-clock", "emit-then-ack"] {
        let first = play(guest, run()).await;
        let recording = Recording::of(TenantId::default_tenant(), &first.host_calls);
        let again = play(guest, Run { gate: Gate::Replay(Box::new(recording)), ..run() }).await;
        assert_eq!(
            (&again.outcome, &again.effects.emits, &again.host_calls),
            (&first.outcome, &first.effects.emits, &first.host_calls),
            "{guest}"
        );
        assert_eq!((again.fuel, again.effects.kv_writes), (first.fuel, first.effects.kv_writes), "{guest}");
    }
}
