//! What the tests of this module put in the place of the queue and of the plugins: both follow a script and write down what was asked.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};

use super::versions::{Version, Versions};
use crate::{
    broker::{BoxFuture, Broker, BrokerError, Finished, Lease, Offer, OfferError, QueueSet, Settled},
    delivery::{
        BodyEncoding, Delivery, DeliveryId, Digest, Effects, Emit, LegId, Outcome, PluginName, Receipt, RetryPolicy, TenantId, Timestamp,
        Upstream, Verdict, view::QueueView,
    },
    ledger::Taken,
    runtime::RunReport,
    shares::{Holder, Limit, Limits, Machine, Pool, Resource, Shares},
};

/// A queue that lends what it is given and keeps what comes back.
pub(super) struct ScriptedBroker {
    pub(super) to_lend: Mutex<VecDeque<Lease>>,
    pub(super) answer: Result<Settled, BrokerError>,
    pub(super) served: watch::Sender<QueueSet>,
    settled: mpsc::Sender<(Lease, Finished)>,
    /// What a leg is lent with.
    slots: Pool,
}

impl ScriptedBroker {
    pub(super) fn new(to_lend: Vec<Lease>, answer: Result<Settled, BrokerError>) -> (Arc<Self>, mpsc::Receiver<(Lease, Finished)>) {
        Self::with_slots(64, to_lend, answer)
    }

    /// A queue with so many slots for runs.
    pub(super) fn with_slots(
        slots: u64,
        to_lend: Vec<Lease>,
        answer: Result<Settled, BrokerError>,
    ) -> (Arc<Self>, mpsc::Receiver<(Lease, Finished)>) {
        let mut limits = Limits::of(Machine::here());
        limits.set(Resource::RunSlots, Limit::new(slots, slots));
        let slots = Shares::new(&limits).pool(Resource::RunSlots).clone();
        let (settled, receiver) = mpsc::channel(100);
        let served = watch::channel(QueueSet::default()).0;
        (Arc::new(Self { to_lend: Mutex::new(to_lend.into()), answer, served, settled, slots }), receiver)
    }
}

impl Broker for ScriptedBroker {
    fn offer(&self, _: Offer, _: Instant) -> BoxFuture<'_, Result<Receipt, OfferError>> {
        Box::pin(async { Err(OfferError::Unavailable) })
    }

    fn serve(&self, queues: QueueSet) {
        self.served.send_replace(queues);
    }

    fn lease(&self) -> BoxFuture<'_, Option<Lease>> {
        Box::pin(async {
            let slot = self.slots.take(&Holder::Host, 1).await;
            let next = self.to_lend.lock().unwrap().pop_front();
            match next {
                Some(lease) => Some(Lease { slot: slot.into(), ..lease }),
                None => std::future::pending().await,
            }
        })
    }

    fn settle(&self, lease: Lease, finished: Finished) -> BoxFuture<'_, Result<Settled, BrokerError>> {
        Box::pin(async move {
            self.settled.send((lease, finished)).await.unwrap();
            self.answer.clone()
        })
    }

    fn depth(&self) -> BoxFuture<'_, Result<Vec<QueueView>, BrokerError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// A plugin that ends every run as its script says; a run waits for a permit of `gate` first.
#[derive(Clone)]
pub(super) struct ScriptedPlugin {
    pub(super) outcome: Outcome,
    pub(super) retry: RetryPolicy,
    pub(super) gate: Arc<Semaphore>,
    pub(super) begun: watch::Sender<usize>,
    /// How many lanes of turns there are; legs fall into them by their token. A run that meets another of its lane panics.
    pub(super) lanes: Option<u64>,
    pub(super) running: Arc<Mutex<BTreeSet<u64>>>,
}

impl ScriptedPlugin {
    pub(super) fn new(outcome: Outcome) -> Self {
        let retry = RetryPolicy::new(3, Duration::from_secs(1), Duration::from_mins(1)).unwrap();
        Self { outcome, retry, gate: Arc::new(Semaphore::new(1000)), begun: watch::channel(0).0, lanes: None, running: Arc::default() }
    }

    pub(super) fn gated(outcome: Outcome) -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), ..Self::new(outcome) }
    }

    pub(super) fn runs(&self) -> usize {
        *self.begun.borrow()
    }
}

/// Serves a plugin, or none.
pub(super) struct Shelf(pub(super) Option<ScriptedPlugin>);

impl Versions for Shelf {
    fn serving(&self, _: &TenantId, _: &PluginName) -> Option<Box<dyn Version>> {
        self.0.clone().map(|plugin| Box::new(plugin) as Box<dyn Version>)
    }

    fn is_abandoned(&self, _: &TenantId, _: &PluginName, _: Timestamp) -> bool {
        false
    }
}

impl Version for ScriptedPlugin {
    fn digest(&self) -> Digest {
        Digest::of(&[b"version"])
    }

    fn retry(&self) -> RetryPolicy {
        self.retry
    }

    fn turn<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Option<Digest>> {
        let turn = self.lanes.map(|lanes| Digest::of(&[&(lease.token % lanes).to_le_bytes()]));
        Box::pin(std::future::ready(turn))
    }

    fn invoke(&self, lease: &Lease, _: Timestamp) -> BoxFuture<'static, RunReport> {
        let (plugin, lane) = (self.clone(), self.lanes.map_or(lease.token, |lanes| lease.token % lanes));
        Box::pin(async move {
            assert!(plugin.running.lock().unwrap().insert(lane), "two runs of one lane at once");
            plugin.begun.send_modify(|begun| *begun += 1);
            plugin.gate.acquire().await.unwrap().forget();
            plugin.running.lock().unwrap().remove(&lane);
            report(plugin.outcome)
        })
    }

    fn note(&self, _: DeliveryId, outcome: &Outcome, _: &[Upstream]) {
        assert_eq!(*outcome, self.outcome, "a version is told how its own run ended");
    }
}

/// A run that emitted one event, whatever its outcome.
pub(super) fn report(outcome: Outcome) -> RunReport {
    let emit = Emit { name: "done".into(), content_type: "application/json".into(), body: b"{}".to_vec() };
    RunReport {
        outcome,
        effects: Effects { emits: vec![emit], ..Effects::default() },
        duration: Duration::from_micros(150),
        fuel: 1000,
        fuel_max: 2000,
        memory_peak_bytes: 65_536,
        memory_bytes_max: 131_072,
        logs: Vec::new(),
        host_calls: Vec::new(),
        upstreams: Vec::new(),
    }
}

pub(super) fn ack() -> Outcome {
    Outcome::Verdict(Verdict::Ack)
}

/// The `number`th leg, in attempt 1.
pub(super) fn lease(number: u8) -> Lease {
    let id = DeliveryId::from_bytes([number; 16]);
    let delivery = Delivery {
        id,
        tenant: "acme".parse().unwrap(),
        source: "github".parse().unwrap(),
        provider_id: format!("guid-{number}"),
        hook_id: None,
        event: "push".into(),
        action: None,
        repository: None,
        installation_id: None,
        received_at: Timestamp::from_unix_ms(0),
        sequence: u64::from(number),
        encoding: BodyEncoding::Json,
        headers: Vec::new(),
        document: Bytes::from_static(b"{}"),
        raw: None,
        body_sha256: [0; 32],
    };
    let leg = LegId { delivery: id, plugin: "triage".parse().unwrap() };
    Lease {
        leg,
        delivery: Arc::new(delivery),
        attempt: 1,
        generation: 1,
        token: u64::from(number),
        body_corrupt: false,
        crashes: 0,
        tried_at: None,
        memory: Taken::default(),
        slot: Taken::default(),
    }
}
