//! The same delivery again.

use super::*;

#[tokio::test]
async fn an_open_or_handled_delivery_is_a_duplicate_and_runs_once() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    assert_eq!(rig.offer(offer(1, &["a"])).await, Ok(Receipt::Duplicate { id }));
    rig.run(Settlement::Ack).await;
    assert_eq!(rig.offer(offer(1, &["a", "b"])).await, Ok(Receipt::Duplicate { id }));
    assert_eq!(rig.state(id).await, LegState::Acked);
    let books = rig.assert_books_balance().await;
    assert_eq!((books.accepted, books.legs, books.by_state[4]), (1, 1, 1));
}

#[tokio::test]
async fn a_redelivery_runs_the_dead_leg_and_the_new_one_but_not_the_acked_one() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a", "b"]).await;
    for _ in 0..2 {
        let lease = rig.lease().await;
        let settlement = if lease.leg.plugin == plugin("a") { Settlement::Ack } else { DEAD };
        rig.settle(&lease, settlement, Effects::default()).await;
    }
    let again = rig.offer(offer(1, &["a", "b", "c"])).await.unwrap();
    assert_eq!(again, Receipt::Accepted { id, event: "push".to_owned(), legs: 2 });
    assert!(rig.ledger.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap().items.is_empty());
    let mut ran = [rig.run(Settlement::Ack).await, rig.run(Settlement::Ack).await];
    ran.sort_by(|x, y| x.leg.cmp(&y.leg));
    let ran: Vec<_> = ran.iter().map(|lease| (lease.leg.plugin.as_str(), lease.generation, lease.attempt)).collect();
    assert_eq!(ran, [("b", 1, 1), ("c", 0, 1)]);
    assert_eq!(rig.assert_books_balance().await.legs, 3);
}

#[tokio::test]
async fn an_unrouted_delivery_is_accepted_again_and_runs_for_who_subscribed_since() {
    let rig = Rig::new();
    let id = rig.accept(1, &[]).await;
    let receipt = |legs| Receipt::Accepted { id, event: "push".to_owned(), legs };
    assert_eq!(rig.offer(offer(1, &[])).await, Ok(receipt(0)));
    assert_eq!(rig.assert_books_balance().await.unrouted, 1);
    assert_eq!(rig.offer(offer(1, &["a"])).await, Ok(receipt(1)));
    let books = rig.assert_books_balance().await;
    assert_eq!((books.accepted, books.routed, books.unrouted), (1, 1, 0));
}

#[tokio::test]
async fn the_beginning_of_an_id_finds_the_deliveries_that_begin_so() {
    let rig = Rig::new();
    let ids: Vec<_> = (0..3).map(|n| offer(n, &[]).delivery.id).collect();
    for n in 0..3 {
        rig.offer(offer(n, &[])).await.unwrap();
    }
    for id in ids {
        assert_eq!(rig.ledger.by_prefix(id.to_string()[..12].parse().unwrap(), 5).await.unwrap(), [id]);
    }
    assert_eq!(rig.ledger.by_prefix("00000000".parse().unwrap(), 5).await.unwrap(), []);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_body_under_another_id_is_flagged_and_refused_by_option() {
    let rig = Rig::new();
    rig.offer(offer_of("default", "first", "{}", &["a"])).await.unwrap();
    let refused = Offer { refuse_replays: true, ..offer_of("default", "second", "{}", &["a"]) };
    assert_eq!(rig.offer(refused).await, Err(OfferError::Replayed));
    rig.offer(offer_of("default", "second", "{}", &["a"])).await.unwrap();
    assert!(rig.ledger.by_provider_id("second").await.unwrap()[0].body_seen_before);
    assert!(!rig.ledger.by_provider_id("first").await.unwrap()[0].body_seen_before);
    rig.offer(Offer { refuse_replays: true, ..offer_of("other", "third", "{}", &["a"]) }).await.unwrap();
    rig.offer(offer_of("default", "first", "{\"other\":1}", &["a"])).await.unwrap();
    let flags: Vec<_> = rig.ledger.by_provider_id("first").await.unwrap().iter().map(|view| view.id_reused).collect();
    assert_eq!(flags, [true, false]);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn of_twenty_who_replay_one_dead_letter_one_succeeds() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    rig.run(DEAD).await;
    let (owner, dead) = (tenant("default"), leg(id, "a"));
    assert_eq!(rig.ledger.rerun(&tenant("other"), &dead, false).await.unwrap(), LegChange::NotFound);
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (ledger, owner, dead) = (rig.ledger.clone(), owner.clone(), dead.clone());
            tokio::spawn(async move { ledger.rerun(&owner, &dead, false).await.unwrap() })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += usize::from(caller.await.unwrap() == LegChange::Done);
    }
    assert_eq!(done, 1);
    assert_eq!(rig.run(Settlement::Ack).await.generation, 1);
    assert_eq!(rig.ledger.rerun(&owner, &dead, false).await.unwrap(), LegChange::NotFound);
    assert_eq!(rig.ledger.rerun(&owner, &dead, true).await.unwrap(), LegChange::Done);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_discarded_dead_letter_is_gone_once_and_a_redelivery_revives_it() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    rig.run(DEAD).await;
    let found = rig.ledger.dead_letter(&leg(id, "a")).await.unwrap().unwrap();
    assert_eq!((found.reason.as_str(), found.detail.as_str(), found.history.len()), ("rejected", "hopeless", 1));
    let owner = tenant("default");
    assert_eq!(rig.ledger.discard(&owner, &leg(id, "a")).await.unwrap(), LegChange::Done);
    assert_eq!(rig.ledger.discard(&owner, &leg(id, "a")).await.unwrap(), LegChange::NotFound);
    assert_eq!(rig.state(id).await, LegState::Discarded);
    assert!(matches!(rig.offer(offer(1, &["a"])).await, Ok(Receipt::Accepted { legs: 1, .. })));
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_whole_delivery_runs_again_with_the_plugins_that_match_now() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a", "b"]).await;
    rig.run(Settlement::Ack).await;
    let open = rig.lease().await;
    let all = || Rerun { acked_too: true, matching: vec![plugin("a"), plugin("c")], plugin: None };
    assert_eq!(rig.ledger.rerun_delivery(id, all()).await.unwrap(), 2);
    rig.settle(&open, Settlement::Ack, Effects::default()).await;
    rig.run(Settlement::Ack).await;
    rig.run(Settlement::Ack).await;
    assert_eq!(rig.assert_books_balance().await.by_state[4], 3);
}

#[tokio::test]
async fn what_is_acked_runs_again_only_where_it_is_asked_for() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a", "b", "c"]).await;
    let mut settled = BTreeMap::new();
    for settlement in [Settlement::Ack, DEAD, Settlement::Skip] {
        settled.insert(rig.run(settlement).await.leg.plugin, settlement);
    }
    let acked = settled.iter().find(|(_, settlement)| **settlement == Settlement::Ack).unwrap().0.clone();
    assert_eq!(rig.ledger.rerun_delivery(id, Rerun::default()).await.unwrap(), 2);
    for _ in 0..2 {
        assert_ne!(rig.run(Settlement::Ack).await.leg.plugin, acked);
    }
    assert_eq!(rig.ledger.rerun_delivery(id, Rerun::default()).await.unwrap(), 0, "all are acked now");
    let named = |name: &PluginName| Rerun { plugin: Some(name.clone()), matching: vec![plugin("a")], acked_too: false };
    assert_eq!(rig.ledger.rerun_delivery(id, named(&acked)).await.unwrap(), 1, "who names a plugin means it");
    assert_eq!(rig.run(Settlement::Ack).await.leg.plugin, acked);
    assert_eq!(rig.ledger.rerun_delivery(id, named(&plugin("other"))).await.unwrap(), 0);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_leg_that_waits_for_its_time_runs_now_where_an_operator_says_so_and_its_attempts_go_on() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    let run_now = async |name: &str| rig.ledger.run_now(&leg(id, name)).await.unwrap();
    assert_eq!(run_now("a").await, RunNow::Elsewhere(LegState::Waiting));
    assert_eq!(run_now("b").await, RunNow::NotFound);
    rig.run(Settlement::Retry { after: Duration::from_hours(1), counted: true }).await;
    assert_eq!(run_now("a").await, RunNow::Done);
    assert_eq!(run_now("a").await, RunNow::Elsewhere(LegState::Waiting), "it waits for no time any more");
    rig.assert_books_balance().await;
    let lease = rig.lease().await;
    assert_eq!((lease.attempt, lease.generation), (2, 0));
    assert_eq!(run_now("a").await, RunNow::Elsewhere(LegState::Leased));
    rig.settle(&lease, Settlement::Ack, Effects::default()).await;
    assert_eq!(run_now("a").await, RunNow::Elsewhere(LegState::Acked));
    rig.clock.advance(Duration::from_hours(2));
    assert_eq!(rig.assert_books_balance().await.by_state[4], 1, "and it does not run a second time when its time comes");
}

/// The ledger with a statement carried out on its closed file: what a flipped bit would have done.
async fn damaged(rig: &Rig, sql: &str, id: DeliveryId) -> Ledger {
    rig.ledger.close().await;
    let conn = beside(rig.dir.path());
    assert_eq!(conn.execute(sql, [id.as_bytes()]).unwrap(), 1);
    drop(conn);
    let ledger = Ledger::open(settings(rig.dir.path(), |_| {}), rig.clock.clone()).unwrap();
    ledger.serve(everything(8));
    ledger
}

/// One flipped bit in the row that leads from an id to its delivery must not lead to another's, nor hide the delivery from its sender.
#[tokio::test]
async fn an_id_whose_row_leads_to_another_delivery_is_found_again_by_its_redelivery() {
    let rig = Rig::new();
    let first = rig.accept(1, &["a"]).await;
    rig.run(DEAD).await;
    let second = rig.accept(2, &["a"]).await;
    rig.run(DEAD).await;
    let ledger = damaged(&rig, "UPDATE dedup SET seq = 2 WHERE id = ?1", first).await;
    assert!(ledger.delivery(first).await.unwrap().is_none());
    assert_eq!(ledger.rerun(&tenant("default"), &leg(first, "a"), false).await.unwrap(), LegChange::NotFound);
    let again = || ledger.offer(offer(1, &["a"]), rig.clock.instant() + Duration::from_secs(1));
    assert_eq!(again().await, Ok(Receipt::Accepted { id: first, event: "push".to_owned(), legs: 1 }), "its dead leg runs again");
    assert_eq!(again().await, Ok(Receipt::Duplicate { id: first }));
    assert_eq!(ledger.delivery(first).await.unwrap().unwrap().legs[0].state, LegState::Waiting);
    assert_eq!(ledger.delivery(second).await.unwrap().unwrap().legs[0].state, LegState::Dead, "nobody else's redelivery revives it");
    assert_eq!(ledger.books().await.unwrap().gap, 0);
}

/// Nobody can say any more whether the delivery of this id was handled, so it is not called a duplicate.
#[tokio::test]
async fn an_id_whose_delivery_is_damaged_beyond_recognition_is_accepted_anew() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    let ledger = damaged(&rig, "UPDATE deliveries SET id = zeroblob(16) WHERE id = ?1", id).await;
    let again = || ledger.offer(offer(1, &["a"]), rig.clock.instant() + Duration::from_secs(1));
    assert_eq!(again().await, Ok(Receipt::Accepted { id, event: "push".to_owned(), legs: 1 }));
    assert_eq!(again().await, Ok(Receipt::Duplicate { id }));
    assert_eq!(ledger.delivery(id).await.unwrap().unwrap().sequence, 2);
    assert_eq!(ledger.books().await.unwrap().gap, 0);
}
