//! Rows that are not as they were written: told wherever they are read, never run, never handed out.

use rusqlite::{Connection, functions::FunctionFlags};

use super::*;
use crate::delivery::StreamName;

/// Changes rows the way a flipped bit does: without a seal that holds.
fn damage(dir: &Path, sql: &str) {
    let conn = Connection::open(dir.join("ledger.db")).unwrap();
    let flags = FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    conn.create_scalar_function("seal_of", -1, flags, |_| Ok(0_i64)).unwrap();
    assert_ne!(conn.execute(sql, []).unwrap(), 0, "{sql}");
}

/// No body stays in memory: what is lent is read.
fn forgetful() -> Rig {
    Rig::with(|settings| settings.body_cache_bytes_max = 0)
}

fn says_so(words: &str) -> bool {
    words.contains("damaged on the disk")
}

#[tokio::test]
async fn a_damaged_leg_is_shown_as_one_not_run_and_sound_once_somebody_runs_it_again() {
    let rig = forgetful();
    let id = rig.accept(1, &["a"]).await;
    assert!(rig.ledger.damaged_rows().await.unwrap().is_empty());
    damage(rig.dir.path(), "UPDATE legs SET attempts = 7");
    assert_eq!(rig.ledger.damaged_rows().await.unwrap(), Damage::from([("legs", 1)]));
    let lease = rig.lease().await;
    assert!(lease.body_corrupt);
    let leg = rig.ledger.delivery(id).await.unwrap().unwrap().legs.remove(0);
    assert!(says_so(&leg.reason.unwrap()));
    rig.settle(&lease, Settlement::DeadLetter(DeadReason::Fault(FaultKind::BodyCorrupt)), Effects::default()).await;
    rig.ledger.rerun(&tenant("default"), &lease.leg, false).await.unwrap();
    let again = rig.lease().await;
    assert_eq!((again.attempt, again.body_corrupt), (1, false));
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_damaged_dead_letter_and_a_damaged_record_say_so() {
    let rig = forgetful();
    let (first, second) = (rig.accept(1, &["a"]).await, rig.accept(2, &["a"]).await);
    rig.run(DEAD).await;
    rig.run(DEAD).await;
    damage(rig.dir.path(), "UPDATE legs SET reason = 'hopefull' WHERE seq = 1");
    damage(rig.dir.path(), "UPDATE attempts SET fuel = fuel + 1 WHERE seq = 2");
    let page = rig.ledger.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap();
    assert!(page.items.iter().all(|dead| says_so(&dead.detail)), "{page:?}");
    let dead = rig.ledger.dead_letter(&leg(first, "a")).await.unwrap().unwrap();
    assert!(says_so(&dead.detail) && !says_so(&dead.history[0].detail));
    let view = rig.ledger.delivery(second).await.unwrap().unwrap();
    assert!(says_so(&view.legs[0].history[0].detail));
    assert_eq!(rig.ledger.damaged_rows().await.unwrap(), Damage::from([("attempts", 1), ("legs", 1)]));
}

#[tokio::test]
async fn a_delivery_whose_flags_or_number_of_legs_changed_is_damaged() {
    for change in ["id_reused = 1", "body_seen = 1", "leg_count = 3", "body_bytes = 1"] {
        let rig = forgetful();
        let id = rig.accept(1, &["a"]).await;
        damage(rig.dir.path(), &format!("UPDATE deliveries SET {change}"));
        assert_eq!(rig.ledger.delivery(id).await.unwrap().unwrap().document, None, "{change}");
        assert!(rig.lease().await.body_corrupt, "{change}");
    }
}

#[tokio::test]
async fn a_row_that_makes_no_sense_holds_up_neither_its_lane_nor_others() {
    let rig = forgetful();
    rig.accept(1, &["a"]).await;
    let second = rig.accept(2, &["a"]).await;
    damage(rig.dir.path(), "UPDATE deliveries SET tenant = '../..' WHERE seq = 1");
    assert_eq!(rig.lease().await.leg.delivery, second);
}

/// The way to a leg can be damaged where the leg is not: what it leads to has been settled.
#[tokio::test]
async fn a_settled_leg_is_not_lent_wherever_the_way_to_it_comes_from() {
    let rig = forgetful();
    rig.accept(1, &["a"]).await;
    let second = rig.accept(2, &["a"]).await;
    beside(rig.dir.path()).execute_batch("UPDATE legs SET state = 4 WHERE seq = 1").unwrap();
    assert_eq!(rig.lease().await.leg.delivery, second);
}

#[tokio::test]
async fn a_damaged_value_is_handed_to_no_plugin() {
    let rig = Rig::new();
    let write = |key: &str| KvWrite { key: key.to_owned(), value: Some(b"42".to_vec()), expires_at: None };
    rig.accept(1, &["a"]).await;
    let lease = rig.lease().await;
    rig.settle(&lease, Settlement::Ack, Effects { kv_writes: vec![write("whole"), write("hurt")], ..Effects::default() }).await;
    damage(rig.dir.path(), "UPDATE kv SET value = x'3433' WHERE key = 'hurt'");
    let get = |key: &str| rig.ledger.kv_get(&tenant("default"), &plugin("a"), key);
    assert_eq!(get("whole").unwrap().unwrap().value, b"42");
    assert!(says_so(&get("hurt").unwrap_err().to_string()));
    assert_eq!(rig.ledger.damaged_rows().await.unwrap(), Damage::from([("kv", 1)]));
}

#[tokio::test]
async fn after_damage_no_step_of_the_leg_is_taken_for_done_or_for_new() {
    let rig = Rig::new();
    let leg = leg(rig.accept(1, &["a"]).await, "a");
    rig.ledger.once_begin(&TenantId::default_tenant(), &leg, "mail").await.unwrap();
    rig.ledger.once_finish(&TenantId::default_tenant(), &leg, "mail", b"sent".to_vec()).await.unwrap();
    damage(rig.dir.path(), "UPDATE once SET key = 'nail'");
    for step in ["mail", "nail", "other"] {
        assert_eq!(rig.ledger.once_begin(&TenantId::default_tenant(), &leg, step).await.unwrap(), OnceStep::Unknown, "{step}");
    }
}

#[tokio::test]
async fn a_damaged_emit_is_shown_as_one_and_streamed_to_nobody() {
    let rig = Rig::new();
    rig.accept(1, &["a"]).await;
    let emit = |name: &str| Emit { name: name.to_owned(), content_type: "text/plain".to_owned(), body: b"whole".to_vec() };
    let lease = rig.lease().await;
    rig.settle(&lease, Settlement::Ack, Effects { emits: vec![emit("one"), emit("two")], ..Effects::default() }).await;
    damage(rig.dir.path(), "UPDATE emits SET body = x'00' WHERE name = 'one'");
    let portion = || rig.ledger.emits_after(0, PortionMax { items: 10, bytes: 1 << 20 }, |_| true);
    let found = portion().await.unwrap();
    assert_eq!((found.items.len(), found.items[0].name.as_str(), found.unreadable), (1, "two", 1));
    let page = rig.ledger.emits(None, None, None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|emit| says_so(&emit.body)).collect::<Vec<_>>(), [false, true]);
    damage(rig.dir.path(), "UPDATE emits SET seq = 77 WHERE name = 'two'");
    let found = portion().await.unwrap();
    assert_eq!((found.items.len(), found.unreadable), (0, 2), "whose it was is not known");
}

#[tokio::test]
async fn a_stream_whose_cursor_is_damaged_begins_with_the_oldest_whichever_column_it_was() {
    for change in ["position = 1000", "name = 'redit'"] {
        let rig = Rig::new();
        rig.accept(1, &[]).await;
        rig.accept(2, &[]).await;
        let stream: StreamName = "redis".parse().unwrap();
        let follow = || rig.ledger.follow(vec![(stream.clone(), Followed::Deliveries, StreamStart::Newest)]);
        follow().await.unwrap();
        damage(rig.dir.path(), &format!("UPDATE streams SET {change}"));
        follow().await.unwrap();
        let cursor = rig.ledger.stream_cursor(&stream, Followed::Deliveries).await.unwrap().unwrap();
        assert_eq!(cursor.position, 0, "{change}");
    }
}

#[tokio::test]
async fn a_ledger_whose_counters_or_queues_are_damaged_is_refused_in_words() {
    for (change, what) in [("UPDATE counters SET mark = mark - 1", "counters"), ("UPDATE queues SET plugin = 'b'", "name of a queue")] {
        let rig = Rig::new();
        rig.accept(1, &["a"]).await;
        rig.ledger.close().await;
        damage(rig.dir.path(), change);
        let refused = Ledger::open(settings(rig.dir.path(), |_| {}), rig.clock.clone()).unwrap_err().to_string();
        assert!(says_so(&refused) && refused.contains(what), "{refused}");
    }
}

#[tokio::test]
async fn a_damaged_sum_of_what_is_stored_is_counted_again_at_the_next_start() {
    let rig = forgetful();
    rig.accept(1, &["a"]).await;
    let stored = rig.ledger.stored_bytes(&tenant("default"));
    damage(rig.dir.path(), "UPDATE stored SET bytes = 7");
    let restarted = rig.after_crash();
    assert_eq!((restarted.ledger.stored_bytes(&tenant("default")), stored > 7), (stored, true));
    restarted.assert_books_balance().await;
}
