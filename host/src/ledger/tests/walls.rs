//! What one tenant may cost the others: stored bytes, open legs, writes, values.

use std::collections::BTreeSet;

use super::*;
use crate::ledger::pace::AT_ONCE_BYTES;

const DAY: Duration = Duration::from_hours(24);
const KIB: u64 = 1024;

/// A ledger with limits of its own, and two tenants that have no word of their operator.
fn rig(limits: &[(Resource, Limit)], change: impl FnOnce(&mut Settings)) -> Rig {
    let mut all = Limits::of(Machine::here());
    all.set(Resource::SettledBytes, Limit::new(u64::MAX, u64::MAX));
    for (resource, limit) in limits {
        all.set(*resource, *limit);
    }
    let rig = Rig::with(|settings| {
        settings.shares = Shares::new(&all);
        change(settings);
    });
    rig.ledger.allow(quotas(Quota::default()));
    rig
}

/// The default tenant's quota beside a neighbour's that has none.
fn quotas(quota: Quota) -> BTreeMap<TenantId, Quota> {
    [(tenant("default"), quota), (tenant("other"), Quota::default())].into()
}

/// A document of so many bytes that hardly compresses.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(bytes + 2);
    text.push('"');
    while text.len() <= bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(b'0' + (state % 64) as u8).to_ascii_lowercase());
    }
    text.replace('\\', "x") + "\""
}

impl Rig {
    async fn send(&self, owner: &str, number: u64, plugins: &[&str]) -> Result<Receipt, OfferError> {
        self.offer(offer_of(owner, &format!("guid-{number}"), &noise(number, 4096), plugins)).await
    }

    /// Sends until it is refused; how many were taken, and the refusal.
    async fn fill(&self, owner: &str, plugins: &[&str]) -> (u64, OfferError) {
        for number in 0..10_000 {
            if let Err(refused) = self.send(owner, number, plugins).await {
                return (number, refused);
            }
        }
        panic!("10,000 were taken");
    }

    fn stored(&self, owner: &str) -> u64 {
        self.ledger.stored_bytes(&tenant(owner))
    }

    async fn emit(&self, number: u64, bytes: usize) -> Lease {
        self.send("default", number, &["a"]).await.unwrap();
        let lease = self.lease().await;
        let emit = Emit { name: "noise".to_owned(), content_type: "text/plain".to_owned(), body: vec![b'x'; bytes] };
        self.settle(&lease, Settlement::Ack, Effects { emits: vec![emit], ..Effects::default() }).await;
        lease
    }
}

#[tokio::test]
async fn a_tenant_that_has_filled_its_share_of_the_disk_is_refused_and_its_neighbour_is_not() {
    let rig = rig(&[(Resource::StoredBytes, Limit::new(1024 * KIB, 64 * KIB))], |_| {});
    let (taken, refused) = rig.fill("default", &[]).await;
    assert_eq!(refused, OfferError::TenantStorage);
    assert!((10..=20).contains(&taken), "{taken} of more than 3 KiB each");
    let used = rig.stored("default");
    assert!(used <= 64 * KIB && used > 56 * KIB, "{used}");
    assert!(matches!(rig.send("default", 0, &[]).await, Ok(Receipt::Accepted { legs: 0, .. })), "what is here already is known");
    for number in 0..10 {
        rig.send("other", number, &["a"]).await.unwrap();
    }
    let pool = rig.ledger.shared().settings.shares.pool(Resource::StoredBytes).clone();
    assert_eq!(pool.used_by(&Holder::tenant(&tenant("default"))), used);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn what_no_plugin_wanted_goes_after_a_day_makes_room_and_is_new_when_it_comes_again() {
    let rig = rig(&[(Resource::StoredBytes, Limit::new(1024 * KIB, 64 * KIB))], |_| {});
    let (taken, _) = rig.fill("default", &[]).await;
    rig.send("other", 1, &["a"]).await.unwrap();
    rig.run(Settlement::Ack).await;
    rig.clock.advance(DAY / 2);
    assert_eq!(rig.ledger.retain().await.unwrap(), 0);
    rig.clock.advance(DAY / 2 + Duration::from_secs(1));
    assert_eq!(rig.ledger.retain().await.unwrap() as u64, taken);
    assert!(rig.stored("default") < 64 * taken + 1, "only the bodies seen are remembered");
    let again = rig.send("default", 0, &["a"]).await;
    assert!(matches!(again, Ok(Receipt::Accepted { legs: 1, .. })), "nothing ran, so nothing is a duplicate: {again:?}");
    rig.clock.advance(DAY * 8);
    rig.ledger.retain().await.unwrap();
    let neighbour = rig.send("other", 1, &["a"]).await;
    assert!(matches!(neighbour, Ok(Receipt::Duplicate { .. })), "the id of what was handled outlives its body: {neighbour:?}");
    rig.assert_books_balance().await;
    rig.run(Settlement::Ack).await;
    for _ in 0..2 {
        rig.clock.advance(DAY * 8);
        rig.ledger.retain().await.unwrap();
    }
    assert_eq!((rig.stored("default"), rig.stored("other")), (0, 0), "in the end nothing is left");
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn where_the_oldest_may_go_they_go_first_and_what_is_open_or_dead_stays() {
    let rig = rig(&[(Resource::StoredBytes, Limit::new(1024 * KIB, 128 * KIB))], |_| {});
    rig.ledger.allow(quotas(Quota { at_stored_bytes_max: AtStoredBytesMax::DropOldest, ..Quota::default() }));
    let dead = rig.accept(1, &["a"]).await;
    rig.run(DEAD).await;
    let open = rig.accept(2, &["a"]).await;
    let acked = rig.accept(3, &["b"]).await;
    let lease = rig.lease().await;
    let other = rig.lease().await;
    let (to_keep, to_ack) = if lease.leg.plugin == plugin("b") { (other, lease) } else { (lease, other) };
    rig.settle(&to_ack, Settlement::Ack, Effects::default()).await;
    for number in 100..200 {
        rig.send("default", number, &[]).await.unwrap();
    }
    assert!(rig.stored("default") <= 128 * KIB);
    for (id, is_there) in [(dead, true), (open, true), (acked, false)] {
        assert_eq!(rig.ledger.delivery(id).await.unwrap().is_some(), is_there);
    }
    let page = rig.ledger.deliveries(DeliveryFilter::default(), None, 500).await.unwrap();
    assert_eq!(page.items[0].provider_delivery_id, "guid-199", "the newest are there");
    assert!(
        page.items.len() > 15 && page.items.iter().all(|view| view.provider_delivery_id != "guid-100"),
        "{} are there",
        page.items.len()
    );
    assert_eq!(rig.settle(&to_keep, Settlement::Ack, Effects::default()).await, Settled::Committed);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn near_the_end_of_the_disk_who_filled_it_is_refused_and_who_did_not_is_not() {
    // Shares that add up to more than there is.
    let rig = rig(&[(Resource::StoredBytes, Limit::new(128 * KIB, 120 * KIB))], |_| {});
    let (_, refused) = rig.fill("default", &[]).await;
    assert_eq!(refused, OfferError::StorageFull, "it is within its share, but has more than an equal part of what is nearly used up");
    assert!(rig.stored("default") <= 112 * KIB);
    for number in 0..3 {
        rig.send("other", number, &[]).await.unwrap();
    }
    // And the disk itself is such a bound: with nothing left on it the shares shrink to what is there.
    let limit = || rig.ledger.shared().stored_limit_now(&tenant("default"));
    assert_eq!(limit().bound, 128 * KIB);
    rig.ledger.shared().room.require(u64::MAX);
    assert_eq!(limit().bound, rig.stored("default") + rig.stored("other"));
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_run_over_its_tenants_share_settles_without_its_log_and_what_it_emits_is_refused_in_words() {
    let rig = rig(&[(Resource::StoredBytes, Limit::new(1024 * KIB, 64 * KIB))], |_| {});
    rig.emit(1, 10).await;
    for number in 2..6 {
        rig.send("default", number, &["a"]).await.unwrap();
    }
    let (too_much, logs) = (rig.lease().await, rig.lease().await);
    while rig.send("default", rig.stored("default"), &[]).await.is_ok() {}
    let emit = Emit { name: "noise".to_owned(), content_type: "text/plain".to_owned(), body: vec![b'x'; 32 * 1024] };
    rig.settle(&too_much, Settlement::Ack, Effects { emits: vec![emit], ..Effects::default() }).await;
    let view = rig.ledger.delivery(too_much.leg.delivery).await.unwrap().unwrap();
    let attempt = &view.legs[0].history[0];
    assert_eq!((view.legs[0].state, attempt.outcome.as_str()), (LegState::Retry, "denied"));
    assert!(attempt.detail.contains("stored"), "{}", attempt.detail);
    let mut record = finished(&logs, Settlement::Ack, Effects::default());
    record.record.logs =
        vec![crate::delivery::view::LogLine { level: "info".to_owned(), message: "x".repeat(16 * 1024), fields: Vec::new() }];
    assert_eq!(rig.ledger.settle(logs.clone(), record).await.unwrap(), Settled::Committed);
    let view = rig.ledger.delivery(logs.leg.delivery).await.unwrap().unwrap();
    assert_eq!((view.legs[0].state, view.legs[0].history[0].logs.len()), (LegState::Acked, 0));
    let step = rig.ledger.once_begin(&logs.delivery.tenant, &logs.leg, "step").await.unwrap();
    assert_eq!(step, OnceStep::Begun, "a step is small, and there is room for it");
    assert!(rig.stored("default") < 66 * KIB, "{}", rig.stored("default"));
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn on_a_short_disk_a_run_leaves_no_more_than_the_share_of_this_moment_and_its_leg_waits() {
    let rig = rig(&[(Resource::StoredBytes, Limit::new(1024 * KIB, 256 * KIB))], |_| {});
    for (owner, number) in [("default", 1), ("default", 2), ("other", 3)] {
        rig.send(owner, number, &["a"]).await.unwrap();
    }
    let leases = [rig.lease().await, rig.lease().await, rig.lease().await];
    let own = leases.iter().find(|lease| lease.delivery.tenant == tenant("default")).unwrap();
    // Nothing is left: all that is stored is all there is, and a quarter of that a share.
    rig.ledger.shared().room.require(u64::MAX);
    let emit = Emit { name: "noise".to_owned(), content_type: "text/plain".to_owned(), body: vec![b'x'; 32 * 1024] };
    let before = rig.stored("default");
    rig.settle(own, Settlement::Ack, Effects { emits: vec![emit], ..Effects::default() }).await;
    let view = rig.ledger.delivery(own.leg.delivery).await.unwrap().unwrap();
    let attempt = &view.legs[0].history[0];
    assert_eq!((view.legs[0].state, view.legs[0].attempts, attempt.outcome.as_str()), (LegState::Retry, 0, "denied"));
    assert!(attempt.detail.contains("disk has little left"), "{}", attempt.detail);
    assert!(rig.stored("default") < before + 1024, "a record without its log");
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_leg_that_is_tried_again_and_again_over_its_tenants_share_keeps_one_record() {
    let rig = rig(&[(Resource::StoredBytes, Limit::new(1024 * KIB, 64 * KIB))], |_| {});
    rig.send("default", 1, &["a"]).await.unwrap();
    let again = Settlement::Retry { after: Duration::from_secs(1), counted: true };
    let tries = async |times: usize| {
        for _ in 0..times {
            rig.run(again).await;
            rig.clock.advance(Duration::from_secs(1));
        }
    };
    tries(3).await;
    let lease = rig.lease().await;
    let history = async || rig.ledger.delivery(lease.leg.delivery).await.unwrap().unwrap().legs[0].history.len();
    assert_eq!(history().await, 3);
    rig.ledger.allow(quotas(Quota { stored_bytes_max: Some(KIB), ..Quota::default() }));
    rig.settle(&lease, again, Effects::default()).await;
    rig.clock.advance(Duration::from_secs(1));
    tries(3).await;
    assert_eq!(history().await, 1);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn the_sums_are_those_of_the_rows_after_every_kind_of_write_and_after_a_kill() {
    let rig = rig(&[], |_| {});
    rig.emit(1, 100).await;
    let lease = {
        rig.send("default", 2, &["a", "b"]).await.unwrap();
        rig.lease().await
    };
    rig.ledger.once_begin(&TenantId::default_tenant(), &lease.leg, "mail").await.unwrap();
    rig.ledger.once_finish(&TenantId::default_tenant(), &lease.leg, "mail", b"sent".to_vec()).await.unwrap();
    let write = |key: &str, value: Option<&[u8]>, expires_at| KvWrite { key: key.to_owned(), value: value.map(<[u8]>::to_vec), expires_at };
    let soon = Some(START.after(Duration::from_secs(1)));
    let kv_writes = vec![write("k", Some(b"long value"), None), write("gone", Some(b"1"), None), write("expires", Some(b"1"), soon)];
    rig.settle(&lease, Settlement::Ack, Effects { kv_writes, ..Effects::default() }).await;
    rig.assert_books_balance().await;
    rig.send("default", 3, &["a"]).await.unwrap();
    for _ in 0..2 {
        let lease = rig.lease().await;
        let kv_writes = vec![write("k", Some(b"v"), None), write("gone", None, None)];
        rig.settle(&lease, Settlement::Ack, Effects { kv_writes, ..Effects::default() }).await;
    }
    let version = |number: u8| StoredPlugin {
        tenant: tenant("default"),
        name: plugin("a"),
        digest: crate::delivery::Digest::from_bytes([number; 32]),
        wasm: vec![number; 1000],
        manifest: vec![number; 10],
        report: None,
    };
    for number in 0..9 {
        rig.ledger.keep_plugin(version(number)).await.unwrap();
    }
    rig.clock.advance(Duration::from_secs(2));
    rig.ledger.retain().await.unwrap();
    rig.assert_books_balance().await;
    let stored = rig.stored("default");
    let killed = rig.after_crash();
    assert_eq!((killed.stored("default"), killed.stored("default") > 0), (stored, true));
    killed.assert_books_balance().await;
    killed.ledger.forget_plugin(&tenant("default"), &plugin("a")).await.unwrap();
    killed.assert_books_balance().await;
    // A sum that is wrong is found, and put right.
    killed.ledger.shared().write(0, |tx| tx.execute("UPDATE stored SET bytes = bytes + 5", [])).await.unwrap();
    let before = killed.stored("default");
    assert_eq!(killed.ledger.recount_stored_bytes().await.unwrap(), 5);
    assert_eq!(killed.stored("default"), before - 5);
}

#[tokio::test]
async fn legs_count_and_an_offer_whose_legs_do_not_fit_is_refused_whole() {
    let rig = rig(&[(Resource::Legs, Limit::new(20_000, 1000))], |_| {});
    let names: Vec<String> = (0..300).map(|number| format!("p{number}")).collect();
    let plugins: Vec<&str> = names.iter().map(String::as_str).collect();
    let one_byte = |owner: &str, number: u32| offer_of(owner, &format!("guid-{number}"), "1", &plugins);
    for number in 0..3 {
        rig.offer(one_byte("default", number)).await.unwrap();
    }
    let seen = rig.ledger.books().await.unwrap().legs;
    assert_eq!(rig.offer(one_byte("default", 3)).await, Err(OfferError::TenantQuota));
    assert_eq!(rig.ledger.books().await.unwrap().legs, seen, "none of its legs is there");
    rig.offer(offer_of("default", "few", "1", &plugins[..100])).await.unwrap();
    rig.offer(one_byte("other", 1)).await.unwrap();
    let pool = |resource| rig.ledger.shared().settings.shares.pool(resource).used_by(&Holder::tenant(&tenant("default")));
    assert_eq!(pool(Resource::Legs), 1000);
    assert_eq!(pool(Resource::WaitingBytes), 1000 * (quota::LEG_WAITING_BYTES + 1), "each leg weighs, however small its document is");
    rig.ledger.allow(quotas(Quota { legs_max: Some(10), ..Quota::default() }));
    assert_eq!(rig.offer(offer_of("default", "one", "1", &["a"])).await, Err(OfferError::TenantQuota));
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn legs_of_one_group_are_counted_before_it_is_committed() {
    let rig = rig(&[(Resource::Legs, Limit::new(1000, 10))], |_| {});
    let mut offers = tokio::task::JoinSet::new();
    for number in 0..40 {
        let (ledger, deadline) = (rig.ledger.clone(), rig.clock.instant() + Duration::from_secs(8));
        offers.spawn(async move { ledger.offer(offer(number, &["a", "b"]), deadline).await });
    }
    let mut taken = 0;
    while let Some(answer) = offers.join_next().await {
        taken += usize::from(answer.unwrap().is_ok());
    }
    assert_eq!(taken, 5);
    rig.assert_books_balance().await;
}

/// A step is durable at once, so a plugin that loops over steps writes as fast as the disk syncs, if nothing holds it.
#[tokio::test]
async fn steps_in_a_loop_wait_for_their_tenants_budget_before_they_are_written() {
    let budget = AT_ONCE_BYTES as u64 + KIB;
    let rig = rig(&[(Resource::SettledBytes, Limit::new(4 * budget, budget))], |settings| settings.tenant_settled_bytes_per_s_max = budget);
    rig.send("default", 1, &["a"]).await.unwrap();
    rig.send("other", 1, &["a"]).await.unwrap();
    let (first, second) = (rig.lease().await, rig.lease().await);
    let (looping, neighbour) = if first.delivery.tenant == tenant("default") { (first, second) } else { (second, first) };
    let (ledger, leg) = (rig.ledger.clone(), looping.leg.clone());
    // The number is set after a commit is answered; once another write is done, both offers are in it.
    rig.ledger.shared().write(0, |_| Ok(())).await.unwrap();
    let before = rig.ledger.log_bytes();
    let looped = tokio::spawn(async move {
        for step in 0..6 {
            assert_eq!(ledger.once_begin(&TenantId::default_tenant(), &leg, &step.to_string()).await.unwrap(), OnceStep::Begun);
        }
    });
    let steps = || {
        let count = "SELECT count(*) FROM once";
        beside(rig.dir.path()).query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    // A second's worth, and the one that is over it; the next waits.
    while steps() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        rig.ledger.once_begin(&neighbour.delivery.tenant, &neighbour.leg, "step").await.unwrap(),
        OnceStep::Begun,
        "a neighbour's budget is its own"
    );
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let written = rig.ledger.log_bytes() - before;
    assert!(steps() == 3 && !looped.is_finished(), "{} steps, the neighbour's among them", steps());
    assert!(written <= 3 * budget, "{written} bytes of log for what was charged {budget} a step");
    while !looped.is_finished() {
        rig.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    looped.await.unwrap();
    rig.clock.advance(Duration::from_mins(1));
    assert_eq!(rig.ledger.once_begin(&looping.delivery.tenant, &looping.leg, "0").await.unwrap(), OnceStep::Unknown, "to look is free");
    assert_eq!(rig.settle(&looping, Settlement::Ack, Effects::default()).await, Settled::Committed);
}

#[tokio::test]
async fn values_of_a_removed_plugin_go_after_a_month_and_those_of_one_that_comes_back_stay() {
    let rig = rig(&[], |_| {});
    for (number, name) in [(1, "a"), (2, "b")] {
        rig.accept(number, &[name]).await;
        let lease = rig.lease().await;
        let kv_writes = (0..300).map(|key| KvWrite { key: format!("k{key}"), value: Some(vec![0; 100]), expires_at: None }).collect();
        rig.settle(&lease, Settlement::Ack, Effects { kv_writes, ..Effects::default() }).await;
    }
    let only = |names: &[&str]| {
        let names: BTreeSet<_> = names.iter().map(|name| plugin(name)).collect();
        let mut set = everything(8);
        set.queues.retain(|queue| names.contains(&queue.plugin));
        rig.ledger.serve(set);
    };
    let kept = |name: &str| rig.ledger.kv_get(&tenant("default"), &plugin(name), "k7").unwrap().is_some();
    only(&["c"]);
    rig.ledger.retain().await.unwrap();
    rig.clock.advance(DAY * 29);
    only(&["b", "c"]);
    rig.ledger.retain().await.unwrap();
    assert!(kept("a") && kept("b"));
    only(&["c"]);
    rig.ledger.retain().await.unwrap();
    rig.clock.advance(DAY * 2);
    let before = rig.stored("default");
    rig.ledger.retain().await.unwrap();
    assert!(!kept("a") && kept("b"), "b came back, and its time began anew");
    assert!(before - rig.stored("default") > 300 * 100, "its tenant has the room again");
    rig.assert_books_balance().await;
}
