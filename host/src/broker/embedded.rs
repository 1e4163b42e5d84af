//! The embedded engine: the ledger itself is the queue.

use std::time::Instant;

use super::{
    BoxFuture, Broker, BrokerError, DeadLetterChange, DeadLetterFilter, DeadLetters, Finished, Lease, Offer, OfferError, QueueSet, Settled,
};
use crate::{
    delivery::{
        LegId, Receipt, TenantId,
        view::{DeadLetterView, Page, QueueView},
    },
    ledger::{Ledger, LedgerError, LegChange},
};

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

impl Broker for Embedded {
    fn offer(&self, offer: Offer, deadline: Instant) -> BoxFuture<'_, Result<Receipt, OfferError>> {
        Box::pin(self.0.offer(offer, deadline))
    }

    fn serve(&self, queues: QueueSet) {
        self.0.serve(queues);
    }

    fn lease(&self) -> BoxFuture<'_, Option<Lease>> {
        Box::pin(self.0.lease())
    }

    fn settle(&self, lease: Lease, finished: Finished) -> BoxFuture<'_, Result<Settled, BrokerError>> {
        Box::pin(async { self.0.settle(lease, finished).await.map_err(BrokerError::from) })
    }

    fn depth(&self) -> BoxFuture<'_, Result<Vec<QueueView>, BrokerError>> {
        Box::pin(async { self.0.queues().await.map_err(BrokerError::from) })
    }
}

impl DeadLetters for Embedded {
    fn page(
        &self,
        filter: DeadLetterFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<DeadLetterView>, BrokerError>> {
        Box::pin(async move { self.0.dead_letters(filter, cursor, limit).await.map_err(BrokerError::from) })
    }

    fn replay(&self, tenant: TenantId, leg: LegId) -> BoxFuture<'_, Result<DeadLetterChange, BrokerError>> {
        Box::pin(async move { Ok(self.0.rerun(&tenant, &leg, false).await?.into()) })
    }

    fn discard(&self, tenant: TenantId, leg: LegId) -> BoxFuture<'_, Result<DeadLetterChange, BrokerError>> {
        Box::pin(async move { Ok(self.0.discard(&tenant, &leg).await?.into()) })
    }
}

impl From<LedgerError> for BrokerError {
    fn from(error: LedgerError) -> Self {
        Self(error.to_string())
    }
}

impl From<LegChange> for DeadLetterChange {
    fn from(change: LegChange) -> Self {
        match change {
            LegChange::Done => Self::Done,
            LegChange::NotFound => Self::NotFound,
        }
    }
}
