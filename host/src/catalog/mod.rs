//! The set of loaded plugins: watch, admit, swap, keep the last good version.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    clock::Clock,
    delivery::{Digest, PluginName, RetryPolicy, SourceId, TenantId, Timestamp, view::PluginView},
    ledger::{Ledger, QueueSet},
    observe::Observer,
    runtime::{Component, Runtime},
    tasks::Tasks,
    tenants::{Budget, Tenants},
};

/// How the catalog watches.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of `<tenant>/plugins/<name>.{wasm,toml}`.
    pub tenants_dir: PathBuf,
    /// How long files must be quiet before they are read.
    pub settle: Duration,
    /// How often everything is looked at without being told.
    pub rescan: Duration,
    /// Plugins a tenant may have.
    pub plugins_max: usize,
    /// The host's ceiling of every budget.
    pub ceiling: Budget,
    /// A budget where a manifest says nothing.
    pub default_budget: Budget,
}

/// One loaded plugin version. In-flight runs keep theirs while the table is swapped.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: PluginName,
    /// The version: component and manifest together.
    pub digest: Digest,
    /// Sources it subscribes to.
    pub sources: Vec<SourceId>,
    /// Events it subscribes to: `*`, `push`, `pull_request.opened`.
    pub events: Vec<String>,
    /// The `[config]` table.
    pub config: Arc<serde_json::Value>,
    /// What one run may spend: manifest ∧ tenant ∧ host.
    pub budget: Budget,
    /// When and how often it is retried.
    pub retry: RetryPolicy,
    /// Runs at once.
    pub concurrency_max: usize,
    /// The code.
    pub component: Component,
    /// Since when it serves.
    pub since: Timestamp,
}

/// The catalog; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog(Arc<()>);

impl Catalog {
    /// An empty catalog.
    #[must_use]
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let _ = (settings, parts);
        todo!()
    }

    /// Loads everything that is there: the last good versions from the ledger first, then the files. Returns when the first full scan is done.
    pub async fn load(&self) {
        todo!()
    }

    /// Starts watching.
    pub fn watch(&self, tasks: &Tasks) {
        let _ = tasks;
        todo!()
    }

    /// Which plugins are subscribed to this, sorted. Loaded or not: a subscription outlives a bad file.
    #[must_use]
    pub fn route(&self, tenant: &TenantId, source: &SourceId, event: &str, action: Option<&str>) -> Vec<PluginName> {
        let _ = (tenant, source, event, action);
        todo!()
    }

    /// The version that serves now.
    #[must_use]
    pub fn plugin(&self, tenant: &TenantId, name: &PluginName) -> Option<Arc<Plugin>> {
        let _ = (tenant, name);
        todo!()
    }

    /// The queues that can be worked on now, and a receiver that changes whenever they do.
    #[must_use]
    pub fn queues(&self) -> watch::Receiver<QueueSet> {
        todo!()
    }

    /// Every known plugin, for people.
    #[must_use]
    pub fn views(&self, tenant: Option<&TenantId>) -> Vec<PluginView> {
        let _ = tenant;
        todo!()
    }

    /// Pauses or resumes a plugin's queue. False where there is no such plugin.
    pub fn pause(&self, tenant: &TenantId, name: &PluginName, paused: bool) -> bool {
        let _ = (tenant, name, paused);
        todo!()
    }
}

/// What the catalog works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Compiles.
    pub runtime: Runtime,
    /// Knows the ceilings.
    pub tenants: Tenants,
    /// Keeps the last good versions.
    pub ledger: Ledger,
    /// Is told.
    pub observer: Observer,
    /// Dates.
    pub clock: Clock,
}
