//! Killed processes, lost files, failing disks.

use super::*;
use crate::delivery::Digest;

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill_and_runs() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a", "b"]).await;
    rig.run(Settlement::Ack).await;
    let restarted = rig.after_crash();
    assert_eq!(restarted.offer(offer(1, &["a", "b"])).await, Ok(Receipt::Duplicate { id }));
    let lease = restarted.lease().await;
    assert_eq!((lease.leg, &lease.delivery.document[..]), (leg(id, "b"), &b"{\"number\":1}"[..]));
    restarted.assert_books_balance().await;
}

#[tokio::test]
async fn a_run_that_was_alone_when_the_process_died_is_charged() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    rig.lease().await;
    let mut restarted = rig.after_crash();
    for crashes in 1..=3 {
        let lease = restarted.lease().await;
        assert_eq!((lease.attempt, lease.crashes), (crashes + 1, crashes));
        restarted = restarted.after_crash();
    }
    let history = restarted.ledger.delivery(id).await.unwrap().unwrap().legs.remove(0).history;
    assert_eq!(history.iter().map(|attempt| attempt.outcome.as_str()).collect::<Vec<_>>(), ["host_crashed"; 4]);
    restarted.assert_books_balance().await;
}

#[tokio::test]
async fn of_several_runs_nobody_is_charged_and_their_queue_stands_still_until_each_has_run() {
    let rig = Rig::new();
    for number in 0..3 {
        rig.accept(number, &["a"]).await;
    }
    rig.lease().await;
    rig.lease().await;
    let restarted = rig.after_crash();
    let first = restarted.lease().await;
    assert_eq!((first.attempt, first.crashes), (1, 0));
    let ledger = restarted.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.lease().await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "a suspect runs alone");
    restarted.settle(&first, Settlement::Ack, Effects::default()).await;
    let second = waiting.await.unwrap();
    assert_eq!(restarted.ledger.queues().await.unwrap()[0].leased, 1);
    restarted.settle(&second, Settlement::Ack, Effects::default()).await;
    let third = restarted.lease().await;
    let suspects = [first.leg.clone(), second.leg.clone()];
    assert!(!suspects.contains(&third.leg));
    restarted.assert_books_balance().await;
}

/// The plugins of the legs that can be lent now, at once, with the leases.
async fn lendable(rig: &Rig, count: usize) -> (Vec<Lease>, Vec<String>) {
    let mut leases = Vec::new();
    for _ in 0..count {
        leases.push(tokio::time::timeout(Duration::from_secs(30), rig.lease()).await.expect("a leg that can run"));
    }
    let mut names: Vec<_> = leases.iter().map(|lease| format!("{}/{}", lease.delivery.tenant, lease.leg.plugin)).collect();
    names.sort();
    (leases, names)
}

async fn crash_of(rig: &Rig, name: &str) -> Option<Crash> {
    rig.ledger.plugin_standing(&TenantId::default_tenant(), &plugin(name)).await.unwrap().crash
}

/// Queues `a` and `b` of a tenant have a run under way when the process dies, and more legs; `c` and another tenant's `a` only have legs.
async fn two_under_way_of_four() -> Rig {
    let rig = Rig::new();
    rig.accept(1, &["a", "b"]).await;
    let _under_way = [rig.lease().await, rig.lease().await];
    rig.accept(2, &["a", "b", "c"]).await;
    rig.offer(offer_of("other", "guid", "{}", &["a"])).await.unwrap();
    rig.after_crash()
}

#[tokio::test]
async fn a_suspect_stops_its_own_plugins_queue_only_and_no_other_suspect_runs_beside_it() {
    let rig = two_under_way_of_four().await;
    let (leases, names) = lendable(&rig, 3).await;
    let suspect = leases.iter().find(|lease| ["a", "b"].contains(&lease.leg.plugin.as_str()) && lease.delivery.tenant == tenant("default"));
    let suspect = suspect.unwrap();
    assert_eq!(names, [format!("default/{}", suspect.leg.plugin), "default/c".to_owned(), "other/a".to_owned()].to_vec());
    let ledger = rig.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.lease().await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "neither the other suspect nor what waits behind the two");
    rig.settle(suspect, Settlement::Ack, Effects::default()).await;
    let next = waiting.await.unwrap();
    let (_, names) = lendable(&rig, 1).await;
    assert_eq!(next.attempt, 1, "nobody is charged");
    let mut both = [next.leg.plugin.to_string(), names[0].replace("default/", "")];
    both.sort();
    assert_eq!(both, ["a", "b"], "the other suspect, and the queue of the one that is settled");
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_second_death_in_a_suspects_run_parks_its_plugin_and_delays_nobody_else() {
    let rig = two_under_way_of_four().await;
    let (leases, _) = lendable(&rig, 3).await;
    let is_suspect = |lease: &&Lease| ["a", "b"].contains(&lease.leg.plugin.as_str()) && lease.delivery.tenant == tenant("default");
    let suspect = leases.iter().find(is_suspect).unwrap();
    let (culprit, innocent) = if suspect.leg.plugin == plugin("a") { ("a", "b") } else { ("b", "a") };
    let rig = rig.after_crash();
    let crash = crash_of(&rig, culprit).await.unwrap();
    assert!(crash.detail.contains(&suspect.leg.delivery.to_string()) && crash.detail.contains("plugins resume"), "{}", crash.detail);
    assert_eq!(crash_of(&rig, innocent).await, None);
    // The catalog serves it no more.
    let mut set = everything(8);
    set.queues.retain(|queue| queue.plugin != plugin(culprit) || queue.tenant != tenant("default"));
    rig.ledger.serve(set);
    let (leases, names) = lendable(&rig, 4).await;
    let innocent = format!("default/{innocent}");
    assert_eq!(names, [innocent.clone(), innocent, "default/c".to_owned(), "other/a".to_owned()], "all at once");
    assert!(leases.iter().all(|lease| lease.attempt == 1), "and at their first attempt");
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_parked_plugin_is_lifted_by_an_operator_or_another_version_and_its_leg_stays_a_suspect() {
    let rig = Rig::new();
    let stored = |number: u8| StoredPlugin {
        tenant: TenantId::default_tenant(),
        name: plugin("a"),
        digest: Digest::from_bytes([number; 32]),
        wasm: vec![number],
        manifest: vec![],
        report: None,
    };
    rig.ledger.keep_plugin(stored(1)).await.unwrap();
    rig.accept(1, &["a"]).await;
    rig.lease().await;
    let rig = rig.after_crash();
    assert_eq!(crash_of(&rig, "a").await, None, "the first time may be chance");
    rig.lease().await;
    let rig = rig.after_crash();
    assert_eq!(crash_of(&rig, "a").await.unwrap().digest, Some(Digest::from_bytes([1; 32])));
    rig.ledger.keep_plugin(stored(1)).await.unwrap();
    assert!(crash_of(&rig, "a").await.is_some(), "the same version again changes nothing");
    rig.ledger.close().await;
    let reopened = Rig { ledger: Ledger::open(settings(rig.dir.path(), |_| {}), rig.clock.clone()).unwrap(), ..rig };
    reopened.ledger.serve(everything(8));
    reopened.accept(2, &["a"]).await;
    let (leases, _) = lendable(&reopened, 1).await;
    assert_eq!(leases[0].crashes, 2);
    let ledger = reopened.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.lease().await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "a suspect across a clean restart, too");
    waiting.abort();
    reopened.ledger.pause_plugin(&TenantId::default_tenant(), &plugin("a"), false).await.unwrap();
    assert_eq!(crash_of(&reopened, "a").await, None, "an operator has resumed it");
    let rig = reopened.after_crash();
    assert!(crash_of(&rig, "a").await.is_some(), "it did it again");
    rig.ledger.keep_plugin(stored(2)).await.unwrap();
    assert_eq!(crash_of(&rig, "a").await, None, "another version serves");
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn suspects_that_are_to_be_tried_again_are_not_tried_together() {
    let rig = Rig::new();
    rig.accept(1, &["a"]).await;
    rig.accept(2, &["a"]).await;
    let _under_way = [rig.lease().await, rig.lease().await];
    let rig = rig.after_crash();
    for _ in 0..2 {
        rig.run(Settlement::Retry { after: Duration::from_secs(5), counted: true }).await;
    }
    rig.accept(3, &["a"]).await;
    let third = rig.lease().await;
    assert_eq!(third.attempt, 1, "while they wait for their time, their queue goes on");
    rig.clock.advance(Duration::from_secs(5));
    let ledger = rig.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.lease().await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "a run of the same plugin is under way");
    rig.settle(&third, Settlement::Ack, Effects::default()).await;
    let first = waiting.await.unwrap();
    let ledger = rig.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.lease().await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "one at a time");
    rig.settle(&first, Settlement::Ack, Effects::default()).await;
    assert_eq!(waiting.await.unwrap().attempt, 2);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_settled_run_is_no_suspect() {
    let rig = Rig::new();
    rig.accept(1, &["a"]).await;
    let lease = rig.lease().await;
    let before = std::fs::read(rig.dir.path().join("inflight")).unwrap();
    rig.settle(&lease, Settlement::Retry { after: Duration::ZERO, counted: true }, Effects::default()).await;
    let copied = copy(rig.dir.path());
    // As if the process had died between the commit and the clearing of the slot.
    std::fs::write(copied.path().join("inflight"), before).unwrap();
    let ledger = Ledger::open(settings(copied.path(), |_| {}), rig.clock.clone()).unwrap();
    ledger.serve(everything(8));
    let lease = ledger.lease().await.unwrap();
    assert_eq!((lease.attempt, lease.crashes), (2, 0));
}

#[tokio::test]
async fn a_lost_log_is_noticed_and_only_the_operator_can_go_on() {
    let rig = Rig::new();
    rig.ledger.close().await;
    let open = |dir: &Path, accept_loss| Ledger::open(settings(dir, |settings| settings.accept_loss = accept_loss), rig.clock.clone());
    let ledger = open(rig.dir.path(), false).unwrap();
    ledger.offer(offer(1, &["a"]), rig.clock.instant() + Duration::from_secs(1)).await.unwrap();
    let copied = copy(rig.dir.path());
    std::fs::remove_file(copied.path().join("ledger.db-wal")).unwrap();
    let refused = open(copied.path(), false).unwrap_err().to_string();
    assert!(refused.contains("--accept-loss"), "{refused}");
    let ledger = open(copied.path(), true).unwrap();
    assert_eq!(ledger.books().await.unwrap().accepted, 0);
    ledger.close().await;
    open(copied.path(), false).unwrap();
}

#[tokio::test]
async fn a_second_host_on_the_folder_is_refused_in_words() {
    let rig = Rig::new();
    let refused = Ledger::open(settings(rig.dir.path(), |_| {}), rig.clock.clone()).unwrap_err().to_string();
    assert!(refused.contains("in use by another hookyard process"), "{refused}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_words() {
    let rig = Rig::new();
    rig.ledger.close().await;
    let other = rusqlite::Connection::open(rig.dir.path().join("ledger.db")).unwrap();
    other.execute("UPDATE meta SET value = 99 WHERE key = 'schema'", []).unwrap();
    drop(other);
    let refused = Ledger::open(settings(rig.dir.path(), |_| {}), rig.clock.clone()).unwrap_err().to_string();
    assert!(refused.contains("schema 99"), "{refused}");
}

#[tokio::test]
async fn what_the_last_process_left_in_the_log_is_in_the_database_before_anything_new_is_written() {
    let rig = Rig::new();
    rig.accept(1, &["a"]).await;
    let restarted = rig.after_crash();
    let alone = tempfile::tempdir().unwrap();
    let database = alone.path().join("ledger.db");
    std::fs::copy(restarted.dir.path().join("ledger.db"), &database).unwrap();
    let accepted =
        rusqlite::Connection::open(database).unwrap().query_row("SELECT count(*) FROM deliveries", [], |row| row.get::<_, i64>(0));
    assert_eq!(accepted.unwrap(), 1, "without its log");
}

/// Queues a job that holds the committer until the sender is dropped.
async fn stall(ledger: &Ledger) -> std::sync::mpsc::Sender<()> {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let job = move |_: &mut committer::Tx<'_>| {
        let _ = started.send(());
        let _ = held.recv();
        Ok(())
    };
    ledger.shared().submit(Lane::Others, 0, job).await.unwrap();
    has_started.await.unwrap();
    release
}

#[tokio::test]
async fn an_offer_the_committer_did_not_take_in_time_is_withdrawn_for_good() {
    let rig = Rig::new();
    let release = stall(&rig.ledger).await;
    let (ledger, deadline) = (rig.ledger.clone(), rig.clock.instant() + Duration::from_secs(8));
    let offered = tokio::spawn(async move { ledger.offer(offer(1, &["a"]), deadline).await });
    tokio::task::yield_now().await;
    rig.clock.advance(Duration::from_secs(8));
    assert_eq!(offered.await.unwrap(), Err(OfferError::TimedOut));
    drop(release);
    rig.accept(2, &["a"]).await;
    assert_eq!(rig.assert_books_balance().await.accepted, 1);
}

#[tokio::test]
async fn an_offer_the_committer_has_is_unknown_after_the_deadline_and_done_anyway() {
    let rig = Rig::new();
    let release = stall(&rig.ledger).await;
    // Both are taken in the next group, and the first of it holds the second.
    let (second, held) = std::sync::mpsc::channel::<()>();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let job = move |_: &mut committer::Tx<'_>| {
        let _ = started.send(());
        let _ = held.recv();
        Ok(())
    };
    rig.ledger.shared().submit(Lane::Offers, 0, job).await.unwrap();
    let (ledger, deadline) = (rig.ledger.clone(), rig.clock.instant() + Duration::from_secs(8));
    let offered = tokio::spawn(async move { ledger.offer(offer(1, &["a"]), deadline).await });
    tokio::task::yield_now().await;
    drop(release);
    has_started.await.unwrap();
    rig.clock.advance(Duration::from_secs(8));
    assert_eq!(offered.await.unwrap(), Err(OfferError::OutcomeUnknown));
    drop(second);
    assert_eq!(rig.lease().await.delivery.provider_id, "guid-1");
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_bad_item_in_the_middle_of_a_group_fails_alone() {
    let rig = Rig::new();
    let release = stall(&rig.ledger).await;
    let deadline = rig.clock.instant() + Duration::from_secs(8);
    let offered = |number| {
        let ledger = rig.ledger.clone();
        tokio::spawn(async move { ledger.offer(offer(number, &["a"]), deadline).await })
    };
    let before = offered(1);
    tokio::task::yield_now().await;
    let bad = |tx: &mut committer::Tx<'_>| {
        tx.counters.accepted += 7;
        tx.execute("INSERT INTO once(seq, queue, key) VALUES (1, 1, 'k')", [])?;
        tx.execute("INSERT INTO once(seq, queue, key) VALUES (1, 1, 'k')", []).map(|_| ())
    };
    let (_, bad) = rig.ledger.shared().submit(Lane::Offers, 0, bad).await.unwrap();
    let after = offered(2);
    tokio::task::yield_now().await;
    drop(release);
    assert!(before.await.unwrap().is_ok() && after.await.unwrap().is_ok());
    assert!(matches!(bad.await.unwrap(), Err(LedgerError::Failed(_))));
    assert_eq!(rig.assert_books_balance().await.accepted, 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_delivery_that_runs() {
    let rig = Rig::new();
    let release = stall(&rig.ledger).await;
    let (ledger, deadline) = (rig.ledger.clone(), rig.clock.instant() + Duration::from_secs(8));
    let offered = tokio::spawn(async move { ledger.offer(offer(1, &["a"]), deadline).await });
    tokio::task::yield_now().await;
    offered.abort();
    assert!(offered.await.unwrap_err().is_cancelled());
    drop(release);
    rig.run(Settlement::Ack).await;
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_panic_of_the_committer_poisons_and_nothing_succeeds_after_it() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    let lease = rig.lease().await;
    let job = |_: &mut committer::Tx<'_>| -> rusqlite::Result<()> { panic!("as a test") };
    let (_, reply) = rig.ledger.shared().submit(Lane::Others, 0, job).await.unwrap();
    assert!(rig.ledger.poisoned().await.contains("panicked"));
    assert!(reply.await.is_err());
    assert!(rig.offer(offer(2, &["a"])).await.is_err());
    assert!(matches!(
        rig.ledger.settle(lease.clone(), finished(&lease, Settlement::Ack, Effects::default())).await,
        Err(LedgerError::Poisoned(_))
    ));
    assert!(matches!(rig.ledger.delivery(id).await, Err(LedgerError::Poisoned(_))));
    assert!(rig.ledger.lease().await.is_none());
}

#[tokio::test]
async fn a_fatal_error_of_the_database_poisons() {
    let rig = Rig::new();
    let broken = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None);
    let (_, reply) = rig.ledger.shared().submit(Lane::Others, 0, move |_| Err::<(), _>(broken)).await.unwrap();
    assert!(reply.await.is_err());
    assert!(rig.ledger.poisoned().await.contains("committing"));
    assert!(rig.offer(offer(2, &["a"])).await.is_err());
}
