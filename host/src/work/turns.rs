//! Turns: runs of one plugin that have something in common do not overlap.
//!
//! A leg waits for its turn as one of its plugin's runs at once, so that who waits takes no more of the host than who runs: another plugin has
//! as many slots left as before. Its lease goes on meanwhile, nothing of it is settled, and a crash finds it where it was. Who came first
//! goes first; there is a longest wait, far below a lease's. Of the memory that was taken for its run it keeps meanwhile what its delivery is in, and takes
//! the rest anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::OwnedMutexGuard;

use crate::delivery::Digest;

/// The longest wait; then the leg goes back, uncounted, and waits in its queue.
pub(super) const WAIT_MAX: Duration = Duration::from_mins(10);

/// The turns that are taken or waited for.
#[derive(Debug)]
pub(super) struct Turns {
    wait_max: Duration,
    held: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

/// Until it is dropped, no other run has the same key.
#[derive(Debug)]
pub(super) struct Turn {
    _alone: OwnedMutexGuard<()>,
}

impl Turns {
    /// Nobody's turn yet.
    pub(super) fn new(wait_max: Duration) -> Self {
        Self { wait_max, held: Mutex::default() }
    }

    /// Takes the turn where nobody has it or waits for it.
    pub(super) fn try_take(&self, key: Digest) -> Option<Turn> {
        Some(Turn { _alone: self.of(key).try_lock_owned().ok()? })
    }

    /// Waits for the turn; none where it did not come in time.
    pub(super) async fn take(&self, key: Digest) -> Option<Turn> {
        let turn = self.of(key).lock_owned();
        Some(Turn { _alone: tokio::time::timeout(self.wait_max, turn).await.ok()? })
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    fn of(&self, key: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // No more than there are runs at once, and one that has just ended.
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(key, Arc::downgrade(&turn));
        turn
    }
}
