//! The ledger as its callers see it, on real folders and a clock moved by hand. Every test ends with balanced books.

#![expect(clippy::disallowed_methods, reason = "a test starts its callers itself and awaits every one")]

mod bodies;
mod claims;
mod crash;
mod dedup;
mod effects;
mod files;
mod handover;
mod held;
mod house;
mod lending;
mod refund;
mod seals;
mod settling;
mod shelf;
mod streams;
mod walls;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    delivery::{
        AttemptRecord, BodyEncoding, DeadReason, Delivery, DeliveryKey, Effects, Emit, Fault, FaultKind, KvRead, KvWrite, LegState,
        Outcome, Settlement, Timestamp, Verdict,
    },
    shares::{Holder, Limit, Limits, Machine, Resource, Shares},
};

/// 2026-01-01.
const START: Timestamp = Timestamp::from_unix_ms(1_767_225_600_000);

/// A ledger in a folder of its own.
struct Rig {
    dir: tempfile::TempDir,
    clock: Clock,
    ledger: Ledger,
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let ledger = Ledger::open(settings(dir.path(), change), clock.clone()).unwrap();
        ledger.serve(everything(8));
        Self { dir, clock, ledger }
    }

    async fn offer(&self, offer: Offer) -> Result<Receipt, OfferError> {
        self.ledger.offer(offer, self.clock.instant() + Duration::from_secs(8)).await
    }

    async fn accept(&self, number: u32, plugins: &[&str]) -> DeliveryId {
        match self.offer(offer(number, plugins)).await.unwrap() {
            Receipt::Accepted { id, .. } => id,
            Receipt::Duplicate { id } => panic!("{id} is a duplicate"),
        }
    }

    async fn lease(&self) -> Lease {
        self.ledger.lease().await.unwrap()
    }

    /// Leases and settles.
    async fn run(&self, settlement: Settlement) -> Lease {
        let lease = self.lease().await;
        assert_eq!(self.settle(&lease, settlement, Effects::default()).await, Settled::Committed);
        lease
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement, effects: Effects) -> Settled {
        self.ledger.settle(lease.clone(), finished(lease, settlement, effects)).await.unwrap()
    }

    async fn assert_books_balance(&self) -> Books {
        let books = self.ledger.books().await.unwrap();
        assert_eq!(books.gap, 0, "{books:?}");
        assert_eq!(self.ledger.recount_stored_bytes().await.unwrap(), 0, "the sums of what is stored are those of the rows");
        books
    }

    /// The state of a delivery's only leg.
    async fn state(&self, id: DeliveryId) -> LegState {
        self.ledger.delivery(id).await.unwrap().unwrap().legs[0].state
    }

    /// The same folder as a killed process would leave it, opened again.
    fn after_crash(&self) -> Self {
        self.after_crash_with(|_| {})
    }

    fn after_crash_with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = copy(self.dir.path());
        let ledger = Ledger::open(settings(dir.path(), change), self.clock.clone()).unwrap();
        ledger.serve(everything(8));
        Self { dir, clock: self.clock.clone(), ledger }
    }
}

const DEAD: Settlement = Settlement::DeadLetter(DeadReason::Rejected);

fn settings(dir: &Path, change: impl FnOnce(&mut Settings)) -> Settings {
    let mut limits = Limits::of(Machine::here());
    limits.set(Resource::SettledBytes, Limit::new(u64::MAX, u64::MAX));
    let shares = Shares::new(&limits);
    let mut settings = Settings { free_bytes_min: 0, tenant_settled_bytes_per_s_max: u64::MAX, shares, ..Settings::new(dir) };
    change(&mut settings);
    settings
}

/// Copies the files of a ledger that is open, as a kill at this moment would leave them.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if !file.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
        }
    }
    to
}

/// A connection beside the ledger's own; what it writes is sealed.
fn beside(dir: &Path) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    seal::teach(&conn).unwrap();
    conn
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn plugin(name: &str) -> PluginName {
    name.parse().unwrap()
}

fn leg(id: DeliveryId, name: &str) -> LegId {
    LegId { delivery: id, plugin: plugin(name) }
}

/// Queues `a`, `b` and `c` of two tenants.
fn everything(concurrency_max: usize) -> QueueSet {
    let queue =
        |owner: &str, name: &str| Queue { tenant: tenant(owner), plugin: plugin(name), concurrency_max, run_memory: RunMemory::default() };
    let queues = ["default", "other"].iter().flat_map(|owner| ["a", "b", "c"].map(|name| queue(owner, name))).collect();
    QueueSet { queues, tenant_concurrency_max: 16 }
}

/// Delivery number so-and-so of the default tenant.
fn offer(number: u32, plugins: &[&str]) -> Offer {
    offer_of("default", &format!("guid-{number}"), &format!("{{\"number\":{number}}}"), plugins)
}

fn offer_of(owner: &str, provider_id: &str, body: &str, plugins: &[&str]) -> Offer {
    let (tenant, source) = (tenant(owner), "github".parse().unwrap());
    let body_sha256 = Sha256::digest(body).into();
    let key = DeliveryKey { tenant: &tenant, source: &source, hook_id: "1", provider_id, body_sha256: &body_sha256 };
    let delivery = Delivery {
        id: DeliveryId::derive(&key),
        provider_id: provider_id.to_owned(),
        hook_id: Some("1".to_owned()),
        event: "push".to_owned(),
        action: None,
        repository: Some("acme/site".to_owned()),
        installation_id: None,
        received_at: START,
        sequence: 0,
        encoding: BodyEncoding::Json,
        headers: vec![],
        document: Bytes::copy_from_slice(body.as_bytes()),
        raw: None,
        body_sha256,
        tenant,
        source,
    };
    let legs = plugins.iter().map(|name| plugin(name)).collect();
    Offer { delivery, legs, refuse_replays: false, waiting_bytes_max: u64::MAX }
}

fn finished(lease: &Lease, settlement: Settlement, effects: Effects) -> Finished {
    let outcome = match settlement {
        Settlement::Ack => Outcome::Verdict(Verdict::Ack),
        Settlement::Skip => Outcome::Verdict(Verdict::Skip("nothing to do".to_owned())),
        Settlement::Retry { .. } => Outcome::Fault(Fault::new(FaultKind::Trapped, "unreachable")),
        Settlement::DeadLetter(_) => Outcome::Verdict(Verdict::Reject("hopeless".to_owned())),
    };
    let record = AttemptRecord {
        attempt: lease.attempt,
        started_at: START,
        duration: Duration::from_millis(3),
        outcome,
        settlement,
        fuel: 1000,
        memory_peak_bytes: 65_536,
        digest: None,
        logs: vec![],
        host_calls: vec![],
    };
    Finished { record, effects }
}
