//! Deliveries that were just accepted, kept for whoever takes them next, a worker or the relay, so that the usual body is never read back.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{lend::Loaded, schedule::Key};
use crate::delivery::Delivery;

/// A delivery that was just accepted.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) delivery: Arc<Delivery>,
    /// Its document as it is stored, where the relay will want it: compressed once, for the row and for every message.
    pub(super) compressed: Option<Bytes>,
}

/// The cache: one reference a leg. What does not fit is not kept; who takes it reads it from the database.
#[derive(Debug, Default)]
pub(super) struct BodyCache {
    legs: HashMap<Key, Fresh>,
    bytes: usize,
    bytes_max: usize,
}

/// What came with legs from RabbitMQ, until they are lent: as many bytes as the cache, apart from it. What does not fit is read from the database
/// like everything else; its row was written before it is told here.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    legs: HashMap<Key, Box<Loaded>>,
    bytes: usize,
    bytes_max: usize,
}

impl Arrivals {
    /// Room for so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Keeps what came with a leg, if there is room.
    pub(super) fn put(&mut self, leg: Key, loaded: Box<Loaded>) {
        self.take(leg);
        let bytes = Self::bytes(&loaded);
        if self.bytes + bytes <= self.bytes_max {
            self.bytes += bytes;
            self.legs.insert(leg, loaded);
        }
    }

    /// Bytes of the document that came with a leg, where it is still here.
    pub(super) fn document_bytes(&self, leg: Key) -> Option<u64> {
        self.legs.get(&leg).map(|loaded| loaded.delivery.document.len() as u64)
    }

    /// Hands over what came with a leg, or forgets it.
    pub(super) fn take(&mut self, leg: Key) -> Option<Box<Loaded>> {
        let loaded = self.legs.remove(&leg)?;
        self.bytes -= Self::bytes(&loaded);
        Some(loaded)
    }

    fn bytes(loaded: &Loaded) -> usize {
        loaded.delivery.document.len() + 1024
    }
}

impl BodyCache {
    /// A cache of so many bytes. A delivery for several plugins counts once for each.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Keeps a delivery for a leg, if there is room.
    pub(super) fn put(&mut self, leg: Key, fresh: Fresh) {
        let bytes = fresh.bytes();
        if self.bytes + bytes <= self.bytes_max {
            self.bytes += bytes;
            self.legs.insert(leg, fresh);
        }
    }

    /// Hands a leg's delivery over.
    pub(super) fn take(&mut self, leg: Key) -> Option<Fresh> {
        let fresh = self.legs.remove(&leg)?;
        self.bytes -= fresh.bytes();
        Some(fresh)
    }

    /// Makes room: nobody will run this queue's legs soon.
    pub(super) fn drop_queue(&mut self, queue: i64) {
        let dropped: Vec<Key> = self.legs.keys().filter(|(_, of)| *of == queue).copied().collect();
        for leg in dropped {
            self.take(leg);
        }
    }
}

impl Fresh {
    /// Document, its compressed form, raw form and the fields beside them.
    fn bytes(&self) -> usize {
        let Self { delivery, compressed } = self;
        let beside = [&delivery.raw, compressed].into_iter().flatten().map(Bytes::len).sum::<usize>();
        delivery.document.len() + beside + 1024
    }
}
