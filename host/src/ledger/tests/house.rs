//! Room, retention, backups, pages.

use super::*;
use crate::delivery::view::DeliveryStatus;

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn only_what_is_settled_and_old_is_forgotten_and_its_id_is_remembered() {
    let rig = Rig::new();
    let acked = rig.accept(1, &["a"]).await;
    rig.run(Settlement::Ack).await;
    let dead = rig.accept(2, &["a"]).await;
    rig.run(DEAD).await;
    let unrouted = rig.accept(3, &[]).await;
    let retried = rig.accept(4, &["a"]).await;
    rig.run(Settlement::Retry { after: DAY * 400, counted: true }).await;
    let leased = rig.accept(5, &["b"]).await;
    rig.lease().await;
    assert_eq!(rig.ledger.retain().await.unwrap(), 0);
    rig.clock.advance(DAY * 8);
    assert_eq!(rig.ledger.retain().await.unwrap(), 2);
    for (id, is_there) in [(acked, false), (unrouted, false), (dead, true), (retried, true), (leased, true)] {
        assert_eq!(rig.ledger.delivery(id).await.unwrap().is_some(), is_there);
    }
    assert_eq!(rig.offer(offer(1, &["a"])).await, Ok(Receipt::Duplicate { id: acked }));
    let books = rig.assert_books_balance().await;
    assert_eq!((books.accepted, books.by_state[4]), (5, 1));
    rig.clock.advance(DAY * 30);
    assert_eq!(rig.ledger.retain().await.unwrap(), 1);
    assert_eq!(rig.ledger.queues().await.unwrap()[0].dead, 0);
    assert_eq!(rig.assert_books_balance().await.by_state[6], 1);
    rig.clock.advance(DAY * 365);
    assert_eq!(rig.ledger.retain().await.unwrap(), 0);
    assert!(matches!(rig.offer(offer(1, &["a"])).await, Ok(Receipt::Accepted { .. })));
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn more_than_a_batch_is_forgotten_in_one_round() {
    let rig = Rig::new();
    for number in 0..450 {
        rig.accept(number, &[]).await;
    }
    rig.clock.advance(DAY * 8);
    assert_eq!(rig.ledger.retain().await.unwrap(), 450);
    rig.assert_books_balance().await;
    rig.clock.advance(DAY * 8);
    rig.ledger.retain().await.unwrap();
    let left = "SELECT (SELECT count(*) FROM dedup) + (SELECT count(*) FROM seen_bodies)";
    assert_eq!(beside(rig.dir.path()).query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "every id is, in the end");
}

#[tokio::test]
async fn a_clock_that_is_a_year_off_at_the_next_start_neither_delays_nor_loses_a_retry() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    rig.run(Settlement::Retry { after: Duration::from_mins(1), counted: true }).await;
    for start in [START.before(DAY * 365), START.after(DAY * 365)] {
        let (dir, clock) = (copy(rig.dir.path()), Clock::manual(start));
        let ledger = Ledger::open(settings(dir.path(), |_| {}), clock.clone()).unwrap();
        ledger.serve(everything(8));
        ledger.retain().await.unwrap();
        assert!(ledger.delivery(id).await.unwrap().is_some());
        clock.advance(DAY * 7);
        assert_eq!(ledger.lease().await.unwrap().attempt, 2);
    }
}

#[tokio::test]
async fn a_wall_clock_that_jumps_under_a_running_host_deletes_nothing_and_moves_no_retry() {
    const HOUR: Duration = Duration::from_hours(1);
    for jump in [START.before(DAY * 365), START.before(HOUR), START.after(HOUR), START.after(DAY * 365)] {
        let rig = Rig::new();
        let acked = rig.accept(1, &["a"]).await;
        rig.run(Settlement::Ack).await;
        rig.accept(2, &["a"]).await;
        rig.run(Settlement::Retry { after: Duration::from_mins(1), counted: true }).await;
        let due = rig.ledger.shared().schedule.next_change();
        rig.clock.set_wall(jump);
        assert_eq!(rig.ledger.retain().await.unwrap(), 0);
        assert_eq!(rig.state(acked).await, LegState::Acked);
        assert_eq!(rig.ledger.shared().schedule.next_change(), due);
        let later = rig.accept(3, &["b"]).await;
        let page = rig.ledger.deliveries(DeliveryFilter::default(), None, 10).await.unwrap();
        assert_eq!(page.items[0].delivery_id, later, "what came last is first, whatever the wall says");
        rig.clock.advance(Duration::from_mins(1));
        let attempts = [rig.lease().await.attempt, rig.lease().await.attempt];
        assert_eq!(attempts.iter().max(), Some(&2));
        rig.assert_books_balance().await;
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_accepted_or_lent_but_what_runs_is_settled() {
    let rig = Rig::new();
    rig.accept(1, &["a"]).await;
    rig.accept(2, &["a"]).await;
    let running = rig.lease().await;
    rig.ledger.shared().room.require(u64::MAX);
    assert!(!rig.ledger.has_room());
    assert_eq!(rig.offer(offer(3, &["a"])).await, Err(OfferError::StorageFull));
    let ledger = rig.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.lease().await.unwrap() });
    tokio::task::yield_now().await;
    assert_eq!(rig.settle(&running, Settlement::Ack, Effects::default()).await, Settled::Committed);
    assert!(!waiting.is_finished());
    rig.ledger.shared().room.require(0);
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(waiting.await.unwrap().delivery.provider_id, "guid-2");
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_tenant_with_its_waiting_bytes_used_up_is_refused_alone_until_some_are_handled() {
    let rig = Rig::new();
    let small = |owner: &str, number: u32| {
        let offer = offer_of(owner, &format!("guid-{number}"), &format!("{{\"number\":{number}}}"), &["a"]);
        let waiting_bytes_max = (offer.delivery.document.len() as u64 + quota::LEG_WAITING_BYTES) * 2;
        Offer { waiting_bytes_max, ..offer }
    };
    rig.offer(small("default", 1)).await.unwrap();
    rig.offer(small("default", 2)).await.unwrap();
    assert_eq!(rig.offer(small("default", 3)).await, Err(OfferError::TenantQuota));
    rig.offer(small("other", 3)).await.unwrap();
    assert!(matches!(rig.offer(small("default", 1)).await, Ok(Receipt::Duplicate { .. })));
    rig.run(Settlement::Ack).await;
    rig.run(Settlement::Ack).await;
    rig.offer(small("default", 3)).await.unwrap();
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_backup_is_put_back_and_the_ledger_that_was_there_is_moved_aside() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    let file = rig.dir.path().join("copy.db");
    rig.ledger.backup(file.clone()).await.unwrap();
    assert!(rig.ledger.backup(file.clone()).await.is_err(), "an existing file is not overwritten");
    rig.accept(2, &["a"]).await;
    assert!(restore(&file, rig.dir.path()).unwrap_err().to_string().contains("in use"));
    rig.ledger.close().await;
    restore(&file, rig.dir.path()).unwrap();
    let aside = std::fs::read_dir(rig.dir.path()).unwrap().filter(|file| {
        let name = file.as_ref().unwrap().file_name().to_string_lossy().into_owned();
        name.starts_with("ledger.db.before-restore-")
    });
    assert_eq!(aside.count(), 1);
    let ledger = Ledger::open(settings(rig.dir.path(), |_| {}), rig.clock.clone()).unwrap();
    let books = ledger.books().await.unwrap();
    assert_eq!((books.accepted, books.gap), (1, 0));
    assert!(ledger.delivery(id).await.unwrap().is_some());
    std::fs::write(&file, "no database").unwrap();
    assert!(restore(&file, rig.dir.path().join("new").as_path()).is_err());
}

#[tokio::test]
async fn a_page_has_as_many_as_were_asked_for_up_to_the_one_limit_of_all_lists() {
    let rig = Rig::new();
    for number in 0..=u32::try_from(PAGE_MAX).unwrap() {
        rig.accept(number, &[]).await;
    }
    let page = rig.ledger.deliveries(DeliveryFilter::default(), None, PAGE_MAX).await.unwrap();
    assert_eq!((page.items.len(), page.next_cursor.is_some()), (1000, true));
}

#[tokio::test]
async fn pages_show_each_delivery_once_newest_first_and_filters_hold() {
    let rig = Rig::new();
    for number in 0..5 {
        rig.accept(number, &["a"]).await;
    }
    rig.offer(offer_of("other", "another", "{}", &[])).await.unwrap();
    let page = |filter: DeliveryFilter, cursor| rig.ledger.deliveries(filter, cursor, 2);
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = page(DeliveryFilter { tenant: Some(tenant("default")), ..DeliveryFilter::default() }, cursor).await.unwrap();
        seen.extend(page.items.iter().map(|view| view.sequence));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    let filtered = |filter: DeliveryFilter| {
        let ledger = rig.ledger.clone();
        async move { ledger.deliveries(filter, None, 10).await.unwrap().items.len() }
    };
    let status = |status| DeliveryFilter { status: Some(status), ..DeliveryFilter::default() };
    assert_eq!(filtered(status(DeliveryStatus::Waiting)).await, 5);
    assert_eq!(filtered(status(DeliveryStatus::Unrouted)).await, 1);
    assert_eq!(filtered(status(DeliveryStatus::Settled)).await, 0);
    assert_eq!(filtered(DeliveryFilter { text: Some("UID-3".to_owned()), ..DeliveryFilter::default() }).await, 1);
    assert_eq!(filtered(DeliveryFilter { text: Some("acme".to_owned()), ..DeliveryFilter::default() }).await, 6);
    assert_eq!(filtered(DeliveryFilter { plugin: Some(plugin("b")), ..DeliveryFilter::default() }).await, 0);
    assert_eq!(filtered(DeliveryFilter { since: Some(START.after(DAY)), ..DeliveryFilter::default() }).await, 0);
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_interrupted() {
    let rig = Rig::new();
    let clock = rig.clock.clone();
    let endless = move |conn: &rusqlite::Connection| {
        clock.advance(Duration::from_secs(2));
        conn.query_row("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n", [], |row| {
            row.get::<_, i64>(0)
        })
    };
    assert!(matches!(rig.ledger.shared().read(READ_MAX, endless).await, Err(LedgerError::Interrupted(_))));
    assert!(rig.ledger.deliveries(DeliveryFilter::default(), None, 10).await.is_ok());
}

#[tokio::test]
async fn the_folder_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("data");
    let ledger = Ledger::open(settings(&inner, |_| {}), Clock::manual(START)).unwrap();
    assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
    ledger.close().await;
}
