//! What every queue engine must do, said once against the traits.
//!
//! An engine passes when it passes all of it; a scenario file gives an engine that is new and empty to [`hold`]. The suite knows nothing of
//! how an engine stores or sends, and waits only for what the engine itself announces.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use hookyard::{
    broker::{Broker, DeadLetterChange, DeadLetterFilter, DeadLetters, Finished, Lease, Offer, Queue, QueueSet, RunMemory, Settled},
    clock::Clock,
    delivery::{
        AttemptRecord, BodyEncoding, DeadReason, Delivery, DeliveryId, DeliveryKey, Effects, LegId, Outcome, PluginName, Receipt,
        Settlement, TenantId, Timestamp, Verdict,
    },
};
use sha2::{Digest as _, Sha256};

/// An engine under test.
#[derive(Clone)]
pub struct Engine {
    /// Its queue.
    pub broker: Arc<dyn Broker>,
    /// Its dead letters.
    pub dead: Arc<dyn DeadLetters>,
    /// The manual clock it was made with.
    pub clock: Clock,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// A rule of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An accepted delivery runs once for each of its plugins, with its exact document.
    EachLegRunsOnce,
    /// The same delivery again is a duplicate, while it waits and after it was handled.
    SecondOfferIsDuplicate,
    /// A retry comes back with the next attempt, not before its time.
    RetryComesBackInTime,
    /// A run of which the host is to blame does not count.
    UncountedRetryKeepsAttempt,
    /// A lease settles once; the second settlement is stale.
    SettlesOnce,
    /// A dead letter is listed; of many replays one succeeds, and it runs under a new generation.
    DeadLetterReplaysOnce,
    /// A discarded dead letter is gone.
    DeadLetterIsDiscarded,
    /// What is not served is parked, counted and kept.
    UnservedIsParked,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 8] = [
        Self::EachLegRunsOnce,
        Self::SecondOfferIsDuplicate,
        Self::RetryComesBackInTime,
        Self::UncountedRetryKeepsAttempt,
        Self::SettlesOnce,
        Self::DeadLetterReplaysOnce,
        Self::DeadLetterIsDiscarded,
        Self::UnservedIsParked,
    ];
}

/// Holds a new, empty engine to one rule; panics where it does not keep it.
pub async fn hold(engine: &Engine, rule: Rule) {
    engine.broker.serve(queues());
    match rule {
        Rule::EachLegRunsOnce => each_leg_runs_once(engine).await,
        Rule::SecondOfferIsDuplicate => second_offer_is_duplicate(engine).await,
        Rule::RetryComesBackInTime => retry_comes_back_in_time(engine).await,
        Rule::UncountedRetryKeepsAttempt => uncounted_retry_keeps_attempt(engine).await,
        Rule::SettlesOnce => settles_once(engine).await,
        Rule::DeadLetterReplaysOnce => dead_letter_replays_once(engine).await,
        Rule::DeadLetterIsDiscarded => dead_letter_is_discarded(engine).await,
        Rule::UnservedIsParked => unserved_is_parked(engine).await,
    }
}

impl Engine {
    async fn accept(&self, number: u32, plugins: &[&str]) -> Receipt {
        let deadline = self.clock.instant() + Duration::from_secs(8);
        self.broker.offer(offer(number, plugins, self.clock.now()), deadline).await.expect("the offer is taken")
    }

    async fn lease(&self) -> Lease {
        self.broker.lease().await.expect("the queue is open")
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Settled {
        self.broker.settle(lease.clone(), finished(lease, settlement, self.clock.now())).await.expect("the queue works")
    }

    async fn dead_letters(&self) -> Vec<String> {
        let page = self.dead.page(DeadLetterFilter::default(), None, 10).await.expect("the queue works");
        page.items.into_iter().map(|dead| dead.id).collect()
    }
}

async fn each_leg_runs_once(engine: &Engine) {
    engine.accept(1, &["a", "b"]).await;
    engine.accept(2, &["a"]).await;
    let mut ran = BTreeSet::new();
    for _ in 0..3 {
        let lease = engine.lease().await;
        assert_eq!(lease.delivery.id, lease.leg.delivery);
        assert_eq!(Sha256::digest(&lease.delivery.document)[..], lease.delivery.body_sha256);
        assert_eq!((lease.attempt, lease.generation, lease.body_corrupt), (1, 0, false));
        assert_eq!(engine.settle(&lease, Settlement::Ack).await, Settled::Committed);
        ran.insert(lease.leg.to_string());
    }
    assert_eq!(ran.len(), 3);
    let depth = engine.broker.depth().await.expect("the queue works");
    assert!(depth.iter().all(|queue| queue.waiting + queue.leased + queue.retry + queue.parked + queue.dead == 0), "{depth:?}");
}

async fn second_offer_is_duplicate(engine: &Engine) {
    let Receipt::Accepted { id, legs: 1, .. } = engine.accept(1, &["a"]).await else { panic!("a new delivery is accepted") };
    assert_eq!(engine.accept(1, &["a"]).await, Receipt::Duplicate { id });
    let lease = engine.lease().await;
    assert_eq!(engine.accept(1, &["a"]).await, Receipt::Duplicate { id });
    engine.settle(&lease, Settlement::Skip).await;
    assert_eq!(engine.accept(1, &["a"]).await, Receipt::Duplicate { id });
}

async fn retry_comes_back_in_time(engine: &Engine) {
    engine.accept(1, &["a"]).await;
    let lease = engine.lease().await;
    engine.settle(&lease, Settlement::Retry { after: Duration::from_secs(30), counted: true }).await;
    let mut again = std::pin::pin!(engine.broker.lease());
    let is_early = tokio::select! {
        biased;
        _ = &mut again => true,
        () = tokio::task::yield_now() => false,
    };
    assert!(!is_early, "a retry ran before its time");
    engine.clock.advance(Duration::from_secs(30));
    let again = again.await.expect("the queue is open");
    assert_eq!((again.leg, again.attempt), (lease.leg, 2));
}

async fn uncounted_retry_keeps_attempt(engine: &Engine) {
    engine.accept(1, &["a"]).await;
    let lease = engine.lease().await;
    engine.settle(&lease, Settlement::Retry { after: Duration::ZERO, counted: false }).await;
    assert_eq!(engine.lease().await.attempt, 1);
}

async fn settles_once(engine: &Engine) {
    engine.accept(1, &["a"]).await;
    let lease = engine.lease().await;
    assert_eq!(engine.settle(&lease, Settlement::Ack).await, Settled::Committed);
    assert_eq!(engine.settle(&lease, Settlement::DeadLetter(DeadReason::Rejected)).await, Settled::Stale);
    assert!(engine.dead_letters().await.is_empty());
}

async fn dead_letter_replays_once(engine: &Engine) {
    engine.accept(1, &["a"]).await;
    let lease = engine.lease().await;
    engine.settle(&lease, Settlement::DeadLetter(DeadReason::Rejected)).await;
    assert_eq!(engine.dead_letters().await, [lease.leg.to_string()]);
    let tenant = lease.delivery.tenant.clone();
    let mut done = 0;
    for _ in 0..20 {
        let change = engine.dead.replay(tenant.clone(), lease.leg.clone()).await.expect("the queue works");
        done += usize::from(change == DeadLetterChange::Done);
    }
    assert_eq!(done, 1);
    assert!(engine.dead_letters().await.is_empty());
    let again = engine.lease().await;
    assert_eq!((again.leg.clone(), again.generation, again.attempt), (lease.leg, 1, 1));
}

async fn dead_letter_is_discarded(engine: &Engine) {
    engine.accept(1, &["a"]).await;
    let lease = engine.lease().await;
    engine.settle(&lease, Settlement::DeadLetter(DeadReason::Rejected)).await;
    let tenant = lease.delivery.tenant.clone();
    let discard = |tenant: TenantId, leg: LegId| engine.dead.discard(tenant, leg);
    assert_eq!(discard("stranger".parse().expect("a name"), lease.leg.clone()).await.expect("the queue works"), DeadLetterChange::NotFound);
    assert_eq!(discard(tenant.clone(), lease.leg.clone()).await.expect("the queue works"), DeadLetterChange::Done);
    assert_eq!(discard(tenant, lease.leg).await.expect("the queue works"), DeadLetterChange::NotFound);
    assert!(engine.dead_letters().await.is_empty());
}

async fn unserved_is_parked(engine: &Engine) {
    engine.broker.serve(QueueSet::default());
    engine.accept(1, &["a"]).await;
    let depth = engine.broker.depth().await.expect("the queue works");
    assert_eq!((depth[0].parked, depth[0].waiting), (1, 0));
    engine.broker.serve(queues());
    assert_eq!(engine.lease().await.leg.plugin.as_str(), "a");
}

fn plugin(name: &str) -> PluginName {
    name.parse().expect("a name")
}

/// The queues `a` and `b` of the tenant `default`.
pub fn queues() -> QueueSet {
    let queue =
        |name| Queue { tenant: TenantId::default_tenant(), plugin: plugin(name), concurrency_max: 8, run_memory: RunMemory::default() };
    QueueSet { queues: vec![queue("a"), queue("b")], tenant_concurrency_max: 16 }
}

/// A delivery for these plugins.
pub fn offer(number: u32, plugins: &[&str], received_at: Timestamp) -> Offer {
    let document = Bytes::from(format!("{{\"number\":{number}}}"));
    let (tenant, source) = (TenantId::default_tenant(), "github".parse().expect("a name"));
    let (provider_id, body_sha256) = (format!("guid-{number}"), Sha256::digest(&document).into());
    let key = DeliveryKey { tenant: &tenant, source: &source, hook_id: "", provider_id: &provider_id, body_sha256: &body_sha256 };
    let delivery = Delivery {
        id: DeliveryId::derive(&key),
        provider_id,
        hook_id: None,
        event: "push".to_owned(),
        action: None,
        repository: None,
        installation_id: None,
        received_at,
        sequence: 0,
        encoding: BodyEncoding::Json,
        headers: vec![],
        document,
        raw: None,
        body_sha256,
        tenant,
        source,
    };
    Offer { delivery, legs: plugins.iter().map(|name| plugin(name)).collect(), refuse_replays: false, waiting_bytes_max: u64::MAX }
}

/// The end of a run with this settlement.
pub fn finished(lease: &Lease, settlement: Settlement, started_at: Timestamp) -> Finished {
    let verdict = match settlement {
        Settlement::Ack => Verdict::Ack,
        Settlement::Skip => Verdict::Skip("nothing to do".to_owned()),
        Settlement::Retry { .. } => Verdict::Retry { after: None, reason: "not now".to_owned() },
        Settlement::DeadLetter(_) => Verdict::Reject("hopeless".to_owned()),
    };
    let record = AttemptRecord {
        attempt: lease.attempt,
        started_at,
        duration: Duration::from_millis(1),
        outcome: Outcome::Verdict(verdict),
        settlement,
        fuel: 1,
        memory_peak_bytes: 1,
        digest: None,
        logs: vec![],
        host_calls: vec![],
    };
    Finished { record, effects: Effects::default() }
}
