//! Who gets which leg, and when.

use super::*;

#[tokio::test]
async fn a_retry_runs_not_before_its_time_and_counts() {
    let rig = Rig::new();
    rig.accept(1, &["a"]).await;
    rig.run(Settlement::Retry { after: Duration::from_secs(30), counted: true }).await;
    let ledger = rig.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.lease().await.unwrap() });
    rig.clock.advance(Duration::from_secs(29));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert_eq!(rig.ledger.queues().await.unwrap()[0].retry, 1);
    rig.clock.advance(Duration::from_secs(1));
    let lease = waiting.await.unwrap();
    assert_eq!(lease.attempt, 2);
    rig.settle(&lease, Settlement::Retry { after: Duration::ZERO, counted: false }, Effects::default()).await;
    assert_eq!(rig.lease().await.attempt, 2);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_leg_knows_when_its_first_counted_attempt_began_until_it_begins_anew() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    let again = |counted| Settlement::Retry { after: Duration::from_secs(30), counted };
    let fail_at = async |rig: &Rig, began_s: u64, settlement| {
        let lease = rig.lease().await;
        let mut finished = finished(&lease, settlement, Effects::default());
        finished.record.started_at = START.after(Duration::from_secs(began_s));
        rig.ledger.settle(lease.clone(), finished).await.unwrap();
        rig.clock.advance(Duration::from_secs(30));
        lease.tried_at
    };
    assert_eq!(fail_at(&rig, 0, again(false)).await, None);
    assert_eq!(fail_at(&rig, 30, again(true)).await, None, "what does not count does not begin its time");
    let began = Some(START.after(Duration::from_secs(30)));
    assert_eq!(fail_at(&rig, 60, again(true)).await, began);
    let rig = rig.after_crash();
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(fail_at(&rig, 90, DEAD).await, began, "the first stays the first, also after a crash");
    assert_eq!(rig.ledger.rerun(&tenant("default"), &leg(id, "a"), false).await.unwrap(), LegChange::Done);
    assert_eq!(fail_at(&rig, 150, again(true)).await, None, "what is run again has all its time again");
    assert_eq!(rig.lease().await.tried_at, Some(START.after(Duration::from_secs(150))));
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn tenants_and_their_queues_take_turns_whatever_the_backlog() {
    let rig = Rig::new();
    for number in 0..20 {
        rig.accept(number, &["a"]).await;
    }
    rig.accept(100, &["b"]).await;
    rig.offer(offer_of("other", "guid", "{\"x\":1}", &["a"])).await.unwrap();
    let mut first = Vec::new();
    for _ in 0..3 {
        let lease = rig.lease().await;
        first.push((lease.delivery.tenant.as_str().to_owned(), lease.leg.plugin.as_str().to_owned()));
    }
    first.sort();
    let expected = [("default", "a"), ("default", "b"), ("other", "a")];
    assert_eq!(first, expected.map(|(owner, name)| (owner.to_owned(), name.to_owned())));
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_queue_lends_no_more_than_its_concurrency_and_parks_when_not_served() {
    let rig = Rig::new();
    rig.ledger.serve(everything(1));
    rig.accept(1, &["a"]).await;
    let id = rig.accept(2, &["a"]).await;
    let held = rig.lease().await;
    let ledger = rig.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.lease().await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    rig.settle(&held, Settlement::Ack, Effects::default()).await;
    let second = waiting.await.unwrap();
    rig.settle(&second, Settlement::Retry { after: Duration::from_secs(5), counted: true }, Effects::default()).await;
    rig.ledger.serve(QueueSet::default());
    assert_eq!(rig.state(id).await, LegState::Parked);
    assert_eq!(rig.ledger.queues().await.unwrap()[0].parked, 1);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_settlement_under_an_old_token_changes_nothing() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    let late = rig.lease().await;
    rig.clock.advance(schedule::LOAN_MAX);
    let lease = rig.lease().await;
    assert_eq!((lease.leg.clone(), lease.attempt), (late.leg.clone(), 1));
    assert!(lease.token > late.token);
    let write = KvWrite { key: "k".to_owned(), value: Some(vec![1]), expires_at: None };
    let effects = Effects { kv_writes: vec![write], ..Effects::default() };
    assert_eq!(rig.settle(&late, Settlement::Ack, effects).await, Settled::Stale);
    assert_eq!(rig.state(id).await, LegState::Leased);
    assert_eq!(rig.ledger.kv_get(&tenant("default"), &plugin("a"), "k").unwrap(), None);
    assert_eq!(rig.settle(&lease, Settlement::Ack, Effects::default()).await, Settled::Committed);
    assert_eq!(rig.settle(&lease, Settlement::Ack, Effects::default()).await, Settled::Stale);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_lease_whose_caller_went_away_is_lent_again() {
    let rig = Rig::new();
    rig.accept(1, &["a"]).await;
    rig.run(Settlement::Retry { after: Duration::ZERO, counted: true }).await;
    {
        // Not fresh any more, so the first poll only begins to read it.
        let mut dropped = std::pin::pin!(rig.ledger.lease());
        std::future::poll_fn(|context| {
            let _ = dropped.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }
    assert_eq!(rig.lease().await.attempt, 2);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_body_that_changed_on_the_disk_is_lent_as_corrupt_and_kept() {
    let rig = Rig::with(|settings| settings.body_cache_bytes_max = 0);
    let id = rig.accept(1, &["a"]).await;
    let other = rusqlite::Connection::open(rig.dir.path().join("ledger.db")).unwrap();
    let mut stored: Vec<u8> = other.query_row("SELECT document FROM bodies", [], |row| row.get(0)).unwrap();
    let last = stored.len() - 1;
    stored[last] ^= 1;
    other.execute("UPDATE bodies SET document = ?1", [&stored]).unwrap();
    let lease = rig.lease().await;
    assert!(lease.body_corrupt && lease.delivery.document.is_empty());
    rig.settle(&lease, Settlement::DeadLetter(DeadReason::Fault(FaultKind::BodyCorrupt)), Effects::default()).await;
    let view = rig.ledger.delivery(id).await.unwrap().unwrap();
    assert_eq!((view.document, view.legs[0].state), (None, LegState::Dead));
    assert_eq!(other.query_row("SELECT count(*) FROM bodies", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[tokio::test]
async fn a_delivery_whose_row_changed_on_the_disk_is_lent_as_corrupt() {
    for change in
        ["tenant = 'other'", "event = 'star'", "hook_id = '7'", "received_ms = 1", "headers = '[[\"a\",\"b\"]]'", "installation_id = 9"]
    {
        let rig = Rig::with(|settings| settings.body_cache_bytes_max = 0);
        rig.accept(1, &["a"]).await;
        beside(rig.dir.path()).execute_batch(&format!("UPDATE deliveries SET {change}")).unwrap();
        assert!(rig.lease().await.body_corrupt, "{change}");
    }
}

#[tokio::test]
async fn a_body_sealed_before_the_columns_were_covered_is_still_read() {
    let rig = Rig::with(|settings| settings.body_cache_bytes_max = 0);
    let id = rig.accept(1, &["a"]).await;
    let other = rusqlite::Connection::open(rig.dir.path().join("ledger.db")).unwrap();
    let document: Vec<u8> = other.query_row("SELECT document FROM bodies", [], |row| row.get(0)).unwrap();
    let sealed = [&id.as_bytes()[..], &(document.len() as u64).to_le_bytes(), &document].concat();
    other.execute("UPDATE bodies SET checksum = ?1", [&Sha256::digest(sealed)[..16]]).unwrap();
    assert!(!rig.lease().await.body_corrupt);
}

#[tokio::test]
async fn closing_lends_nothing_more_and_can_be_done_twice() {
    let rig = Rig::new();
    let ledger = rig.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.lease().await });
    tokio::task::yield_now().await;
    rig.ledger.close().await;
    rig.ledger.close().await;
    assert!(waiting.await.unwrap().is_none());
    assert_eq!(rig.offer(offer(1, &["a"])).await, Err(OfferError::Unavailable));
    Ledger::open(settings(rig.dir.path(), |_| {}), rig.clock.clone()).unwrap();
}

/// A quota that kept what another host went on with would end by refusing everything.
#[test]
fn a_leg_that_was_withdrawn_is_lent_no_more_and_its_bytes_wait_no_more() {
    let (schedule, clock) = (schedule::Schedule::new(0), Clock::manual(START));
    schedule.serve(everything(8));
    let queue = schedule::Change::Queue { queue: 1, tenant: tenant("default"), plugin: plugin("a") };
    let opened = |seq, bytes| schedule::Change::Opened { leg: (seq, 1), bytes, due: None, fresh: None };
    schedule.apply(1, vec![queue, opened(1, 100), opened(2, 30)]);
    assert_eq!(schedule.waiting(&tenant("default")).0, schedule::Waiting { bytes: 130 + 2 * quota::LEG_WAITING_BYTES, legs: 2 });
    schedule.apply(2, vec![schedule::Change::Withdrawn { leg: (1, 1) }]);
    assert_eq!(schedule.waiting(&tenant("default")).0, schedule::Waiting { bytes: 30 + quota::LEG_WAITING_BYTES, legs: 1 });
    assert_eq!(schedule.pick(clock.instant(), &TenantId::default_tenant()).map(|picked| picked.leg), Some((2, 1)));
    assert!(schedule.pick(clock.instant(), &TenantId::default_tenant()).is_none());
}
