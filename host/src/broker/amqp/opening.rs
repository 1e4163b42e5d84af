//! Unpacking documents, within one budget for all messages of the host.
//!
//! A few kilobytes of message may be a document of many megabytes, and a host holds hundreds of messages at once. So no document is unpacked
//! before its bytes were taken from a budget that all queues share, and they are given back when the ledger has the leg: what waits for its turn
//! to run waits on disk, or in the ledger's own cache, which has a bound of its own.

use std::sync::Arc;

use super::{
    envelope::{Decoder, Genuine, Unreadable},
    rejection::Rejection,
};
use crate::{
    ledger::Arrival,
    shares::{Held, Holder, Resource, Shares},
};

/// A larger document is unpacked and hashed where it delays nobody.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Opens messages.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) decoder: Arc<Decoder>,
    shares: Shares,
}

/// A leg that was unpacked, and its part of the budget.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) arrival: Arrival,
    /// Given back when the leg is in the ledger.
    pub(super) held: Held,
}

impl Opening {
    pub(super) fn new(decoder: Arc<Decoder>, shares: Shares) -> Self {
        Self { decoder, shares }
    }

    /// The leg of a genuine message, as soon as there is room for its document.
    pub(super) async fn open(&self, genuine: &Genuine) -> Result<Opened, Unreadable> {
        let packed = self.decoder.read(genuine)?;
        let bytes = packed.document_bytes();
        let held = self.shares.pool(Resource::OpenedBytes).take(&Holder::Host, bytes as u64).await;
        let arrival = if bytes <= INLINE_BYTES_MAX {
            self.decoder.unpack(packed)?
        } else {
            let decoder = Arc::clone(&self.decoder);
            // The host's thread: who waits for a tenant's would hold a part of everybody's budget meanwhile.
            let threads = self.shares.threads(Holder::Host);
            let unpacked = threads.run(move || decoder.unpack(packed)).await;
            unpacked.map_err(|_| Rejection::DocumentMismatch)??
        };
        Ok(Opened { arrival, held })
    }
}
