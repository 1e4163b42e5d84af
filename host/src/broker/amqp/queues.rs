//! What the relay knows of plugins' queues: which were found or made, and how often each refused in a row.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The first wait of a queue that refused, doubled by each refusal in a row.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// The longest: a queue that has room again is used soon.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// The queues, by name.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<HashMap<String, Known>>);

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    is_laid: bool,
    refusals: u32,
}

impl Queues {
    fn with<T>(&self, queue: &str, act: impl FnOnce(&mut Known) -> T) -> T {
        act(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(queue.to_owned()).or_default())
    }

    /// Whether it was found or made on this connection.
    pub(super) fn is_laid(&self, queue: &str) -> bool {
        self.with(queue, |known| known.is_laid)
    }

    /// It is there.
    pub(super) fn laid(&self, queue: &str) {
        self.with(queue, |known| known.is_laid = true);
    }

    /// It took a message.
    pub(super) fn took(&self, queue: &str) {
        self.with(queue, |known| known.refusals = 0);
    }

    /// It refused once more: how long to leave it alone.
    pub(super) fn refused(&self, queue: &str) -> Duration {
        self.with(queue, |known| {
            known.refusals = (known.refusals + 1).min(16);
            BACK_OFF_MIN.saturating_mul(1 << (known.refusals - 1)).min(BACK_OFF_MAX)
        })
    }

    /// The broker may be another one now, or have lost a queue: looks again before the next publish.
    pub(super) fn forget(&self) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.values_mut().for_each(|known| known.is_laid = false);
    }
}
