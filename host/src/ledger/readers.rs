//! Reading beside the committer: a few read-only connections, each read interrupted when it takes too long.
//!
//! A reader that stays pins the write-ahead log, which then grows until the disk is full; so no read may outlive its bound, and a page is
//! one read. But readers that overlap pin the log, too, however short each is: it begins anew only while nobody reads in it. So where it
//! has grown far beyond its size, new readers wait until those in it are done. What a reader sees is synced: `SQLite` shows a commit only
//! after its log was.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::Connection;

use super::{
    LedgerError,
    poison::{Poison, is_fatal},
    schema,
};
use crate::clock::Clock;

/// Connections beside those that take their turn: for a key that a guest reads on its own thread. Such a read is short, and never waits for a long one.
const CONNECTIONS_OF_GUESTS: usize = 2;
/// How long a read may take.
pub(super) const READ_MAX: Duration = Duration::from_secs(1);
/// Virtual machine steps between two looks at the clock, some 50 µs.
const STEPS_PER_LOOK: i32 = 4000;

/// How long a reader waits at most for others to leave the log; they take [`READ_MAX`].
const HOLD_MAX: Duration = Duration::from_secs(2);

/// The pool.
#[derive(Debug)]
pub(super) struct Readers {
    places: Mutex<Places>,
    returned: Condvar,
    clock: Clock,
    poison: Arc<Poison>,
}

#[derive(Debug)]
struct Places {
    /// None when closed.
    idle: Option<Vec<Connection>>,
    /// New readers wait.
    are_held: bool,
}

/// A connection on its way back, also when the read panics.
struct Borrowed<'a> {
    pool: &'a Readers,
    conn: Option<Connection>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.pool.give_back(conn);
        }
    }
}

impl Readers {
    /// Opens the connections: one for each of `reads_max` that have a turn at once, and those of guests.
    pub(super) fn open(path: &Path, reads_max: u64, clock: Clock, poison: Arc<Poison>) -> rusqlite::Result<Self> {
        let connections = usize::try_from(reads_max).unwrap_or(usize::MAX).saturating_add(CONNECTIONS_OF_GUESTS);
        let idle = (0..connections).map(|_| schema::open_reader(path)).collect::<Result<_, _>>()?;
        Ok(Self { places: Mutex::new(Places { idle: Some(idle), are_held: false }), returned: Condvar::new(), clock, poison })
    }

    /// Runs `read` on one of them, for `bound` at most. Blocking.
    pub(super) fn read<T>(&self, bound: Duration, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        self.poison.check()?;
        let mut borrowed = Borrowed { pool: self, conn: Some(self.borrow()?) };
        let Some(conn) = borrowed.conn.as_mut() else { return Err(LedgerError::Failed("no connection".to_owned())) };
        let (clock, until) = (self.clock.clone(), self.clock.instant() + bound);
        let result = conn.progress_handler(STEPS_PER_LOOK, Some(move || clock.instant() >= until)).and_then(|()| read(conn));
        drop(borrowed);
        result.map_err(|error| self.explain(&error, bound))
    }

    /// Lets no new reader in, so that the log can begin anew once those in it are done; or lets them in again.
    pub(super) fn hold(&self, are_held: bool) {
        if std::mem::replace(&mut self.places().are_held, are_held) != are_held {
            self.returned.notify_all();
        }
    }

    /// Closes them; reads under way end first.
    pub(super) fn close(&self) {
        self.places().idle = None;
        self.returned.notify_all();
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn borrow(&self) -> Result<Connection, LedgerError> {
        let held = |places: &mut Places| places.are_held && places.idle.is_some();
        let waited = self.returned.wait_timeout_while(self.places(), HOLD_MAX, held).unwrap_or_else(PoisonError::into_inner);
        let mut places = waited.0;
        loop {
            let Some(connections) = places.idle.as_mut() else { return Err(LedgerError::Failed("the ledger is closed".to_owned())) };
            if let Some(conn) = connections.pop() {
                return Ok(conn);
            }
            places = self.returned.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, conn: Connection) {
        let mut places = self.places();
        if let Some(idle) = places.idle.as_mut() {
            idle.push(conn);
        }
        drop(places);
        // Whoever is woken may be one that is held: it must not swallow the word for another.
        self.returned.notify_all();
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
