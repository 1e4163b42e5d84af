//! The ledger: one SQLite database in an exclusively locked folder, where acceptance happens.
//!
//! One thread writes (`committer`), in groups: whatever a caller is told has been synced before. A few connections read. Which legs can
//! run is kept in memory (`schedule`) and changed only after a commit, so memory is never ahead of the disk. Everything that could make a
//! promise untrue (an I/O error, a panic of the committer) poisons the ledger: from then on it answers nothing with success, and the host
//! ends.

mod adopt;
mod backup;
mod blame;
mod body;
mod books;
mod cache;
mod checkpoint;
mod claims;
mod commands;
mod committer;
mod counters;
mod cursors;
mod folder;
mod handover;
mod inflight;
mod inspect;
mod keeper;
mod kv;
mod lanes;
mod lend;
mod offer;
mod once;
mod open;
mod pace;
mod pages;
mod parked;
mod poison;
mod portions;
mod queries;
mod quota;
mod readers;
mod recall;
mod refund;
mod removed;
mod results;
mod retention;
mod room;
mod rows;
mod samples;
mod schedule;
mod schema;
mod seal;
mod settings;
mod settle;
mod shared;
mod shelf;
mod stored;
#[cfg(test)]
mod tests;
mod types;
mod watermark;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use crate::{
    clock::Clock,
    delivery::{
        DeliveryId, IdPrefix, LegId, PluginName, Receipt, TenantId,
        view::{DeadLetterView, DeliveryView, EmitView, Page, QueueView},
    },
    shares::Holder,
};

pub use backup::{backup_beside, restore};
pub use blame::Crash;
pub use claims::{RunMemory, Taken};
pub use cursors::{Followed, Heads, HeadsWatch, StreamCursor, StreamStart};
pub use folder::{ClosedFolder, own as own_folder};
pub use inspect::Damage;
pub use keeper::KeptElsewhere;
use lanes::Lane;
pub use portions::{Emitted, Portion, PortionMax};
pub use queries::PAGE_MAX;
pub use quota::{AtStoredBytesMax, Quota};
use readers::READ_MAX;
pub use recall::Unaccounted;
pub use refund::Refund;
pub use room::free_bytes;
pub use settings::Settings;
use shared::Shared;
pub use shelf::{Hold, ShelvedVersion, Standing};
pub use types::{
    Arrival, Arrived, Books, DeadLetterFilter, Death, DeliveryFilter, Finished, KvValue, Lease, LedgerError, LegChange, Mark, Offer,
    OfferError, OnceStep, OpenError, Outbound, Position, Queue, QueueSet, RelayScope, Rerun, RunNow, Settled, StoredPlugin,
};

/// Bodies from this size on are compressed on a thread that may block.
const COMPRESS_INLINE_BYTES_MAX: usize = 256 * 1024;

/// The handle; cheap to clone. When the last one is dropped, the committer ends what it has and closes in the background;
/// who wants to open the folder again waits for [`Ledger::close`].
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Ledger {
    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Opens or creates the ledger: locks the folder, recovers, checks the high-water mark, checkpoints to the end, starts the committer.
    /// Blocking.
    pub fn open(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        open::open(settings, clock).map(|shared| Self(Arc::new(Handle(shared))))
    }

    /// Resolves when the ledger is poisoned, with the reason; the host must then exit.
    pub async fn poisoned(&self) -> String {
        self.shared().poison.wait().await
    }

    /// Stops the committer after what it has taken, checkpoints, unlocks. Idempotent.
    pub async fn close(&self) {
        self.shared().stop();
        let mut ended = self.shared().ended.subscribe();
        // The sender lives in `self`, so this cannot fail while it is awaited.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Makes a delivery and its legs durable, or finds that it is here already.
    pub async fn offer(&self, offer: Offer, deadline: Instant) -> Result<Receipt, OfferError> {
        let shared = self.shared();
        if shared.poison.reason().is_some() || shared.schedule.is_closed() {
            return Err(OfferError::Unavailable);
        }
        if !shared.room.is_enough() {
            return Err(OfferError::StorageFull);
        }
        let prepared = tokio::select! {
            biased;
            prepared = self.prepare(offer) => prepared?,
            () = shared.clock.sleep_until(deadline) => return Err(OfferError::TimedOut),
        };
        let bytes = prepared.body.len();
        tokio::select! {
            () = retention::make_room(shared, &prepared.offer.delivery.tenant, bytes) => {}
            () = shared.clock.sleep_until(deadline) => return Err(OfferError::TimedOut),
        }
        let submitted = tokio::select! {
            biased;
            submitted = shared.submit(Lane::Offers, bytes, move |tx| prepared.apply(tx)) => submitted,
            () = shared.clock.sleep_until(deadline) => return Err(OfferError::TimedOut),
        };
        let (claim, reply) = submitted.map_err(|_| OfferError::Unavailable)?;
        tokio::select! {
            biased;
            taken = reply => match taken {
                Ok(Ok(taken)) => taken,
                // Taken, and the commit failed in a way that leaves open what is on the disk.
                _ if shared.poison.reason().is_some() && !claim.withdraw() => Err(OfferError::OutcomeUnknown),
                _ if shared.poison.reason().is_none() && !shared.room.is_enough() => Err(OfferError::StorageFull),
                _ => Err(OfferError::Unavailable),
            },
            () = shared.clock.sleep_until(deadline) => {
                Err(if claim.withdraw() { OfferError::TimedOut } else { OfferError::OutcomeUnknown })
            }
        }
    }

    /// Compresses and hashes, here and not on the committer.
    async fn prepare(&self, offer: Offer) -> Result<offer::Prepared, OfferError> {
        let shared = Arc::clone(self.shared());
        let threads = shared.settings.shares.threads(Holder::tenant(&offer.delivery.tenant));
        let is_small = offer.delivery.document.len() < COMPRESS_INLINE_BYTES_MAX;
        let prepare = move || shared.compressors.store(&offer.delivery).map(|body| offer::Prepared::new(offer, body));
        let prepared =
            if is_small { prepare() } else { threads.run(prepare).await.unwrap_or_else(|error| Err(std::io::Error::other(error))) };
        prepared.map_err(|error| {
            tracing::error!(%error, "body_not_compressed");
            OfferError::Unavailable
        })
    }

    /// Says which queues can be leased from; open legs of others are parked.
    pub fn serve(&self, queues: QueueSet) {
        self.shared().schedule.serve(queues);
    }

    /// Waits for a ready leg. `None` when closed.
    pub async fn lease(&self) -> Option<Lease> {
        lend::lease(self.shared()).await
    }

    /// Commits a settlement with its record and effects. An error commits nothing and leaves the leg on loan: the settlement may be tried
    /// again. Values over the plugin's quota drop all effects and turn the settlement into a counted retry whose record says so.
    pub async fn settle(&self, lease: Lease, finished: Finished) -> Result<Settled, LedgerError> {
        self.shared().settle(settle::Settling::new(lease, finished, false)).await
    }

    /// Runs a leg again under a new generation, if it is dead (or, where `any_settled`, in any settled state). Compare-and-swap.
    pub async fn rerun(&self, tenant: &TenantId, leg: &LegId, any_settled: bool) -> Result<LegChange, LedgerError> {
        let (tenant, leg) = (tenant.clone(), leg.clone());
        self.shared().write(0, move |tx| commands::rerun(tx, &tenant, &leg, any_settled)).await
    }

    /// Runs a delivery again: its settled legs that are meant, and a leg for each plugin that matches and has none. Returns how many run.
    pub async fn rerun_delivery(&self, id: DeliveryId, which: Rerun) -> Result<usize, LedgerError> {
        self.shared().write(0, move |tx| commands::rerun_delivery(tx, id, &which)).await
    }

    /// Runs a leg now that waits for its time. Its attempts go on from where they are.
    pub async fn run_now(&self, leg: &LegId) -> Result<RunNow, LedgerError> {
        let leg = leg.clone();
        self.shared().write(0, move |tx| commands::run_now(tx, &leg)).await
    }

    /// Gives a dead letter up. Compare-and-swap.
    pub async fn discard(&self, tenant: &TenantId, leg: &LegId) -> Result<LegChange, LedgerError> {
        let (tenant, leg) = (tenant.clone(), leg.clone());
        self.shared().write(0, move |tx| commands::discard(tx, &tenant, &leg)).await
    }

    /// The legs of every queue by state.
    #[expect(clippy::unused_async, reason = "a promise to callers: a ledger that is not in this process would have to ask")]
    pub async fn queues(&self) -> Result<Vec<QueueView>, LedgerError> {
        self.shared().poison.check()?;
        Ok(self.shared().schedule.queues())
    }

    /// A page of deliveries, newest first; at most 500.
    pub async fn deliveries(
        &self,
        filter: DeliveryFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<DeliveryView>, LedgerError> {
        let shared = Arc::clone(self.shared());
        let read = move |conn: &_| queries::deliveries(conn, &shared.schedule, &filter, cursor.as_deref(), limit);
        self.shared().read(READ_MAX, read).await
    }

    /// One delivery with document and attempt histories.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryView>, LedgerError> {
        let shared = Arc::clone(self.shared());
        self.shared().read(READ_MAX, move |conn| queries::delivery(conn, &shared.schedule, id)).await
    }

    /// The deliveries a provider's id belongs to (several hooks may share one).
    pub async fn by_provider_id(&self, provider_id: &str) -> Result<Vec<DeliveryView>, LedgerError> {
        let (shared, provider_id) = (Arc::clone(self.shared()), provider_id.to_owned());
        self.shared().read(READ_MAX, move |conn| queries::by_provider_id(conn, &shared.schedule, &provider_id)).await
    }

    /// The deliveries whose id begins so, at most `limit` of them.
    pub async fn by_prefix(&self, prefix: IdPrefix, limit: usize) -> Result<Vec<DeliveryId>, LedgerError> {
        self.shared().read(READ_MAX, move |conn| queries::by_prefix(conn, prefix, limit)).await
    }

    /// A page of dead letters, newest first; at most 500.
    pub async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<DeadLetterView>, LedgerError> {
        self.shared().read(READ_MAX, move |conn| results::dead_letters(conn, &filter, cursor.as_deref(), limit)).await
    }

    /// One dead letter with its attempts.
    pub async fn dead_letter(&self, leg: &LegId) -> Result<Option<DeadLetterView>, LedgerError> {
        let leg = leg.clone();
        self.shared().read(READ_MAX, move |conn| results::dead_letter(conn, &leg)).await
    }

    /// A page of emitted events, newest first; at most 500.
    pub async fn emits(
        &self,
        tenant: Option<TenantId>,
        plugin: Option<PluginName>,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<EmitView>, LedgerError> {
        let read = move |conn: &_| results::emits(conn, tenant.as_ref(), plugin.as_ref(), cursor.as_deref(), limit);
        self.shared().read(READ_MAX, read).await
    }

    /// A value, read now; blocking and short, for guest threads.
    pub fn kv_get(&self, tenant: &TenantId, plugin: &PluginName, key: &str) -> Result<Option<KvValue>, LedgerError> {
        let shared = self.shared();
        let Some(queue) = shared.schedule.queue(tenant, plugin) else { return Ok(None) };
        shared.readers.read(READ_MAX, |conn| kv::get(conn, queue, key, shared.clock.now()))
    }

    /// Begins an `once` step of a delivery and plugin. What is written waits for its tenant's budget first.
    pub async fn once_begin(&self, tenant: &TenantId, leg: &LegId, key: &str) -> Result<OnceStep, LedgerError> {
        let shared = self.shared();
        let (wanted, known_key) = (leg.clone(), key.to_owned());
        let look = move |conn: &_| {
            let Some(place) = once::place(conn, &wanted)? else { return Ok(None) };
            once::look(conn, &place, &known_key).map(|step| Some((place, step)))
        };
        let found = shared.read_for(&Holder::tenant(tenant), READ_MAX, look).await?;
        let (place, step) = found.ok_or_else(|| LedgerError::Failed("there is no such leg to begin a step of".to_owned()))?;
        if let Some(step) = step {
            return Ok(step);
        }
        shared.draw(&place.tenant, key.len()).await;
        let key = key.to_owned();
        shared.write(key.len(), move |tx| once::begin(tx, &place, &key)).await
    }

    /// Finishes an `once` step that was begun. It waits for its tenant's budget first.
    pub async fn once_finish(&self, tenant: &TenantId, leg: &LegId, key: &str, answer: Vec<u8>) -> Result<(), LedgerError> {
        let shared = self.shared();
        let (leg, key, bytes) = (leg.clone(), key.to_owned(), key.len() + answer.len());
        let not_begun = || LedgerError::Failed("the step was not begun, or is finished already".to_owned());
        let look = move |conn: &_| once::place(conn, &leg);
        let place = shared.read_for(&Holder::tenant(tenant), READ_MAX, look).await?.ok_or_else(not_begun)?;
        shared.draw(&place.tenant, bytes).await;
        let is_finished = shared.write(bytes, move |tx| once::finish(tx, &place, &key, &answer)).await?;
        if is_finished { Ok(()) } else { Err(not_begun()) }
    }

    /// Says how much each tenant may have stored and open; one that is not named has the host's share. The only tenant there is has all.
    pub fn allow(&self, quotas: BTreeMap<TenantId, Quota>) {
        self.shared().quotas.replace(quotas);
    }

    /// Counts everything, by counters, by rows and in memory.
    pub async fn books(&self) -> Result<Books, LedgerError> {
        books::books(self.shared()).await
    }

    /// Whether free space is above the mark.
    pub fn has_room(&self) -> bool {
        self.shared().room.is_enough()
    }

    /// Bytes in the write-ahead log after the last commit; its file never shrinks while it is open.
    pub fn log_bytes(&self) -> u64 {
        self.shared().checkpoints.log_bytes.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// One round of forgetting what is old; how many deliveries went. To be called every few minutes.
    pub async fn retain(&self) -> Result<usize, LedgerError> {
        retention::retain(self.shared()).await
    }

    /// Writes a consistent copy of the database to `target`, which must not exist, while running.
    pub async fn backup(&self, target: PathBuf) -> Result<(), LedgerError> {
        backup::backup(self.shared(), target).await
    }
}
