//! What the relay knows of plugins' queues: which were found or made, and how often each refused in a row.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::watching::NAMED_MAX;

/// The first wait of a queue that refused, doubled by each refusal in a row.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// The longest: a queue that has room again is used soon.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// The queues, by name.
#[derive(Debug, Default)]
pub(super) struct Queues {
    known: Mutex<HashMap<String, Known>>,
    /// Those that may drop what they have confirmed. Apart from `known`: a queue may be named here before anything else is known of it, and
    /// whether one drops is asked with names out of messages, which must not be kept.
    dropping: Mutex<BTreeSet<String>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    is_laid: bool,
    refusals: u32,
    /// Why it cannot be used, by the broker's own word.
    unusable: Option<String>,
}

impl Queues {
    fn with<T>(&self, queue: &str, act: impl FnOnce(&mut Known) -> T) -> T {
        act(self.known().entry(queue.to_owned()).or_default())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dropping(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.dropping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was found or made on this connection.
    pub(super) fn is_laid(&self, queue: &str) -> bool {
        self.with(queue, |known| known.is_laid)
    }

    /// It is there.
    pub(super) fn laid(&self, queue: &str) {
        self.with(queue, |known| known.is_laid = true);
    }

    /// It cannot be made or used, or it can again. Gives what is to be said of all such queues; none where there is none.
    pub(super) fn unusable(&self, queue: &str, why: Option<String>) -> Option<String> {
        self.with(queue, |known| known.unusable = why);
        let queues = self.known();
        let all: BTreeSet<&str> = queues.values().filter_map(|known| known.unusable.as_deref()).collect();
        let more = all.len().saturating_sub(NAMED_MAX);
        let named = all.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join("; ");
        match (named.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(named),
            (false, more) => Some(format!("{named}; and {more} more")),
        }
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

    /// These may drop what they have confirmed, by the broker's own word; all others may not.
    pub(super) fn may_drop(&self, names: BTreeSet<String>) {
        *self.dropping() = names;
    }

    /// Whether it may drop what it has confirmed, and must not be given anything.
    pub(super) fn drops(&self, queue: &str) -> bool {
        self.dropping().contains(queue)
    }

    /// Those that anything is known of.
    pub(super) fn names(&self) -> Vec<String> {
        self.known().keys().cloned().collect()
    }

    /// The broker may be another one now, or have lost a queue: looks again before the next publish.
    pub(super) fn forget(&self) {
        self.known().values_mut().for_each(|known| known.is_laid = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_drops_is_one_before_anything_else_is_known_of_it() {
        let queues = Queues::default();
        queues.may_drop(BTreeSet::from(["a".to_owned()]));
        assert!(queues.drops("a") && !queues.drops("b"));
        assert!(queues.names().is_empty(), "a question adds no queue");
        queues.may_drop(BTreeSet::new());
        assert!(!queues.drops("a"));
    }
}
