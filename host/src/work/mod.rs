//! From a lease to its settlement.

use std::{sync::Arc, time::Duration};

use crate::{broker::Broker, catalog::Catalog, clock::Clock, ledger::Ledger, observe::Observer, runtime::Runtime};

/// How the workers are set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Runs at once.
    pub concurrency_max: usize,
    /// Threads that run guests, apart from those of ingest.
    pub threads: usize,
}

/// What the workers work with.
#[derive(Clone)]
pub struct Parts {
    /// Lends and takes back.
    pub broker: Arc<dyn Broker>,
    /// Knows the plugins.
    pub catalog: Catalog,
    /// Runs them.
    pub runtime: Runtime,
    /// Behind the live gate.
    pub ledger: Ledger,
    /// Is told.
    pub observer: Observer,
    /// Dates.
    pub clock: Clock,
}

/// The workers, running.
#[derive(Debug)]
pub struct Workers {}

impl Workers {
    /// Starts them on a runtime of their own.
    pub fn start(settings: &Settings, parts: Parts) -> anyhow::Result<Self> {
        let _ = (settings, parts);
        todo!()
    }

    /// Leases no more, lets runs finish, at most `grace`; returns the legs that did not.
    pub async fn stop(self, grace: Duration) -> Vec<crate::delivery::LegId> {
        let _ = grace;
        todo!()
    }
}
