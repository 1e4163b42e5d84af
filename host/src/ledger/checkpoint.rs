//! Moving the write-ahead log into the database file, where it may not be left to `SQLite`.
//!
//! Beside a busy writer a passive checkpoint never quite ends, so the log would grow without end. A thread of its own moves the bulk from
//! 16 MiB on; from `wal_bytes_max` on the committer ends the work between two groups, when nobody writes and the rest is short. Even then the
//! log begins anew only if no reader is in it; from twice `wal_bytes_max` on new readers are held until that has happened. An I/O error
//! of either poisons: `SQLite` would retry a failed sync, and the second one "succeeds" without the pages the first one lost.

use std::sync::{Arc, Condvar, Mutex, PoisonError, atomic::AtomicU64};

use rusqlite::Connection;

use super::{Shared, poison::is_fatal};

/// The size of the log from which the thread works.
const BACKGROUND_BYTES: u64 = 16 * 1024 * 1024;
const PAGE_BYTES: u64 = 16 * 1024;

/// What the committer tells the checkpointing thread.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    wanted: Mutex<(bool, bool)>,
    changed: Condvar,
    /// Bytes in the log after the last commit.
    pub(super) log_bytes: AtomicU64,
}

/// When readers are held to let the log begin anew. A hold that did not help (a backup is one long reader) is tried again only when the log
/// has doubled, so that nobody waits again and again for nothing.
#[derive(Debug)]
pub(super) struct Holds {
    wal_bytes_max: u64,
    next_from: u64,
}

impl Holds {
    pub(super) fn new(wal_bytes_max: u64) -> Self {
        Self { wal_bytes_max, next_from: wal_bytes_max.saturating_mul(2) }
    }

    /// Whether readers are to be held or let in again, now that the log has this size; none where that stays as it is.
    pub(super) fn look(&mut self, log_bytes: u64) -> Option<bool> {
        if log_bytes <= self.wal_bytes_max {
            self.next_from = self.wal_bytes_max.saturating_mul(2);
            return Some(false);
        }
        let is_due = log_bytes > self.next_from;
        if is_due {
            self.next_from = log_bytes.saturating_mul(2);
        }
        is_due.then_some(true)
    }
}

impl Checkpoints {
    /// The log has this size now.
    pub(super) fn note(&self, wal_bytes: u64) {
        if wal_bytes > BACKGROUND_BYTES {
            self.wanted.lock().unwrap_or_else(PoisonError::into_inner).0 = true;
            self.changed.notify_one();
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    /// Waits for work; false when stopped.
    fn wait(&self) -> bool {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        while !wanted.0 && !wanted.1 {
            wanted = self.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
        wanted.0 = false;
        !wanted.1
    }
}

/// The thread.
pub(super) fn run(conn: &Connection, shared: &Arc<Shared>) {
    while shared.checkpoints.wait() {
        if let Err(error) = passive(conn) {
            shared.poison.set(&format!("checkpointing: {error}"));
            shared.stop();
            return;
        }
    }
}

/// Moves what can be moved without waiting for anybody. Being busy or full is no error; the log only stays longer.
pub(super) fn passive(conn: &Connection) -> rusqlite::Result<()> {
    match conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        Err(error) if is_fatal(&error) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "checkpoint_put_off");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Moves everything and empties the log; false where a reader was in the way.
pub(super) fn truncate(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
}

/// The size of a log of so many pages.
pub(super) fn bytes(pages: i32) -> u64 {
    u64::try_from(pages).unwrap_or(0) * PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_held_where_the_log_has_doubled_and_let_in_once_it_began_anew() {
        let mut holds = Holds::new(100);
        let looks = [100, 150, 200, 201, 250, 402, 403, 90, 201].map(|bytes| holds.look(bytes));
        let held = Some(true);
        assert_eq!(looks, [Some(false), None, None, held, None, None, held, Some(false), held]);
    }
}
