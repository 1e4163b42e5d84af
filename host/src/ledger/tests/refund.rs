//! What a version leaves behind when it is rolled back from.

use super::*;
use crate::delivery::Digest;

const TRAPPED: Settlement = Settlement::DeadLetter(DeadReason::Fault(FaultKind::Trapped));

fn version(number: u8) -> Digest {
    Digest::of(&[&[number]])
}

async fn keep(rig: &Rig, number: u8) {
    let plugin = StoredPlugin {
        tenant: TenantId::default_tenant(),
        name: "a".parse().unwrap(),
        digest: version(number),
        wasm: vec![],
        manifest: vec![],
        report: None,
    };
    rig.ledger.keep_plugin(plugin).await.unwrap();
}

/// One run of the next leg by a version.
async fn run_by(rig: &Rig, number: u8, settlement: Settlement) {
    let lease = rig.lease().await;
    let mut finished = finished(&lease, settlement, Effects::default());
    finished.record.digest = Some(version(number));
    finished.record.outcome = Outcome::Fault(Fault::new(FaultKind::Trapped, "it trapped"));
    assert_eq!(rig.ledger.settle(lease, finished).await.unwrap(), Settled::Committed);
}

async fn refund(rig: &Rig, number: u8) -> (usize, usize) {
    let refund = rig.ledger.refund(&TenantId::default_tenant(), &"a".parse().unwrap(), version(number)).await.unwrap();
    (refund.requeued, refund.refunded)
}

#[tokio::test]
async fn only_the_dead_letters_of_that_version_run_again_and_only_once() {
    let rig = Rig::new();
    keep(&rig, 1).await;
    let by_the_old = rig.accept(1, &["a"]).await;
    run_by(&rig, 1, TRAPPED).await;
    keep(&rig, 2).await;
    let by_the_new = rig.accept(2, &["a"]).await;
    run_by(&rig, 2, TRAPPED).await;
    let other = rig.accept(3, &["b"]).await;
    run_by(&rig, 2, TRAPPED).await;

    assert_eq!(refund(&rig, 2).await, (1, 0));
    assert_eq!(refund(&rig, 2).await, (0, 0));
    assert_eq!(rig.state(by_the_new).await, LegState::Waiting);
    assert_eq!(rig.state(by_the_old).await, LegState::Dead);
    assert_eq!(rig.state(other).await, LegState::Dead, "another plugin's queue is not touched");
    assert_eq!(rig.lease().await.attempt, 1, "with all its attempts");
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn attempts_of_that_version_are_given_back_and_others_are_not() {
    let rig = Rig::new();
    let retry = Settlement::Retry { after: Duration::from_secs(1), counted: true };
    rig.accept(1, &["a"]).await;
    for number in [1, 2, 2] {
        run_by(&rig, number, retry).await;
        rig.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(refund(&rig, 2).await, (0, 1));
    assert_eq!(refund(&rig, 2).await, (0, 0), "giving back twice gives back once");
    assert_eq!(rig.lease().await.attempt, 2);
}

#[tokio::test]
async fn what_died_more_than_a_day_ago_stays_dead() {
    let rig = Rig::new();
    keep(&rig, 2).await;
    rig.accept(1, &["a"]).await;
    run_by(&rig, 2, TRAPPED).await;
    rig.clock.advance(Duration::from_hours(25));
    assert_eq!(refund(&rig, 2).await, (0, 0));
}

#[tokio::test]
async fn the_newest_delivery_a_plugin_has_handled_is_its_sample() {
    let rig = Rig::new();
    let sample = async || rig.ledger.sample(&TenantId::default_tenant(), &"a".parse().unwrap()).await.unwrap().map(|found| found.id);
    assert_eq!(sample().await, None);
    let handled = rig.accept(1, &["a"]).await;
    rig.run(Settlement::Ack).await;
    rig.accept(2, &["a"]).await;
    rig.run(TRAPPED).await;
    rig.accept(3, &["b"]).await;
    rig.run(Settlement::Ack).await;
    assert_eq!(sample().await, Some(handled));
    assert_eq!(rig.ledger.stored_delivery(handled).await.unwrap().unwrap().document, offer(1, &[]).delivery.document);
}
