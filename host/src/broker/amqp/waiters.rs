//! Senders that are answered only when RabbitMQ has confirmed every leg (`ack_after = "broker"`).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Notify, futures::Notified};

use crate::delivery::{DeliveryId, LegId, PluginName};

/// What is known of the legs of one delivery since somebody waits for it.
#[derive(Debug, Default)]
pub(super) struct Legs {
    /// By plugin: a leg may be confirmed twice, where its mark could not be made.
    confirmed: Mutex<BTreeSet<PluginName>>,
    refused: AtomicBool,
    changed: Notify,
}

/// The deliveries somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<DeliveryId, Arc<Legs>>>);

/// Somebody who waits; from before the offer, so that no confirm is missed.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    waiters: &'a Waiters,
    id: DeliveryId,
    legs: Arc<Legs>,
}

impl Waiters {
    /// Begins to count.
    pub(super) fn wait_for(&self, id: DeliveryId) -> Waiting<'_> {
        let legs = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default());
        Waiting { waiters: self, id, legs }
    }

    fn tell(&self, id: DeliveryId, what: impl FnOnce(&Legs)) {
        let legs = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(legs) = legs {
            what(&legs);
            legs.changed.notify_waiters();
        }
    }

    /// RabbitMQ has confirmed a leg.
    pub(super) fn confirmed(&self, leg: &LegId) {
        self.tell(leg.delivery, |legs| _ = legs.confirmed().insert(leg.plugin.clone()));
    }

    /// The ledger has noted that a leg was confirmed: who waits for rows looks again.
    pub(super) fn marked(&self, id: DeliveryId) {
        self.tell(id, |_| {});
    }

    /// A leg was refused: it is kept here, and nobody knows how long.
    pub(super) fn refused(&self, id: DeliveryId) {
        self.tell(id, |legs| legs.refused.store(true, Ordering::Release));
    }
}

impl Legs {
    fn confirmed(&self) -> MutexGuard<'_, BTreeSet<PluginName>> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// Waits for so many confirms; false where a leg was refused.
    pub(super) async fn all(&self, legs: usize) -> bool {
        loop {
            let changed = self.legs.changed.notified();
            if self.legs.confirmed().len() >= legs {
                return true;
            }
            if self.legs.refused.load(Ordering::Acquire) {
                return false;
            }
            changed.await;
        }
    }

    /// The next news of the delivery, counted from this call.
    pub(super) fn news(&self) -> Notified<'_> {
        self.legs.changed.notified()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiters = self.waiters.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Two: this one and the map's.
        if Arc::strong_count(&self.legs) <= 2 {
            waiters.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn confirms_count_from_before_the_wait_and_a_refusal_ends_it() {
        let waiters = Waiters::default();
        let id = DeliveryId::from_bytes([1; 16]);
        let leg = |plugin: &str| LegId { delivery: id, plugin: plugin.parse().unwrap() };
        waiters.confirmed(&leg("a"));
        let waiting = waiters.wait_for(id);
        waiters.confirmed(&leg("b"));
        waiters.confirmed(&leg("c"));
        assert!(waiting.all(2).await);
        waiters.refused(id);
        assert!(!waiting.all(3).await);
        drop(waiting);
        assert!(waiters.0.lock().unwrap().is_empty(), "nobody waits, nothing is kept");
    }

    #[tokio::test]
    async fn a_leg_that_is_confirmed_twice_does_not_stand_for_its_sibling() {
        let waiters = Waiters::default();
        let id = DeliveryId::from_bytes([1; 16]);
        let leg = |plugin: &str| LegId { delivery: id, plugin: plugin.parse().unwrap() };
        let waiting = waiters.wait_for(id);
        waiters.confirmed(&leg("a"));
        waiters.confirmed(&leg("a"));
        waiters.refused(id);
        assert!(!waiting.all(2).await);
        waiters.confirmed(&leg("b"));
        assert!(waiting.all(2).await);
    }
}
