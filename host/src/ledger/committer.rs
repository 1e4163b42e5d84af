//! The committer: the one thread that writes.
//!
//! While one group syncs, the next fills; there is no fixed delay. Each item runs in a savepoint, so that a bad one fails alone. After the
//! commit's sync come, in this order: the high-water mark, the schedule, the answers. A sender is never told of something a restart would
//! not find, and a leg is never lent before it is durable. Nothing of this lives in a caller's future, which may be dropped at any time.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{
    Shared, checkpoint,
    counters::Counters,
    cursors,
    lanes::{Answer, Item, Limits},
    poison::{is_fatal, is_full},
    schedule::{Change, Key},
    stored::{Sums, Tally},
    watermark::Watermark,
};
use crate::delivery::{PluginName, TenantId, Timestamp};

/// How long a group is filled. Who comes meanwhile waits for it and for the sync: items can be heavy, such as a delivery for a hundred plugins.
const GROUP_MAX: Duration = Duration::from_millis(5);
/// What is taken at once, so that each part has its offers first.
const PART: Limits = Limits { items_max: 32, bytes_max: 1 << 20 };

/// The transaction an item works in.
pub(super) struct Tx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) shared: &'a Shared,
    pub(super) counters: Counters,
    pub(super) changes: Vec<Change>,
    /// What this group adds to the tenants' sums.
    pub(super) tally: Tally,
    /// Loans claimed for settlement in this group.
    pub(super) settling: Vec<Key>,
    pub(super) now: Timestamp,
    pub(super) instant: Instant,
}

impl Tx<'_> {
    /// The number of a queue, given now where it has none.
    pub(super) fn queue(&mut self, tenant: &TenantId, plugin: &PluginName) -> rusqlite::Result<i64> {
        if let Some(queue) = self.shared.schedule.queue(tenant, plugin) {
            return Ok(queue);
        }
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO queues(tenant, plugin) VALUES (?1, ?2)")?
            .execute([tenant.as_str(), plugin.as_str()])?;
        let queue = self
            .conn
            .prepare_cached("SELECT id FROM queues WHERE tenant = ?1 AND plugin = ?2")?
            .query_row([tenant.as_str(), plugin.as_str()], |row| row.get(0))?;
        self.changes.push(Change::Queue { queue, tenant: tenant.clone(), plugin: plugin.clone() });
        Ok(queue)
    }

    /// Whose a queue is.
    pub(super) fn owner(&self, queue: i64) -> Option<TenantId> {
        let made_now = || {
            self.changes.iter().find_map(|change| match change {
                Change::Queue { queue: number, tenant, .. } if *number == queue => Some(tenant.clone()),
                _ => None,
            })
        };
        self.shared.schedule.owner(queue).or_else(made_now)
    }

    /// Counts rows of a tenant that were written, or, below zero, deleted.
    pub(super) fn store(&mut self, tenant: &TenantId, bytes: i64) {
        if bytes != 0 {
            self.tally.add(tenant, Sums { stored: bytes, ..Sums::default() });
        }
    }

    /// The same, where only the queue is known.
    pub(super) fn store_of_queue(&mut self, queue: i64, bytes: i64) {
        if let Some(tenant) = self.owner(queue) {
            self.store(&tenant, bytes);
        }
    }

    /// Runs one statement, prepared once.
    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.conn.prepare_cached(sql)?.execute(params)
    }
}

/// The thread's own things.
pub(super) struct Committer {
    pub(super) conn: Connection,
    pub(super) watermark: Watermark,
    pub(super) shared: Arc<Shared>,
    /// Pages in the write-ahead log after the last commit.
    pub(super) wal_pages: Arc<AtomicI32>,
    pub(super) holds: checkpoint::Holds,
    pub(super) counters: Counters,
}

/// Runs until the lanes are closed and empty, or poisoned. A panic poisons: a dead committer must not leave everyone waiting.
pub(super) fn run(mut committer: Committer) {
    let shared = Arc::clone(&committer.shared);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        while let Some(first) = shared.lanes.take(committer.limits().within(PART)) {
            if let Err(error) = committer.commit(first) {
                shared.poison.set(&error);
                return;
            }
        }
        if let Err(error) = committer.close() {
            shared.poison.set(&error);
        }
    }));
    if ended.is_err() {
        shared.poison.set("the committer panicked");
    }
    shared.stop();
    drop(committer);
    shared.end();
}

impl Committer {
    fn limits(&self) -> Limits {
        Limits { items_max: self.shared.settings.group_items_max, bytes_max: self.shared.settings.group_bytes_max }
    }

    /// Commits a group: what was taken, and what else there is until its time is over. An error is one that poisons.
    fn commit(&mut self, first: Vec<Item>) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let before = self.conn.total_changes();
        let mut tx = Tx {
            conn: &self.conn,
            shared: &shared,
            counters: self.counters,
            changes: Vec::with_capacity(first.len()),
            tally: Tally::default(),
            settling: Vec::new(),
            now: shared.clock.now(),
            instant: shared.clock.instant(),
        };
        // Held here so that the poison is set before a caller sees its answer dropped.
        let mut answers = Vec::with_capacity(first.len());
        let committed = write_group(&mut tx, (first, self.limits()), before, &mut answers);
        let Tx { counters, changes, tally, settling, instant, .. } = tx;
        let written = match committed {
            Ok(()) => self.finish(counters, (changes, tally), instant),
            Err(error) => {
                self.give_up(&error, &settling)?;
                return Ok(());
            }
        };
        if let Err(error) = written {
            shared.poison.set(&error);
            return Err(error);
        }
        for answer in answers {
            answer();
        }
        self.tell_heads();
        self.checkpoint()
    }

    /// What follows the sync and precedes the answers.
    fn finish(&mut self, counters: Counters, (changes, tally): (Vec<Change>, Tally), instant: Instant) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        if counters.commits != self.counters.commits {
            self.watermark.write(counters.commits, instant).map_err(|error| format!("writing the high-water mark: {error}"))?;
        }
        self.counters = counters;
        if let Some(reason) = shared.poison.reason() {
            return Err(reason);
        }
        for slot in shared.schedule.apply(counters.commits, changes) {
            shared.inflight.end(slot).map_err(|error| format!("writing the in-flight file: {error}"))?;
        }
        shared.tell_stored(tally);
        shared.tell_waiting();
        Ok(())
    }

    /// A group that failed as a whole: a full disk is told to its callers and goes on, anything else poisons.
    fn give_up(&self, error: &rusqlite::Error, settling: &[Key]) -> Result<(), String> {
        if is_fatal(error) {
            let error = format!("committing: {error}");
            self.shared.poison.set(&error);
            return Err(error);
        }
        if is_full(error) {
            self.shared.room.note_full();
        }
        tracing::warn!(%error, "commit_group_failed");
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK").map_err(|error| format!("rolling back: {error}"))?;
        }
        for leg in settling {
            self.shared.schedule.stop_settling(*leg);
        }
        Ok(())
    }

    /// After the answers: who follows may wait, a sender may not.
    fn tell_heads(&self) {
        let heads = cursors::heads(&self.counters);
        self.shared.heads.send_if_modified(|told| std::mem::replace(told, heads) != heads);
    }

    fn checkpoint(&mut self) -> Result<(), String> {
        let log_bytes = checkpoint::bytes(self.wal_pages.load(Ordering::Relaxed));
        self.shared.checkpoints.log_bytes.store(log_bytes, Ordering::Relaxed);
        if let Some(are_held) = self.holds.look(log_bytes) {
            self.shared.readers.hold(are_held);
        }
        if log_bytes > self.shared.settings.wal_bytes_max {
            checkpoint::passive(&self.conn).map_err(|error| format!("checkpointing: {error}"))
        } else {
            self.shared.checkpoints.note(log_bytes);
            Ok(())
        }
    }

    /// The clean end: everything in the database file, and the marker that says so.
    fn close(&mut self) -> Result<(), String> {
        let failed = |error: rusqlite::Error| format!("closing: {error}");
        self.counters.commits += 1;
        let transaction = self.conn.unchecked_transaction().map_err(failed)?;
        transaction.execute("UPDATE meta SET value = 1 WHERE key = 'clean'", []).map_err(failed)?;
        self.counters.write(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        let (commits, now) = (self.counters.commits, self.shared.clock.instant());
        self.watermark.write(commits, now).and_then(|()| self.watermark.sync(commits, now)).map_err(|error| format!("closing: {error}"))?;
        self.shared.readers.close();
        checkpoint::truncate(&self.conn).map_err(failed)?;
        Ok(())
    }
}

fn write_group(
    tx: &mut Tx<'_>,
    (first, limits): (Vec<Item>, Limits),
    changes_before: u64,
    answers: &mut Vec<Answer>,
) -> rusqlite::Result<()> {
    let until = tx.instant + GROUP_MAX;
    tx.execute("BEGIN IMMEDIATE", [])?;
    let (mut part, mut left) = (first, limits);
    while !part.is_empty() {
        left = left.after(&part);
        for item in part {
            answers.extend(write_item(tx, item)?);
        }
        (tx.now, tx.instant) = (tx.shared.clock.now(), tx.shared.clock.instant());
        part = if tx.instant < until { tx.shared.lanes.more(left.within(PART)) } else { Vec::new() };
    }
    if tx.conn.total_changes() == changes_before {
        tx.execute("ROLLBACK", [])?;
        return Ok(());
    }
    tx.shared.stored.write(tx.conn, &tx.tally)?;
    tx.counters.commits += 1;
    tx.counters.write(tx.conn)?;
    tx.execute("COMMIT", [])?;
    Ok(())
}

/// Runs one item in its savepoint. An error of the item's own is rolled back and already answered; one of the group's is returned.
fn write_item(tx: &mut Tx<'_>, item: Item) -> rusqlite::Result<Option<Answer>> {
    tx.execute("SAVEPOINT item", [])?;
    let (counters, changes, settling, tally) = (tx.counters, tx.changes.len(), tx.settling.len(), tx.tally.mark());
    match (item.job)(tx) {
        Ok(answer) => {
            tx.execute("RELEASE item", [])?;
            Ok(Some(answer))
        }
        Err(error) => {
            if is_fatal(&error) || tx.conn.is_autocommit() {
                return Err(error);
            }
            tx.counters = counters;
            tx.changes.truncate(changes);
            tx.tally.back_to(tally);
            for leg in tx.settling.drain(settling..) {
                tx.shared.schedule.stop_settling(leg);
            }
            tx.execute("ROLLBACK TO item", [])?;
            tx.execute("RELEASE item", [])?;
            Ok(None)
        }
    }
}
