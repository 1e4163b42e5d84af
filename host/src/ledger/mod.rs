//! The ledger: one SQLite database in an exclusively locked folder, where acceptance happens.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    clock::Clock,
    delivery::{
        AttemptRecord, Delivery, DeliveryId, Digest, Effects, LegId, LegState, PluginName, Receipt, SourceId, TenantId, Timestamp,
        view::{DeadLetterView, DeliveryStatus, DeliveryView, EmitView, Page, QueueView},
    },
};

/// How the ledger keeps house.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the database, locked for this process.
    pub data_dir: PathBuf,
    /// Items one commit group takes at most.
    pub group_items_max: usize,
    /// Bytes one commit group takes at most.
    pub group_bytes_max: usize,
    /// Size of the write-ahead log from which the committer checkpoints between groups.
    pub wal_bytes_max: u64,
    /// Below this much free space nothing is accepted or leased.
    pub free_bytes_min: u64,
    /// Bytes of fresh bodies kept in memory for the worker.
    pub body_cache_bytes_max: usize,
    /// How long settled deliveries are kept.
    pub retain_settled: Duration,
    /// How long dead letters are kept.
    pub retain_dead: Duration,
    /// How long a delivery's id is remembered, at least 72 h.
    pub retain_dedup: Duration,
    /// Go on although the newest commits are missing: the operator's word (`serve --accept-loss`).
    pub accept_loss: bool,
}

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
    /// The tenant's waiting bytes are used up.
    #[error("the tenant has no room for more waiting deliveries")]
    TenantQuota,
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
    /// The stored body does not match its checksum; `delivery.document` is empty.
    pub body_corrupt: bool,
    /// The legs's last `host_crashed` attempt already reached this count; see `FaultKind::HostCrashed`.
    pub crashes: u32,
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
    /// More than 64 steps for this delivery and plugin.
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
    /// Of them with at least one leg.
    pub routed: u64,
    /// Of them without a leg.
    pub unrouted: u64,
    /// Legs created since the ledger began.
    pub legs: u64,
    /// Legs by stored and in-memory state, in the order of [`LegState::ALL`], those deleted by retention under their last state.
    pub by_state: [u64; 8],
    /// Everything that does not add up, counted; 0 when the books balance.
    pub gap: u64,
    /// Legs on loan at this moment.
    pub leased: u64,
}

/// What a re-run or a discard of a leg did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegChange {
    /// Done, once.
    Done,
    /// There is no such leg, or it is not in a state that allows it.
    NotFound,
}

/// The handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<()>);

impl Ledger {
    /// Opens or creates the ledger: locks the folder, recovers, checks the high-water mark, checkpoints to the end, starts the committer.
    pub fn open(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        let _ = (settings, clock);
        todo!()
    }

    /// Resolves when the ledger is poisoned, with the reason; the host must then exit.
    pub async fn poisoned(&self) -> String {
        todo!()
    }

    /// Stops the committer after what it has taken, checkpoints, unlocks. Idempotent.
    pub async fn close(&self) {
        todo!()
    }

    /// Makes a delivery and its legs durable, or finds that it is here already.
    pub async fn offer(&self, offer: Offer, deadline: Instant) -> Result<Receipt, OfferError> {
        let _ = (offer, deadline);
        todo!()
    }

    /// Says which queues can be leased from; open legs of others are parked.
    pub fn serve(&self, queues: QueueSet) {
        let _ = queues;
        todo!()
    }

    /// Waits for a ready leg. `None` when closed.
    pub async fn lease(&self) -> Option<Lease> {
        todo!()
    }

    /// Commits a settlement with its record and effects.
    pub async fn settle(&self, lease: Lease, finished: Finished) -> Result<Settled, LedgerError> {
        let _ = (lease, finished);
        todo!()
    }

    /// Runs a leg again under a new generation, if it is dead (or, where `any_settled`, in any settled state). Compare-and-swap.
    pub async fn rerun(&self, tenant: &TenantId, leg: &LegId, any_settled: bool) -> Result<LegChange, LedgerError> {
        let _ = (tenant, leg, any_settled);
        todo!()
    }

    /// Runs a whole delivery again: every settled leg, and a leg for each plugin of `matching` that has none. Returns how many legs run.
    pub async fn rerun_delivery(&self, id: DeliveryId, matching: &[PluginName]) -> Result<usize, LedgerError> {
        let _ = (id, matching);
        todo!()
    }

    /// Gives a dead letter up. Compare-and-swap.
    pub async fn discard(&self, tenant: &TenantId, leg: &LegId) -> Result<LegChange, LedgerError> {
        let _ = (tenant, leg);
        todo!()
    }

    /// The legs of every queue by state.
    pub async fn queues(&self) -> Result<Vec<QueueView>, LedgerError> {
        todo!()
    }

    /// A page of deliveries, newest first.
    pub async fn deliveries(
        &self,
        filter: DeliveryFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<DeliveryView>, LedgerError> {
        let _ = (filter, cursor, limit);
        todo!()
    }

    /// One delivery with document and attempt histories.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryView>, LedgerError> {
        let _ = id;
        todo!()
    }

    /// The deliveries a provider's id belongs to (several hooks may share one).
    pub async fn by_provider_id(&self, provider_id: &str) -> Result<Vec<DeliveryView>, LedgerError> {
        let _ = provider_id;
        todo!()
    }

    /// A page of dead letters, newest first.
    pub async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<DeadLetterView>, LedgerError> {
        let _ = (filter, cursor, limit);
        todo!()
    }

    /// One dead letter with its attempts.
    pub async fn dead_letter(&self, leg: &LegId) -> Result<Option<DeadLetterView>, LedgerError> {
        let _ = leg;
        todo!()
    }

    /// A page of emitted events, newest first.
    pub async fn emits(
        &self,
        tenant: Option<TenantId>,
        plugin: Option<PluginName>,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<EmitView>, LedgerError> {
        let _ = (tenant, plugin, cursor, limit);
        todo!()
    }

    /// A value, read now; blocking and short, for guest threads.
    pub fn kv_get(&self, tenant: &TenantId, plugin: &PluginName, key: &str) -> Result<Option<KvValue>, LedgerError> {
        let _ = (tenant, plugin, key);
        todo!()
    }

    /// Begins an `once` step of a delivery and plugin.
    pub async fn once_begin(&self, leg: &LegId, key: &str) -> Result<OnceStep, LedgerError> {
        let _ = (leg, key);
        todo!()
    }

    /// Finishes an `once` step.
    pub async fn once_finish(&self, leg: &LegId, key: &str, answer: Vec<u8>) -> Result<(), LedgerError> {
        let _ = (leg, key, answer);
        todo!()
    }

    /// Keeps a plugin version as the last good one; the previous five are kept too.
    pub async fn keep_plugin(&self, plugin: StoredPlugin) -> Result<(), LedgerError> {
        let _ = plugin;
        todo!()
    }

    /// Forgets a plugin's last good version: its files were removed on purpose.
    pub async fn forget_plugin(&self, tenant: &TenantId, name: &PluginName) -> Result<(), LedgerError> {
        let _ = (tenant, name);
        todo!()
    }

    /// The last good version of every plugin.
    pub async fn kept_plugins(&self) -> Result<Vec<StoredPlugin>, LedgerError> {
        todo!()
    }

    /// Counts everything twice.
    pub async fn books(&self) -> Result<Books, LedgerError> {
        todo!()
    }

    /// Whether free space is above the mark.
    pub fn has_room(&self) -> bool {
        todo!()
    }

    /// Writes a consistent copy of the database to `target` while running.
    pub async fn backup(&self, target: PathBuf) -> Result<(), LedgerError> {
        let _ = target;
        todo!()
    }
}

/// Copies the ledger of `data_dir` to the new file `target` while a host may be running on it.
pub fn backup_offline(data_dir: &std::path::Path, target: &std::path::Path) -> Result<(), LedgerError> {
    let _ = (data_dir, target);
    todo!()
}

/// Puts a copy made by a backup in place of the ledger of `data_dir`; refused while a host holds its lock.
pub fn restore(backup: &std::path::Path, data_dir: &std::path::Path) -> Result<(), LedgerError> {
    let _ = (backup, data_dir);
    todo!()
}
