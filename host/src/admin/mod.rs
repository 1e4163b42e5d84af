//! Read views and few verbs over HTTP, for operators.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    broker::{Broker, DeadLetters},
    catalog::Catalog,
    clock::Clock,
    ledger::Ledger,
    observe::{Observer, Readiness},
    signature::Secret,
    tenants::Tenants,
};

/// How the admin listener is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The bearer token.
    pub token: Secret,
    /// `Host` headers that are answered besides the loopback names and the listening address.
    pub hosts: Vec<String>,
}

/// What the admin listener works with.
#[derive(Clone)]
pub struct Parts {
    /// Deliveries and emits.
    pub ledger: Ledger,
    /// Depths.
    pub broker: Arc<dyn Broker>,
    /// Dead letters.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Plugins.
    pub catalog: Catalog,
    /// Tenants.
    pub tenants: Tenants,
    /// Metrics.
    pub observer: Observer,
    /// Health.
    pub readiness: Readiness,
    /// Dates.
    pub clock: Clock,
}

/// The admin listener, open.
#[derive(Debug)]
pub struct Admin {
    /// Where it listens, with the real port.
    pub address: SocketAddr,
}

impl Admin {
    /// Opens it.
    pub async fn open(settings: Settings, parts: Parts) -> anyhow::Result<Self> {
        let _ = (settings, parts);
        todo!()
    }

    /// Closes it, at most `grace`.
    pub async fn close(self, grace: Duration) {
        let _ = grace;
        todo!()
    }
}
