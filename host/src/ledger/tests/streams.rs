//! Cursors, portions, and what retention does for who is behind.

use super::*;
use crate::delivery::StreamName;

const DAY: Duration = Duration::from_hours(24);
const MOST: PortionMax = PortionMax { items: 10, bytes: 1 << 20 };

fn stream() -> StreamName {
    "redis".parse().unwrap()
}

async fn follow(rig: &Rig, start: StreamStart) {
    rig.ledger.follow(vec![(stream(), Followed::Deliveries, start), (stream(), Followed::Emits, start)]).await.unwrap();
}

async fn cursor(rig: &Rig, followed: Followed) -> (u64, u64) {
    let cursor = rig.ledger.stream_cursor(&stream(), followed).await.unwrap().unwrap();
    (cursor.position, cursor.gap)
}

/// Runs what is ready and emits so many events.
async fn emit(rig: &Rig, count: usize) {
    let emit = |at: usize| Emit { name: format!("e{at}"), content_type: "text/plain".to_owned(), body: vec![b'x'; 10] };
    let lease = rig.lease().await;
    let effects = Effects { emits: (0..count).map(emit).collect(), ..Effects::default() };
    assert_eq!(rig.settle(&lease, Settlement::Ack, effects).await, Settled::Committed);
}

#[tokio::test]
async fn a_new_stream_begins_where_it_is_told_and_an_old_one_where_it_stood() {
    let rig = Rig::new();
    rig.accept(1, &[]).await;
    rig.ledger.follow(vec![(stream(), Followed::Deliveries, StreamStart::Newest)]).await.unwrap();
    assert_eq!(cursor(&rig, Followed::Deliveries).await, (1, 0));
    let other: StreamName = "other".parse().unwrap();
    rig.ledger.follow(vec![(other.clone(), Followed::Deliveries, StreamStart::Oldest)]).await.unwrap();
    assert_eq!(rig.ledger.stream_cursor(&other, Followed::Deliveries).await.unwrap().unwrap().position, 0);
    rig.accept(2, &[]).await;
    rig.ledger.advance_stream(&stream(), Followed::Deliveries, 2, 0).await.unwrap();
    rig.ledger.advance_stream(&stream(), Followed::Deliveries, 1, 0).await.unwrap();
    let after = rig.after_crash();
    follow(&after, StreamStart::Oldest).await;
    assert_eq!(cursor(&after, Followed::Deliveries).await, (2, 0), "a cursor never goes back");
}

#[tokio::test]
async fn portions_are_bounded_in_order_and_pass_over_what_is_not_wanted() {
    let rig = Rig::new();
    for number in 0..30 {
        rig.offer(offer_of(if number % 3 == 0 { "other" } else { "default" }, &format!("g{number}"), "{}", &[])).await.unwrap();
    }
    let wanted = |tenant: &TenantId, event: &str, _: Option<&str>| tenant.as_str() == "other" && event == "push";
    let most = PortionMax { items: 4, bytes: 1 << 20 };
    let (mut position, mut seen) = (0, Vec::new());
    for _ in 0..3 {
        let portion = rig.ledger.deliveries_after(position, most, wanted).await.unwrap();
        assert!(portion.items.len() <= 4);
        seen.extend(portion.items.iter().map(|delivery| delivery.sequence));
        position = portion.end;
    }
    assert_eq!(seen, (0..10).map(|at| at * 3 + 1).collect::<Vec<_>>());
    assert_eq!(position, 30);
    let nobody = rig.ledger.deliveries_after(0, most, |_, _, _| false).await.unwrap();
    assert_eq!((nobody.items.len(), nobody.rows, nobody.end), (0, 30, 30));
    let bytes = PortionMax { items: 100, bytes: 5 };
    let portion = rig.ledger.deliveries_after(0, bytes, |_, _, _| true).await.unwrap();
    assert_eq!((portion.items.len(), portion.end), (2, 2), "two bodies of two bytes fit into five");
    let one = rig.ledger.deliveries_after(0, PortionMax { items: 9, bytes: 0 }, |_, _, _| true).await.unwrap();
    assert_eq!(one.items.len(), 1, "the first always comes");
}

#[tokio::test]
async fn emits_are_followed_by_their_own_ids_and_settlements_without_any_are_passed_over() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    emit(&rig, 3).await;
    rig.accept(2, &["a"]).await;
    rig.run(Settlement::Ack).await;
    let portion = rig.ledger.emits_after(0, MOST, |_| true).await.unwrap();
    let ids: Vec<_> = portion.items.iter().map(|emit| emit.id.clone()).collect();
    assert_eq!(ids, [format!("{id}.a.0"), format!("{id}.a.1"), format!("{id}.a.2")]);
    // Told after the answers, so perhaps not yet.
    let mut heads = rig.ledger.watch_heads();
    while heads.latest().emits < portion.end {
        assert!(heads.moved().await);
    }
    assert_eq!(portion.end, heads.latest().emits, "the head of settlements is reached, though the last had no emit");
    let second = rig.ledger.emits_after(portion.items[0].mark, PortionMax { items: 1, ..MOST }, |_| true).await.unwrap();
    assert_eq!((second.items.len(), second.items[0].name.as_str()), (1, "e1"));
    assert_eq!(rig.ledger.emits_after(0, MOST, |tenant| tenant.as_str() == "other").await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn who_follows_is_told_of_what_is_on_disk_and_only_when_it_moves() {
    let rig = Rig::new();
    let mut heads = rig.ledger.watch_heads();
    assert_eq!(heads.latest().deliveries, 0);
    rig.accept(1, &[]).await;
    assert!(heads.moved().await);
    assert_eq!(heads.latest().deliveries, 1);
    follow(&rig, StreamStart::Oldest).await;
    rig.ledger.advance_stream(&stream(), Followed::Deliveries, 1, 0).await.unwrap();
    tokio::select! {
        biased;
        _ = heads.moved() => panic!("a cursor that moves is no news to who follows"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn retention_waits_for_a_stream_up_to_its_bound_and_then_counts_what_it_missed() {
    let rig = Rig::new();
    follow(&rig, StreamStart::Oldest).await;
    let (read, unread) = (rig.accept(1, &["a"]).await, rig.accept(2, &["a"]).await);
    emit(&rig, 1).await;
    emit(&rig, 2).await;
    rig.ledger.advance_stream(&stream(), Followed::Deliveries, 2, 0).await.unwrap();
    let first = rig.ledger.emits_after(0, PortionMax { items: 1, ..MOST }, |_| true).await.unwrap();
    rig.ledger.advance_stream(&stream(), Followed::Emits, first.end, 0).await.unwrap();
    rig.clock.advance(DAY * 8);
    assert_eq!(rig.ledger.retain().await.unwrap(), 1, "what both have read may go");
    for (id, is_there) in [(read, false), (unread, true)] {
        assert_eq!(rig.ledger.delivery(id).await.unwrap().is_some(), is_there);
    }
    assert_eq!(cursor(&rig, Followed::Emits).await.1, 0);
    rig.clock.advance(DAY * 7);
    assert_eq!(rig.ledger.retain().await.unwrap(), 1, "beyond the bound it goes unread");
    assert_eq!(cursor(&rig, Followed::Emits).await.1, 2, "two emits of it were missed");
    assert_eq!(cursor(&rig, Followed::Deliveries).await.1, 0);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn retention_waits_for_no_stream_that_is_configured_no_more_but_counts_for_it() {
    let rig = Rig::new();
    follow(&rig, StreamStart::Oldest).await;
    rig.accept(1, &[]).await;
    rig.accept(2, &[]).await;
    rig.ledger.follow(vec![]).await.unwrap();
    rig.clock.advance(DAY * 8);
    assert_eq!(rig.ledger.retain().await.unwrap(), 2);
    assert_eq!(cursor(&rig, Followed::Deliveries).await, (0, 2));
    let portion = rig.ledger.deliveries_after(0, MOST, |_, _, _| true).await.unwrap();
    assert_eq!((portion.items.len(), portion.end), (0, 2), "it goes on behind the gap");
}

#[tokio::test]
async fn a_delivery_that_came_from_another_host_with_its_leg_is_streamed_there_and_not_here() {
    let rig = Rig::new();
    follow(&rig, StreamStart::Oldest).await;
    rig.accept(1, &["a"]).await;
    rig.accept(2, &[]).await;
    rig.ledger.shared().write(0, |tx| tx.execute("INSERT INTO adopted VALUES (1)", [])).await.unwrap();
    emit(&rig, 1).await;
    let portion = rig.ledger.deliveries_after(0, MOST, |_, _, _| true).await.unwrap();
    assert_eq!(portion.items.iter().map(|delivery| delivery.sequence).collect::<Vec<_>>(), [2]);
    assert_eq!(rig.ledger.emits_after(0, MOST, |_| true).await.unwrap().items.len(), 1, "the plugin ran here");
    rig.clock.advance(DAY * 15);
    rig.ledger.retain().await.unwrap();
    assert_eq!(cursor(&rig, Followed::Deliveries).await.1, 1, "only what was accepted here is missed");
}

#[tokio::test]
async fn a_body_that_is_damaged_is_counted_and_holds_nobody_up() {
    let rig = Rig::new();
    rig.accept(1, &[]).await;
    rig.accept(2, &[]).await;
    rig.ledger.close().await;
    let conn = rusqlite::Connection::open(rig.dir.path().join("ledger.db")).unwrap();
    conn.execute("UPDATE bodies SET checksum = zeroblob(16) WHERE seq = 1", []).unwrap();
    drop(conn);
    let ledger = Ledger::open(settings(rig.dir.path(), |_| {}), rig.clock.clone()).unwrap();
    let portion = ledger.deliveries_after(0, MOST, |_, _, _| true).await.unwrap();
    assert_eq!((portion.items.len(), portion.unreadable, portion.end), (1, 1, 2));
}
