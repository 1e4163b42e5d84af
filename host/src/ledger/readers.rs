//! Reading beside the committer: a few read-only connections, each read interrupted when it takes too long.
//!
//! A reader that stays pins the write-ahead log, which then grows until the disk is full; so no read may outlive its bound, and a page is
//! one read. What a reader sees is synced: `SQLite` shows a commit only after its log was.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::Connection;

use super::{
    LedgerError,
    poison::{Poison, is_fatal},
    schema,
};
use crate::clock::Clock;

/// Reads at once.
const CONNECTIONS: usize = 4;
/// How long a read may take.
pub(super) const READ_MAX: Duration = Duration::from_secs(1);
/// Virtual machine steps between two looks at the clock, some 50 µs.
const STEPS_PER_LOOK: i32 = 4000;

/// The pool.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Option<Vec<Connection>>>,
    returned: Condvar,
    clock: Clock,
    poison: Arc<Poison>,
}

impl Readers {
    /// Opens the connections.
    pub(super) fn open(path: &Path, clock: Clock, poison: Arc<Poison>) -> rusqlite::Result<Self> {
        let idle = (0..CONNECTIONS).map(|_| schema::open_reader(path)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Mutex::new(Some(idle)), returned: Condvar::new(), clock, poison })
    }

    /// Runs `read` on one of them, for `bound` at most. Blocking.
    pub(super) fn read<T>(&self, bound: Duration, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        self.poison.check()?;
        let mut conn = self.borrow()?;
        let (clock, until) = (self.clock.clone(), self.clock.instant() + bound);
        let result = conn.progress_handler(STEPS_PER_LOOK, Some(move || clock.instant() >= until)).and_then(|()| read(&conn));
        self.give_back(conn);
        result.map_err(|error| self.explain(&error, bound))
    }

    /// Closes them; reads under way end first.
    pub(super) fn close(&self) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.returned.notify_all();
    }

    fn borrow(&self) -> Result<Connection, LedgerError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(connections) = idle.as_mut() else { return Err(LedgerError::Failed("the ledger is closed".to_owned())) };
            if let Some(conn) = connections.pop() {
                return Ok(conn);
            }
            idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, conn: Connection) {
        if let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            idle.push(conn);
        }
        self.returned.notify_one();
    }

    fn explain(&self, error: &rusqlite::Error, bound: Duration) -> LedgerError {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) {
            return LedgerError::Interrupted(bound);
        }
        if is_fatal(error) {
            self.poison.set(&format!("reading: {error}"));
            return LedgerError::Poisoned(error.to_string());
        }
        LedgerError::Failed(error.to_string())
    }
}
