//! What the handle, the committer and the workers share.

use std::{
    fs::File,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::{
    LedgerError, Settings, Settled,
    body::Compressors,
    checkpoint::Checkpoints,
    claims::Claims,
    committer::Tx,
    cursors::Heads,
    inflight::InFlight,
    lanes::{Answer, Claim, Item, Job, Lane, Lanes},
    pace::Pace,
    poison::{Poison, is_fatal, is_full},
    quota::Quotas,
    readers::Readers,
    retention::{self, Dropping},
    room::Room,
    schedule::Schedule,
    settle::Settling,
    stored::{Stored, Tally},
};
use crate::{
    clock::Clock,
    delivery::{TenantId, Timestamp},
    shares::{Holder, Resource},
};

/// The ledger's parts.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) schedule: Schedule,
    pub(super) inflight: InFlight,
    /// What tenants wait for before a leg of theirs is lent; whoever waits for a leg holds it.
    pub(super) claims: tokio::sync::Mutex<Claims>,
    pub(super) poison: Arc<Poison>,
    pub(super) lanes: Lanes,
    pub(super) readers: Readers,
    pub(super) compressors: Compressors,
    pub(super) checkpoints: Checkpoints,
    pub(super) pace: Pace,
    pub(super) room: Room,
    pub(super) stored: Stored,
    pub(super) quotas: Quotas,
    pub(super) dropping: Dropping,
    /// Wall and monotonic time at open, to see whether they still agree.
    pub(super) opened: (Timestamp, Instant),
    /// The last positions on disk, for who follows them.
    pub(super) heads: watch::Sender<Heads>,
    pub(super) ended: watch::Sender<bool>,
    pub(super) lock: Mutex<Option<File>>,
}

/// What the committer answers an item; dropped without an answer where the group failed as a whole.
pub(super) type Reply<T> = oneshot::Receiver<Result<T, LedgerError>>;

impl Shared {
    /// Lends and takes nothing more.
    pub(super) fn stop(&self) {
        self.schedule.close();
        self.checkpoints.stop();
        if self.poison.reason().is_some() {
            self.lanes.abandon();
        } else {
            self.lanes.close();
        }
    }

    /// The committer is gone: the folder is free.
    pub(super) fn end(&self) {
        self.readers.close();
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.ended.send_replace(true);
    }

    /// Queues work for the committer. The claim tells whether it was taken; the reply comes after the commit.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        lane: Lane,
        bytes: usize,
        work: impl FnOnce(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<(Claim, Reply<T>), LedgerError> {
        self.poison.check()?;
        let closed = || LedgerError::Failed("the ledger is closed".to_owned());
        let room = self.lanes.room(lane, bytes).await.ok_or_else(closed)?;
        let (sender, reply) = oneshot::channel();
        let job: Job = Box::new(move |tx| match work(tx) {
            Ok(value) => {
                let answer: Answer = Box::new(move || drop(sender.send(Ok(value))));
                Ok(answer)
            }
            Err(error) => {
                if is_full(&error) {
                    tx.shared.room.note_full();
                }
                // A fatal error is answered by the poison, after it is set.
                if !is_fatal(&error) {
                    drop(sender.send(Err(LedgerError::Failed(error.to_string()))));
                }
                Err(error)
            }
        });
        let claim = Claim::default();
        let item = Item { job, bytes, claim: claim.clone(), _room: room };
        if self.lanes.push(lane, item) { Ok((claim, reply)) } else { Err(closed()) }
    }

    /// Has the committer do something and waits for its answer.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (_, reply) = self.submit(Lane::Others, bytes, work).await?;
        reply.await.unwrap_or_else(|_| Err(self.not_committed()))
    }

    /// Takes a leg back, in its tenant's time. Its run has ended: while it waits, it is not what a death of the host is charged to.
    pub(super) async fn settle(self: &Arc<Self>, settling: Settling) -> Result<Settled, LedgerError> {
        self.run_over(&settling);
        let bytes = settling.bytes();
        if let Some(due) = self.pace.take(settling.tenant(), bytes, self.clock.instant()) {
            self.clock.sleep_until(due).await;
        }
        retention::make_room(self, settling.tenant(), bytes).await;
        self.write(bytes, move |tx| settling.apply(tx)).await
    }

    fn run_over(&self, settling: &Settling) {
        let (seq, tenant, plugin, token) = settling.place();
        let Some(queue) = self.schedule.queue(tenant, plugin) else { return };
        if let Some(slot) = self.schedule.run_over((seq, queue), token)
            && let Err(error) = self.inflight.end(slot)
        {
            self.poison.set(&format!("writing the in-flight file: {error}"));
        }
    }

    /// Has a run wait until its tenant may make so many bytes durable at once.
    pub(super) async fn draw(&self, tenant: &TenantId, bytes: usize) {
        if let Some(due) = self.pace.take_at_once(tenant, bytes, self.clock.instant()) {
            self.clock.sleep_until(due).await;
        }
    }

    /// The sums of a commit, to everybody who asks.
    pub(super) fn tell_stored(&self, tally: Tally) {
        let pool = self.settings.shares.pool(Resource::StoredBytes);
        for (tenant, bytes) in self.stored.apply(tally) {
            pool.set(&Holder::Tenant(tenant), bytes);
        }
    }

    /// What waits since the last look, to everybody who asks.
    pub(super) fn tell_waiting(&self) {
        let shares = &self.settings.shares;
        for (tenant, waiting) in self.schedule.changed_waiting() {
            let holder = Holder::Tenant(tenant);
            shares.pool(Resource::WaitingBytes).set(&holder, waiting.bytes);
            shares.pool(Resource::Legs).set(&holder, waiting.legs);
        }
    }

    /// Why an item was dropped without an answer.
    pub(super) fn not_committed(&self) -> LedgerError {
        match self.poison.check() {
            Err(poisoned) => poisoned,
            Ok(()) if !self.room.is_enough() => LedgerError::Failed("the data disk is full: nothing was committed".to_owned()),
            Ok(()) => LedgerError::Failed("nothing was committed".to_owned()),
        }
    }

    /// Reads for the host, on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        bound: Duration,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.read_for(&Holder::Host, bound, read).await
    }

    /// Reads when it is this holder's turn, on a thread that may block.
    pub(super) async fn read_for<T: Send + 'static>(
        self: &Arc<Self>,
        holder: &Holder,
        bound: Duration,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let shared = Arc::clone(self);
        let reads = self.settings.shares.pool(Resource::LedgerReads);
        let done = reads.on_thread(holder, move || shared.readers.read(bound, read)).await;
        done.unwrap_or_else(|error| Err(LedgerError::Failed(format!("a read ended early: {error}"))))
    }
}
