//! What fails is tried again with back-off, and kept as a dead letter when it is hopeless.

use std::time::Duration;

use hookyard::{
    clock::Clock,
    delivery::{LegState, Timestamp},
};
use system_tests::{guests, host::TestHost};

const MANIFEST: &str = r#"
sources = ["github"]
events = ["*"]
[retry]
attempts_max = 3
delay_min_ms = 1000
delay_max_ms = 60000
"#;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_unix_ms(1_800_000_000_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_keeps_failing_is_dead_lettered_after_its_last_attempt() {
    let host = TestHost::builder().clock(clock()).plugin_of("default", "busy", guests::component("retry"), MANIFEST).start().await;
    let id = host.sender().post("push", "{}").await.accepted();
    for attempts in 1..=2 {
        host.until("a failed attempt", || async {
            let leg = host.leg(id, "busy").await;
            (leg.state == LegState::Retry && leg.attempts == attempts).then_some(())
        })
        .await;
        host.let_time_pass(Duration::from_secs(61));
    }
    let view = host.settled(id).await;
    assert_eq!((view.legs[0].state, view.legs[0].attempts), (LegState::Dead, 3));

    let letters = host.inner().ledger().dead_letters(hookyard::ledger::DeadLetterFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters.items[0].id, format!("{id}.busy"));
    assert_eq!(letters.items[0].reason, "attempts_exhausted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_never_before_its_time() {
    let host = TestHost::builder().clock(clock()).plugin_of("default", "busy", guests::component("retry"), MANIFEST).start().await;
    let id = host.sender().post("push", "{}").await.accepted();
    let leg = host
        .until("the first failure", || async {
            let leg = host.leg(id, "busy").await;
            (leg.state == LegState::Retry).then_some(leg)
        })
        .await;
    let due = leg.due_at.expect("a due time");
    let settled_at = Timestamp::from_unix_ms(1_800_000_000_000);
    assert!(due >= settled_at.after(Duration::from_secs(1)), "{due}");

    host.let_time_pass(Duration::from_millis(999));
    assert_eq!(host.leg(id, "busy").await.attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_delivery_is_dead_at_once_with_the_plugins_reason_and_runs_again_when_replayed() {
    let host = TestHost::builder().plugin("no", guests::component("reject")).start().await;
    let id = host.sender().post("push", "{}").await.accepted();
    host.settled(id).await;
    let leg = host.leg(id, "no").await;
    assert_eq!((leg.state, leg.attempts, leg.outcome.as_deref()), (LegState::Dead, 1, Some("reject")));

    // The plugin is mended, and an operator replays the dead letter.
    host.folder().deploy("default", "no", &guests::component("ack"), "sources = [\"github\"]\nevents = [\"*\"]\n");
    let bad = leg.digest.expect("a digest");
    host.plugin("default", "no", |plugin| plugin.digest.as_deref().is_some_and(|digest| digest != bad)).await;
    let leg_id = format!("{id}.no").parse().unwrap();
    let tenant = "default".parse().unwrap();
    host.inner().ledger().rerun(&tenant, &leg_id, false).await.unwrap();
    host.settled(id).await;
    let leg = host.leg(id, "no").await;
    assert_eq!((leg.state, leg.generation), (LegState::Acked, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_plugins_failure_never_touches_its_sibling() {
    let host =
        TestHost::builder().plugin("good", guests::component("publish-document")).plugin("trap", guests::component("trap")).start().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(host.sender().post("push", format!("{{\"n\":{n}}}")).await.accepted());
    }
    for id in ids {
        host.until("the good leg's end", || async { (host.leg(id, "good").await.state == LegState::Acked).then_some(()) }).await;
    }
    assert_eq!(host.emits().await.len(), 20);
}
