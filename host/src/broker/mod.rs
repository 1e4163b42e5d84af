//! The queue as the pipeline sees it: two narrow traits, implemented by each engine, held to one contract suite.
//!
//! A broker decides nothing about deliveries. It takes an offer and answers when it is durable, lends legs that are ready, takes settlements,
//! and tells how deep its queues are. What becomes of a leg is decided by `work::judge` and only carried out here.

pub mod amqp;
mod embedded;

use std::{future::Future, pin::Pin, time::Instant};

use crate::delivery::{
    LegId, Receipt, TenantId,
    view::{DeadLetterView, Page, QueueView},
};
pub use crate::ledger::{DeadLetterFilter, Finished, Lease, Offer, OfferError, Queue, QueueSet, RunMemory, Settled};

pub use amqp::Amqp;
pub use embedded::Embedded;

/// A future behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The queue is closed or broken, in words for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the queue is not available: {0}")]
pub struct BrokerError(pub String);

/// Which engine a host uses.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The ledger is the queue: one machine.
    Embedded,
    /// RabbitMQ spreads the legs over hosts.
    RabbitMq(Box<amqp::Settings>),
}

/// A durable queue of legs.
pub trait Broker: Send + Sync {
    /// Makes a delivery and its legs durable, or says that it is already here. Returns only when it is known to be on disk (or refused).
    fn offer(&self, offer: Offer, deadline: Instant) -> BoxFuture<'_, Result<Receipt, OfferError>>;

    /// Says which queues can be worked on from now on. Open legs of all others are parked.
    fn serve(&self, queues: QueueSet);

    /// Waits for a leg that is ready, and for the memory and the place that its run needs, and lends it with them. `None` when the broker is
    /// closed. The attempt is on the operating system's side before this returns, so a run that kills the process is known after the restart.
    fn lease(&self) -> BoxFuture<'_, Option<Lease>>;

    /// Takes a leg back: its settlement, its record and its effects become durable together.
    fn settle(&self, lease: Lease, finished: Finished) -> BoxFuture<'_, Result<Settled, BrokerError>>;

    /// The legs of every queue by state.
    fn depth(&self) -> BoxFuture<'_, Result<Vec<QueueView>, BrokerError>>;
}

/// What became of an operator's word about a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterChange {
    /// Done.
    Done,
    /// There is no such dead letter (any more).
    NotFound,
}

/// The dead letters of the queue.
pub trait DeadLetters: Send + Sync {
    /// One page, newest first.
    fn page(
        &self,
        filter: DeadLetterFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<DeadLetterView>, BrokerError>>;

    /// Runs a dead letter again under a new generation: a compare-and-swap, so that of many callers one succeeds.
    fn replay(&self, tenant: TenantId, leg: LegId) -> BoxFuture<'_, Result<DeadLetterChange, BrokerError>>;

    /// Gives a dead letter up.
    fn discard(&self, tenant: TenantId, leg: LegId) -> BoxFuture<'_, Result<DeadLetterChange, BrokerError>>;
}
