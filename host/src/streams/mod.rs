//! Streaming onward: what is accepted, and what plugins emit, is followed by other systems.
//!
//! Each stream is one task with one durable cursor. It reads what is synced in the ledger, a bounded portion at a time, publishes it, and moves
//! its cursor when the other side has confirmed. So each stream delivers at least once and in order, holds one portion in memory, and may be
//! away for days: the door never waits for it, because the accept path does not know of it. What ends the promise is said in
//! `docs/streams.md`: the bound up to which retention waits, and whatever the other side throws away.

mod envelope;
mod events;
mod follow;
mod outlet;
mod place;
mod rabbitmq;
mod record;
mod redis;
mod template;

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    catalog,
    clock::Clock,
    delivery::{StreamName, TenantId},
    ledger::{Followed, Ledger, LedgerError, StreamStart},
    observe::{Observer, StreamBoard},
    tasks::Tasks,
};

pub use envelope::Envelope;
pub use outlet::{OutletSettings, OutletTls};
pub use rabbitmq::RabbitmqSettings;
pub use redis::{RedisSettings, check as check_redis};
pub use template::Template;

/// Whose deliveries and emits leave the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptIn {
    /// Every tenant's.
    Everyone,
    /// Only these tenants'.
    Only(BTreeSet<TenantId>),
}

impl OptIn {
    fn takes(&self, tenant: &TenantId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(tenants) => tenants.contains(tenant),
        }
    }

    /// Whether more than one tenant may be in it.
    #[must_use]
    pub fn mixes_tenants(&self) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(tenants) => tenants.len() > 1,
        }
    }
}

/// One stream as the operator set it up.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// Its name: that of its cursor, its metrics and its words.
    pub name: StreamName,
    /// What it follows.
    pub followed: Followed,
    /// Where it begins when it is new.
    pub start: StreamStart,
    /// Whose.
    pub opt_in: OptIn,
    /// Subscriptions such as `push` or `pull_request.opened`; every event where it is empty. For deliveries only.
    pub events: Vec<String>,
    /// How each is wrapped.
    pub envelope: Envelope,
    /// Where it goes.
    pub outlet: OutletSettings,
}

impl StreamSettings {
    fn takes(&self, tenant: &TenantId, event: &str, action: Option<&str>) -> bool {
        self.opt_in.takes(tenant) && (self.events.is_empty() || self.events.iter().any(|pattern| catalog::matches(pattern, event, action)))
    }
}

/// What streams work with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What is followed.
    pub ledger: Ledger,
    /// Facts.
    pub observer: Observer,
    /// Where each stream says how it does.
    pub board: StreamBoard,
    /// Time.
    pub clock: Clock,
}

/// Gives every stream its cursor and starts it. Retention waits for these streams from now on, and for no others.
///
/// # Errors
/// The ledger does not take the cursors.
pub async fn start(streams: &[StreamSettings], parts: &Parts, tasks: &Tasks) -> Result<(), LedgerError> {
    parts.ledger.follow(streams.iter().map(|stream| (stream.name.clone(), stream.followed, stream.start)).collect()).await?;
    for stream in streams {
        let follower = follow::Follower { stream: Arc::new(stream.clone()), parts: parts.clone() };
        let stop = tasks.clone();
        tasks.spawn("stream", async move { follower.run(&stop).await });
    }
    Ok(())
}
