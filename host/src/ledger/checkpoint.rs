//! Moving the write-ahead log into the database file, where it may not be left to `SQLite`.
//!
//! Beside a busy writer a passive checkpoint never quite ends, so the log would grow without end. A thread of its own moves the bulk from
//! 16 MiB on; from `wal_bytes_max` on the committer ends the work between two groups, when nobody writes and the rest is short. An I/O error
//! of either poisons: `SQLite` would retry a failed sync, and the second one "succeeds" without the pages the first one lost.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

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
        // A reader that pins the log makes each round useless: leave the disk some air between them.
        std::thread::sleep(Duration::from_millis(20));
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
