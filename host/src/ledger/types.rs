//! What goes into the ledger and what comes out of it: the values of its methods.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::claims::{RunMemory, Taken};
use crate::delivery::{
    AttemptRecord, Delivery, Digest, Effects, LegId, LegState, PluginName, SourceId, TenantId, Timestamp, report::AdmissionReport,
    view::DeliveryStatus,
};

/// A delivery that is offered to the queue.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The delivery; its `sequence` is assigned by the commit.
    pub delivery: Delivery,
    /// The plugins subscribed to it now.
    pub legs: Vec<PluginName>,
    /// Refuse the body if it came before under another id or event name.
    pub refuse_replays: bool,
    /// Bytes this tenant may have waiting.
    pub waiting_bytes_max: u64,
}

/// Why an offer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The deadline passed before the committer took it: nothing is kept.
    #[error("not taken before the deadline")]
    TimedOut,
    /// The deadline passed while the committer had it: unknown.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
    /// The body came before under another id, and the source refuses that.
    #[error("the same body came before under another id")]
    Replayed,
    /// The tenant's waiting bytes or open legs are used up.
    #[error("the tenant has no room for more waiting deliveries")]
    TenantQuota,
    /// The tenant's stored bytes are used up.
    #[error("the tenant has no room for more stored deliveries")]
    TenantStorage,
    /// RabbitMQ takes no message of this size, and nothing runs in this process.
    #[error("RabbitMQ takes messages of at most {bytes_max} bytes here")]
    TooBig {
        /// The largest message in bytes.
        bytes_max: usize,
    },
    /// The disk is nearly full.
    #[error("the data disk is nearly full")]
    StorageFull,
    /// The queue is closed or broken.
    #[error("the queue is not available")]
    Unavailable,
}

/// A queue the caller can work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Whose.
    pub tenant: TenantId,
    /// Which plugin's.
    pub plugin: PluginName,
    /// Legs of it on loan at once.
    pub concurrency_max: usize,
    /// What one run of it takes of [`Resource::RunMemory`](crate::shares::Resource::RunMemory).
    pub run_memory: RunMemory,
}

/// Which queues may be leased from, and how many legs a tenant may have on loan. Open legs of other queues are parked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSet {
    /// The queues that can be worked on now.
    pub queues: Vec<Queue>,
    /// Legs one tenant may have on loan at once.
    pub tenant_concurrency_max: usize,
}

/// A leg on loan to one worker. It is settled exactly once, by value.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Which leg.
    pub leg: LegId,
    /// The delivery.
    pub delivery: Arc<Delivery>,
    /// 1-based number of this attempt.
    pub attempt: u32,
    /// The leg's generation.
    pub generation: u32,
    /// The fencing token: a settlement under an older token changes nothing.
    pub token: u64,
    /// What is stored of the delivery or of this leg does not match its checksum; it must not run.
    pub body_corrupt: bool,
    /// The legs's last `host_crashed` attempt already reached this count; see `FaultKind::HostCrashed`.
    pub crashes: u32,
    /// When the first counted attempt of this generation began; before it none, and then what its worker says.
    pub tried_at: Option<Timestamp>,
    /// The memory that was taken for the run, and of it what the settlement needs until that is carried out.
    pub memory: Taken,
    /// The place among the runs at once, until the lease is dropped.
    pub slot: Taken,
}

/// Whose legs are given to RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayScope {
    /// Every queue's: this host runs none itself. Otherwise those of the queues it serves; the others' stay parked here.
    pub all: bool,
    /// Other hosts take legs from the same RabbitMQ, and this ledger does not learn what became of them.
    pub outcomes_elsewhere: bool,
}

/// A leg on its way to RabbitMQ. What becomes of it is told with [`Ledger::relayed`](super::Ledger::relayed),
/// [`Ledger::not_relayed`](super::Ledger::not_relayed) or [`Ledger::run_here`](super::Ledger::run_here).
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Which leg.
    pub leg: LegId,
    /// The delivery.
    pub delivery: Arc<Delivery>,
    /// Its document, compressed with zstd.
    pub compressed: Bytes,
    /// Where the leg stands.
    pub position: Position,
    /// When it may run, where that is not at once.
    pub due_at: Option<Timestamp>,
    /// Why it died, where it is a dead letter: a slug, and the last attempt in words.
    pub death: Option<Death>,
    /// What is stored of the delivery or of this leg does not match its checksum: it must not leave this host.
    pub body_corrupt: bool,
    pub(super) key: (u64, i64),
    pub(super) token: u64,
}

impl Outbound {
    /// What the ledger notes once RabbitMQ has confirmed it.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { key: self.key, token: self.token, position: self.position, is_dead: self.death.is_some() }
    }
}

/// That RabbitMQ has confirmed a leg as it was at a position.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub(super) key: (u64, i64),
    pub(super) token: u64,
    pub(super) position: Position,
    pub(super) is_dead: bool,
}

/// How far a leg has come. Of two messages of one leg, the one with the smaller (generation, runs) is older, and its leg has gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Raised by every decided re-run.
    pub generation: u32,
    /// Runs so far, counted or not, of all generations.
    pub runs: u64,
    /// Counted attempts of this generation.
    pub attempts: u32,
    /// Attempts of this generation that killed a host.
    pub crashes: u32,
    /// When the first counted attempt of this generation began; none before it.
    pub tried_at: Option<Timestamp>,
}

impl Position {
    /// Re-runs of one leg, at most.
    pub const GENERATION_MAX: u32 = 1 << 24;
    /// Runs of one leg: one in each second for thirty thousand years.
    pub const RUNS_MAX: u64 = 1 << 40;
    /// Attempts of one generation, counted or deadly; a plugin may have ten thousand, and a host that dies adds one at each start.
    pub const ATTEMPTS_MAX: u32 = 1 << 24;

    /// Whether it is one that a leg can come to. What is further on is not given away and not taken in, so that no count of a leg here ever
    /// comes near the end of its type.
    #[must_use]
    pub fn is_in_range(&self) -> bool {
        let Self { generation, runs, attempts, crashes, tried_at: _ } = *self;
        generation <= Self::GENERATION_MAX && runs <= Self::RUNS_MAX && attempts.max(crashes) <= Self::ATTEMPTS_MAX
    }
}

/// Why a leg is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The dead-letter reason's slug.
    pub reason: String,
    /// The outcome of its last attempt.
    pub outcome: String,
    /// In words.
    pub detail: String,
}

/// A leg that came from RabbitMQ.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Which leg.
    pub leg: LegId,
    /// The delivery; its sequence is given here where it is not known yet.
    pub delivery: Delivery,
    /// The document as it came, compressed with zstd.
    pub compressed: Bytes,
    /// How far it has come.
    pub position: Position,
}

/// What became of a leg that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// It is ready to be lent: keep the message until it is settled.
    Ready,
    /// It is here already, by another message: keep the newest, the others can go.
    AlreadyHere,
    /// The leg has gone on, or is settled: the message can go.
    Stale,
    /// This leg is under way here at an older position: the message must come again later.
    Busy,
}

/// What a worker says of a lease it gives back.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The record of the run, with the settlement.
    pub record: AttemptRecord,
    /// What is to be committed with it; empty unless the plugin acked or skipped.
    pub effects: Effects,
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Committed.
    Committed,
    /// A value read has changed: nothing was committed and the leg is ready again, uncounted.
    Conflict,
    /// The lease was no longer valid: nothing was committed.
    Stale,
}

/// A read or write that could not be done, in words.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// An I/O error poisoned the ledger: the process ends, and nothing more is answered with success.
    #[error("the ledger is poisoned by an I/O error: {0}")]
    Poisoned(String),
    /// A read took longer than its bound.
    #[error("the read took longer than {0:?} and was interrupted")]
    Interrupted(Duration),
    /// Anything else.
    #[error("ledger: {0}")]
    Failed(String),
}

/// Why the ledger could not be opened, in words that say what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// Which deliveries a page shows.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only this source's.
    pub source: Option<SourceId>,
    /// Only this event.
    pub event: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only in this status.
    pub status: Option<DeliveryStatus>,
    /// Only with a leg of this plugin.
    pub plugin: Option<PluginName>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Part of the provider's id, Hookyard's id or the repository.
    pub text: Option<String>,
}

/// Which dead letters a page shows.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterFilter {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only this plugin's.
    pub plugin: Option<PluginName>,
}

/// The last version of a plugin that served, kept so that a restart beside a bad file still serves.
#[derive(Clone, Debug)]
pub struct StoredPlugin {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: PluginName,
    /// The version.
    pub digest: Digest,
    /// Component bytes.
    pub wasm: Vec<u8>,
    /// Manifest bytes.
    pub manifest: Vec<u8>,
    /// What its examination found; none of a version that was kept before reports were.
    pub report: Option<AdmissionReport>,
}

/// What an `once` step answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnceStep {
    /// The intent is durable now.
    Begun,
    /// Done before, with this answer.
    Done(Vec<u8>),
    /// Begun before and never finished.
    Unknown,
    /// More than 64 steps for this delivery and plugin, or its tenant has no room for more.
    QuotaExceeded,
}

/// A stored value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvValue {
    /// The value.
    pub value: Vec<u8>,
    /// Raised by every write of the key, at least 1.
    pub version: u64,
}

/// The books: two independent counts of everything, and the difference, which must be nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Deliveries accepted since the ledger began.
    pub accepted: u64,
    /// Deliveries another host accepted and of which legs came here through RabbitMQ.
    pub adopted: u64,
    /// Of them with at least one leg.
    pub routed: u64,
    /// Of them without a leg.
    pub unrouted: u64,
    /// Legs created since the ledger began.
    pub legs: u64,
    /// Legs by stored and in-memory state, in the order of `LegState::ALL`, those deleted by retention under their last state.
    pub by_state: [u64; 9],
    /// Everything that does not add up, counted; 0 when the books balance.
    pub gap: u64,
    /// Legs on loan at this moment.
    pub leased: u64,
}

/// Which legs of a delivery run again. Those that are open run anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rerun {
    /// Only this plugin's, however it is settled.
    pub plugin: Option<PluginName>,
    /// Those that are acked, too, and those that another host may have acked.
    pub acked_too: bool,
    /// The plugins that subscribe to the delivery now: those without a leg get one.
    pub matching: Vec<PluginName>,
}

impl Rerun {
    /// Whether a leg of this plugin is meant, in this state.
    pub(super) fn means(&self, plugin: &PluginName, state: LegState) -> bool {
        match &self.plugin {
            Some(named) => named == plugin,
            None => self.acked_too || !matches!(state, LegState::Acked | LegState::Relayed),
        }
    }
}

/// What came of an operator's word to run a leg now that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunNow {
    /// It is ready.
    Done,
    /// It waits for no time, or not here: its state.
    Elsewhere(LegState),
    /// There is no such leg.
    NotFound,
}

/// What a re-run or a discard of a leg did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegChange {
    /// Done, once.
    Done,
    /// There is no such leg, or it is not in a state that allows it.
    NotFound,
}
