//! Deliveries that were just accepted, kept for the worker that is about to run them, so that the usual body is never read back.

use std::{collections::HashMap, sync::Arc};

use super::schedule::Key;
use crate::delivery::Delivery;

/// The cache: one reference a leg. What does not fit is not kept; the worker reads it from the database.
#[derive(Debug, Default)]
pub(super) struct BodyCache {
    legs: HashMap<Key, Arc<Delivery>>,
    bytes: usize,
    bytes_max: usize,
}

impl BodyCache {
    /// A cache of so many bytes. A delivery for several plugins counts once for each.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Keeps a delivery for a leg, if there is room.
    pub(super) fn put(&mut self, leg: Key, delivery: Arc<Delivery>) {
        let bytes = size(&delivery);
        if self.bytes + bytes <= self.bytes_max {
            self.bytes += bytes;
            self.legs.insert(leg, delivery);
        }
    }

    /// Hands a leg's delivery over.
    pub(super) fn take(&mut self, leg: Key) -> Option<Arc<Delivery>> {
        let delivery = self.legs.remove(&leg)?;
        self.bytes -= size(&delivery);
        Some(delivery)
    }

    /// Makes room: nobody will run this queue's legs soon.
    pub(super) fn drop_queue(&mut self, queue: i64) {
        let dropped: Vec<Key> = self.legs.keys().filter(|(_, of)| *of == queue).copied().collect();
        for leg in dropped {
            self.take(leg);
        }
    }
}

/// Document, raw form and the fields beside them.
fn size(delivery: &Delivery) -> usize {
    delivery.document.len() + delivery.raw.as_ref().map_or(0, bytes::Bytes::len) + 1024
}
