//! What a run takes turns by, where that must be read out of its document.
//!
//! A small document is read on the spot. A large one takes tens of milliseconds, which nobody else may wait for: it is read on a thread of the
//! slow lane, in a fair turn between tenants, and what was found is kept for a while, because a leg may be tried again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    catalog::SerializeBy,
    delivery::{Delivery, DeliveryId, Digest},
    shares::{Holder, Pool},
    tasks::Tasks,
};

/// What is read on the spot: a tenth of a millisecond.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Keys of large documents that are kept; the oldest go.
const KEPT_MAX: usize = 256;

/// Reads keys, and knows the latest.
#[derive(Debug)]
pub(super) struct Keys {
    threads: Handle,
    tasks: Tasks,
    turns: Pool,
    kept: Mutex<VecDeque<(DeliveryId, SerializeBy, Digest)>>,
}

impl Keys {
    /// Reads on these threads, in turns of this pool.
    pub(super) fn new(threads: Handle, tasks: Tasks, turns: Pool) -> Self {
        Self { threads, tasks, turns, kept: Mutex::default() }
    }

    /// The key of a delivery.
    pub(super) async fn of(&self, by: &SerializeBy, delivery: &Arc<Delivery>) -> Digest {
        if by.bytes_to_read(delivery) <= SMALL_BYTES_MAX {
            return by.key(delivery);
        }
        if let Some((.., key)) = self.kept().iter().find(|(id, which, _)| *id == delivery.id && which == by) {
            return *key;
        }
        let turn = self.turns.take(&Holder::tenant(&delivery.tenant), 1).await;
        let key = self.read(by.clone(), Arc::clone(delivery)).await;
        drop(turn);
        let mut kept = self.kept();
        kept.truncate(KEPT_MAX - 1);
        kept.push_front((delivery.id, by.clone(), key));
        key
    }

    async fn read(&self, by: SerializeBy, delivery: Arc<Delivery>) -> Digest {
        let (sender, read) = oneshot::channel();
        {
            let _entered = self.threads.enter();
            self.tasks.spawn("serialize_by", async move {
                // Whoever waited may be gone with the host.
                let _ = sender.send(by.key(&delivery));
            });
        }
        match read.await {
            Ok(key) => key,
            // The threads were taken away: nobody goes on from here.
            Err(_) => std::future::pending().await,
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(DeliveryId, SerializeBy, Digest)>> {
        // Entries are whole; a panic elsewhere cannot have left one half written.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::doubles, *};
    use crate::{
        shares::{Resource, Shares},
        work::guest_runtime,
    };

    #[tokio::test]
    async fn a_large_document_is_read_aside_and_once() {
        let slow = guest_runtime("slow", 1, || {}).unwrap();
        let pool = Shares::default().pool(Resource::SlowLane).clone();
        let keys = Keys::new(slow.handle().clone(), Tasks::new(), pool.clone());
        let by: SerializeBy = "/check_run/head_sha".parse().unwrap();
        let document = |sha: &str, bytes: usize| format!("{{\"x\":\"{}\",\"check_run\":{{\"head_sha\":\"{sha}\"}}}}", "y".repeat(bytes));
        let delivery = |number: u8, document: String| {
            Arc::new(Delivery { document: document.into(), ..Delivery::clone(&doubles::lease(number).delivery) })
        };
        let (large, small) = (delivery(1, document("a", SMALL_BYTES_MAX)), delivery(2, document("a", 10)));
        assert_eq!(keys.of(&by, &large).await, keys.of(&by, &small).await);
        assert_eq!(keys.kept().len(), 1, "only the large one is worth keeping");
        // Were it read again, it would be another one.
        let changed = Arc::new(Delivery { document: document("b", SMALL_BYTES_MAX).into(), ..Delivery::clone(&large) });
        assert_eq!(keys.of(&by, &changed).await, by.key(&large));
        for number in 3..=255 {
            keys.of(&by, &delivery(number, document("c", SMALL_BYTES_MAX))).await;
        }
        assert!(keys.kept().len() <= KEPT_MAX && pool.used().is_empty());
        slow.shutdown_background();
    }
}
