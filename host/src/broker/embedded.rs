//! The embedded engine: the ledger itself is the queue.

use crate::ledger::Ledger;

/// The queue of one machine.
#[derive(Clone, Debug)]
pub struct Embedded(Ledger);

impl Embedded {
    /// A queue on this ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }
}
