//! Memory and places, before a leg is lent.

use super::*;
use crate::shares::{Holder, Limit, Limits, Machine, Resource, Shares};

/// What one run takes of memory, for an empty document.
const RUN: u64 = 40;

fn shares(memory: Limit, slots: Limit) -> Shares {
    let mut limits = Limits::of(Machine::here());
    limits.set(Resource::RunMemory, memory);
    limits.set(Resource::RunSlots, slots);
    Shares::new(&limits)
}

/// A ledger whose queues take [`RUN`] a run and two more for each byte of the document.
fn rig(shares: &Shares) -> Rig {
    let rig = Rig::with(|settings| settings.shares = shares.clone());
    let mut set = everything(8);
    set.queues.iter_mut().for_each(|queue| queue.run_memory = RunMemory { bytes: RUN, per_body_byte: 2 });
    rig.ledger.serve(set);
    rig
}

async fn accept(rig: &Rig, owner: &str, number: u32) {
    rig.offer(offer_of(owner, &format!("guid-{number}"), "{}", &["a"])).await.unwrap();
}

/// The next leg, where one is lent without another being given back first.
async fn lent(rig: &Rig) -> Option<Lease> {
    let mut next = std::pin::pin!(rig.ledger.lease());
    for _ in 0..100 {
        let poll = std::future::poll_fn(|context| std::task::Poll::Ready(next.as_mut().poll(context))).await;
        if let std::task::Poll::Ready(lease) = poll {
            return lease;
        }
        // What is not fresh is read on another thread.
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
    }
    None
}

fn of(lease: &Lease) -> &str {
    lease.delivery.tenant.as_str()
}

#[tokio::test]
async fn a_tenant_at_its_share_of_memory_waits_for_itself_and_takes_no_place_that_others_need() {
    // For three runs in all and two of one tenant; a document of two bytes needs four more.
    let shares = shares(Limit::new(150, 100), Limit::new(3, 3));
    let rig = rig(&shares);
    for number in 0..12 {
        accept(&rig, "default", number).await;
    }
    let (first, second) = (lent(&rig).await.unwrap(), lent(&rig).await.unwrap());
    assert!(lent(&rig).await.is_none(), "its third waits for its own");
    let holder = |owner: &str| Holder::tenant(&tenant(owner));
    let memory = shares.pool(Resource::RunMemory);
    assert_eq!((memory.used_by(&holder("default")), shares.pool(Resource::RunSlots).used_by(&holder("default"))), (88, 2));
    assert_eq!(rig.ledger.queues().await.unwrap()[0].leased, 2, "who waits has no leg on loan");
    accept(&rig, "other", 100).await;
    let other = lent(&rig).await.unwrap();
    assert_eq!(of(&other), "other", "everybody else's legs pass");
    assert_eq!(memory.used().iter().map(|(_, used)| used).sum::<u64>(), 132);
    // What a run gives back is the tenant's next run's, before its settlement.
    drop(first.memory.take());
    assert!(lent(&rig).await.is_none(), "all places are taken");
    rig.settle(&first, Settlement::Ack, Effects::default()).await;
    drop(first);
    assert_eq!(of(&lent(&rig).await.unwrap()), "default");
    drop((second, other));
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn who_waits_for_memory_keeps_its_turn_while_legs_of_others_are_lent() {
    let shares = shares(Limit::new(100, 100), Limit::new(64, 48));
    let rig = rig(&shares);
    let held = shares.pool(Resource::RunMemory).try_take(&Holder::Host, 30).unwrap();
    accept(&rig, "other", 0).await;
    for number in 1..8 {
        accept(&rig, "default", number).await;
    }
    let first = lent(&rig).await.unwrap();
    assert!(lent(&rig).await.is_none(), "there is not enough for a second");
    drop(held);
    let second = lent(&rig).await.unwrap();
    assert_ne!(of(&first), of(&second), "the other tenant has waited since before");
    rig.settle(&first, Settlement::Ack, Effects::default()).await;
    rig.settle(&second, Settlement::Ack, Effects::default()).await;
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_document_counts_and_more_than_a_share_is_taken_as_the_share() {
    let shares = shares(Limit::new(1_000, 500), Limit::new(64, 48));
    let rig = rig(&shares);
    let body = format!("\"{}\"", "x".repeat(98));
    rig.offer(offer_of("default", "guid-1", &body, &["a"])).await.unwrap();
    let lease = lent(&rig).await.unwrap();
    assert_eq!(lease.memory.take().map(|held| held.amount()), Some(RUN + 200));
    rig.settle(&lease, Settlement::Ack, Effects::default()).await;
    rig.offer(offer_of("default", "guid-2", &format!("\"{}\"", "x".repeat(998)), &["a"])).await.unwrap();
    assert_eq!(lent(&rig).await.unwrap().memory.take().map(|held| held.amount()), Some(500));
}
