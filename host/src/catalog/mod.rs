//! The set of loaded plugins: watch, admit, swap, keep the last good version.
//!
//! A deploy is a transaction: files settle, are copied, hashed, checked and compiled, and only then is the table swapped, whole. Runs under
//! way keep the version they began with. What fails says why and changes nothing, and the last versions that served are kept in the ledger,
//! so that not even a restart beside a bad file takes a plugin away, and going back is one step. A plugin goes only when its files are gone on purpose.
//! What subscribes is known before anything is compiled, so that a start takes deliveries at once (`restore.rs`, `newcomers.rs`).

mod admission;
mod approval;
mod asks;
mod breaker;
mod budgets;
mod circuit;
mod circuits;
mod files;
mod guard;
mod health;
mod inventory;
mod load;
mod loads;
mod look;
mod manifest;
mod newcomers;
mod notes;
mod passed_over;
mod plugin;
mod presence;
mod refused;
mod rehearsal;
mod restore;
mod rollback;
mod route;
mod sample;
mod serial;
mod table;
mod trial;
mod watch;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify, watch as channel};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    delivery::{
        DeliveryId, Digest, Outcome, PluginName, SourceId, TenantId, Upstream,
        view::{PassedOverView, PluginVersionView, PluginView},
    },
    egress::Allowed,
    ledger::{Ledger, LedgerError, QueueSet},
    observe::Observer,
    runtime::Runtime,
    shares::Shares,
    tasks::Tasks,
    tenants::{Budget, Tenants},
};

pub use admission::{Inspected, inspect};
pub use approval::ApprovalError;
pub use breaker::BreakerPolicy;
pub use health::Health;
pub use inventory::{Inventory, Listed, inventory};
pub use manifest::{Limits, MANIFEST_BYTES_MAX, Manifest, parse as parse_manifest};
pub use plugin::Plugin;
use rehearsal::Rehearsal;
pub use rollback::RollbackError;
use rollback::Word;
pub use route::matches;
pub use serial::SerializeBy;

/// The slugs of refusals that are the catalog's own; the runtime's admission has more. All are in `docs/failures.md`.
pub const REFUSAL_SLUGS: [&str; 13] = [
    "manifest_missing",
    "component_missing",
    "component_differs",
    "manifest_invalid",
    "file_unreadable",
    "not_a_regular_file",
    "link_leaves_tenant",
    "too_many_plugins",
    "rolled_back",
    "approval_needed",
    "config_invalid",
    "sample_failed",
    "state_not_shared",
];

/// How the catalog watches.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of `<tenant>/plugins/<name>.{wasm,toml}`.
    pub tenants_dir: PathBuf,
    /// How long files must be quiet before they are read.
    pub settle: Duration,
    /// How often everything is looked at without being told.
    pub rescan: Duration,
    /// Plugins a tenant may have; those beyond it, by name, are not looked at.
    pub plugins_max: usize,
    /// Largest component file.
    pub component_bytes_max: u64,
    /// Legs one tenant may have on loan at once.
    pub tenant_concurrency_max: usize,
    /// Several hosts run the same plugins: one that keeps state of its own is refused.
    pub shared_work: bool,
    /// The host's ceiling of every budget.
    pub ceiling: Budget,
    /// A budget where a manifest says nothing.
    pub default_budget: Budget,
    /// How long a new version is compared with the one before; never, where it is nothing.
    pub watch: Duration,
    /// When the queue of a version that only faults is parked.
    pub breaker: BreakerPolicy,
    /// Whether a version that asks for more than the one before waits for an operator, in every tenant.
    pub approve_new_grants: bool,
    /// What is shared, and how much of it one holder may have.
    pub shares: Shares,
}

/// The catalog; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog(Arc<Inner>);

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

#[derive(Debug)]
struct Inner {
    settings: Settings,
    parts: Parts,
    table: ArcSwap<table::Table>,
    queues: channel::Sender<QueueSet>,
    compiling: channel::Sender<Compiling>,
    /// Held while a version takes the place of another, so that a deploy and a roll-back do not meet.
    versions: Mutex<()>,
    /// Told when the guard has something to do.
    attention: Notify,
    /// Versions that were rolled back from, as long as they may settle something.
    left: std::sync::Mutex<Vec<(Arc<Plugin>, Instant)>>,
    /// Versions an operator has approved that are being loaded.
    approved: std::sync::Mutex<BTreeSet<(TenantId, PluginName, Digest)>>,
    /// Tenants the guard works on at this moment.
    attended: std::sync::Mutex<BTreeSet<TenantId>>,
    /// What of the servers that plugins call is away.
    circuits: circuits::Circuits,
    /// Versions on their way.
    loads: loads::Loads,
    /// What is to be remembered of the files from the start on; the watcher takes it over.
    seen: Mutex<Option<load::Seen>>,
    /// Cancelled once the watcher has looked at every folder.
    looked: CancellationToken,
    /// Names in the folders that are nobody's.
    passed_over: ArcSwap<Vec<PassedOverView>>,
    /// Held by whoever looks for them.
    passing_over: Arc<Mutex<()>>,
}

/// How many plugins wait for their first version since the start, or since their files were put there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compiling {
    /// Those on their way; what is for them is accepted and waits.
    pub plugins: usize,
    /// All that are known.
    pub of: usize,
}

impl Catalog {
    /// An empty catalog.
    #[must_use]
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let ((queues, _), (compiling, _)) = (channel::channel(QueueSet::default()), channel::channel(Compiling::default()));
        Self(Arc::new(Inner {
            settings,
            parts,
            table: ArcSwap::default(),
            queues,
            compiling,
            versions: Mutex::default(),
            attention: Notify::new(),
            left: std::sync::Mutex::default(),
            approved: std::sync::Mutex::default(),
            attended: std::sync::Mutex::default(),
            circuits: circuits::Circuits::default(),
            loads: loads::Loads::default(),
            seen: Mutex::default(),
            looked: CancellationToken::new(),
            passed_over: ArcSwap::default(),
            passing_over: Arc::default(),
        }))
    }

    /// Learns what subscribes, and begins to load it: what served last, as the ledger has it, and what is new in the folders, by its
    /// manifest. Nothing has been compiled when this returns; what is for these plugins is routed to them from here on, and waits.
    pub async fn load(&self, tasks: &Tasks) {
        let mut seen = load::Seen::default();
        let kept = self.0.know_kept(&mut seen).await;
        self.0.expect_newcomers(&mut seen).await;
        for version in kept {
            self.0.start_restoring(version, tasks);
        }
        *self.0.seen.lock().await = Some(seen);
    }

    /// Completes once everything that was there at the start serves or was refused. Needs [`Catalog::watch`].
    pub async fn loaded(&self) {
        self.0.looked.cancelled().await;
        self.0.loads.idle().await;
    }

    /// Starts watching the files, from what [`Catalog::load`] has seen, and the versions, from what the workers tell.
    pub fn watch(&self, tasks: &Tasks) {
        let (inner, handle) = (Arc::clone(&self.0), tasks.clone());
        tasks.spawn("catalog", async move {
            let seen = inner.seen.lock().await.take().unwrap_or_default();
            watch::run(inner, seen, handle).await;
        });
        tasks.spawn("guard", guard::run(Arc::clone(&self.0), tasks.clone()));
    }

    /// Which plugins are subscribed to this, sorted. Loaded or not: a subscription outlives a bad file.
    #[must_use]
    pub fn route(&self, tenant: &TenantId, source: &SourceId, event: &str, action: Option<&str>) -> Vec<PluginName> {
        self.0.table.load().route(tenant, source, event, action)
    }

    /// The version that serves now.
    #[must_use]
    pub fn plugin(&self, tenant: &TenantId, name: &PluginName) -> Option<Arc<Plugin>> {
        self.0.table.load().entry(tenant, name)?.plugin.clone()
    }

    /// What a plugin of this tenant may reach at this moment, by the operator's word.
    #[must_use]
    pub fn allowed(&self, tenant: &TenantId) -> Arc<Allowed> {
        self.0.allowed(tenant)
    }

    /// Notes how a run of a version ended and what it found of the servers it called, once that is settled.
    pub fn note(&self, version: &Plugin, delivery: DeliveryId, outcome: &Outcome, found: &[Upstream]) {
        let now = self.0.parts.clock.instant();
        let has_moved = self.0.circuits.note((&version.tenant, &version.name), delivery, found, now);
        if version.health.note(delivery, outcome, self.0.settings.breaker, now) || has_moved {
            self.0.attention.notify_one();
        }
    }

    /// The queues that can be worked on now; the receiver changes whenever they do.
    #[must_use]
    pub fn queues(&self) -> channel::Receiver<QueueSet> {
        self.0.queues.subscribe()
    }

    /// How many plugins wait for their first version; the receiver changes whenever that does.
    #[must_use]
    pub fn compiling(&self) -> channel::Receiver<Compiling> {
        self.0.compiling.subscribe()
    }

    /// Every known plugin, for people.
    #[must_use]
    pub fn views(&self, tenant: Option<&TenantId>) -> Vec<PluginView> {
        let views = self.0.table.load().views(tenant, (&self.0.circuits, &self.0.parts.clock));
        views.into_iter().map(|view| self.0.noted(view)).collect()
    }

    /// What lies in the folders and is not looked at for its name; of one tenant, or all of it.
    #[must_use]
    pub fn passed_over(&self, tenant: Option<&TenantId>) -> Vec<PassedOverView> {
        let all = self.0.passed_over.load();
        all.iter().filter(|one| tenant.is_none() || one.tenant.as_ref() == tenant).cloned().collect()
    }

    /// Pauses or resumes a plugin's queue; a restart changes nothing about it. Resuming closes its breaker too, and forgives crashes. False
    /// where there is no such plugin.
    pub async fn pause(&self, tenant: &TenantId, name: &PluginName, paused: bool) -> Result<bool, LedgerError> {
        let _turn = self.0.versions.lock().await;
        if self.0.table.load().entry(tenant, name).is_none() {
            return Ok(false);
        }
        self.0.parts.ledger.pause_plugin(tenant, name, paused).await?;
        if let Some(plugin) = self.plugin(tenant, name).filter(|_| !paused) {
            plugin.health.pardon();
            self.0.circuits.pardon(tenant, name);
            self.0.attention.notify_one();
        }
        self.0.change(|table| {
            table.with(tenant, name, |entry| {
                entry.paused = paused;
                entry.crash = entry.crash.take().filter(|_| paused);
            })
        });
        Ok(true)
    }

    /// Serves an earlier version again: the one whose digest begins with `to`, else the newest that neither serves nor was ever taken back. It
    /// survives a restart, until different files are dropped. Gives why that version was once taken back itself, where it was.
    ///
    /// # Errors
    /// There is no such plugin or version, or it does not load any more.
    pub async fn roll_back(&self, tenant: &TenantId, name: &PluginName, to: Option<&str>) -> Result<Option<String>, RollbackError> {
        self.0.roll_back(tenant, name, Word { to, from: None, cause: "operator", why: "an operator took it back" }).await
    }

    /// Lets the version serve that waits because it asks for more than the one before.
    ///
    /// # Errors
    /// Nothing waits, the files have changed since, or the version is refused for another reason.
    pub async fn approve(&self, tenant: &TenantId, name: &PluginName) -> Result<(), ApprovalError> {
        self.0.approve(tenant, name).await
    }

    /// One plugin with the versions that are kept of it, for people.
    pub async fn view(&self, tenant: &TenantId, name: &PluginName) -> Result<Option<PluginView>, LedgerError> {
        let Some(view) = self.0.table.load().view(tenant, name, (&self.0.circuits, &self.0.parts.clock)) else { return Ok(None) };
        let mut view = self.0.noted(view);
        let holds = self.0.parts.ledger.plugin_standing(tenant, name).await?.holds;
        let held = |digest: Digest| holds.iter().find(|hold| hold.digest == digest).map(|hold| hold.reason.clone());
        let versions = self.0.parts.ledger.plugin_versions(tenant, name).await?;
        view.versions = versions
            .into_iter()
            .map(|version| PluginVersionView {
                held: held(version.digest),
                digest: version.digest.to_string(),
                served_from: version.served_from,
                taken_back: version.taken_back,
            })
            .collect();
        Ok(Some(view))
    }
}

impl Inner {
    fn rehearsal(&self) -> Rehearsal {
        Rehearsal { runtime: self.parts.runtime.clone(), clock: self.parts.clock.clone() }
    }

    /// Puts a changed table in place of the current one and tells who serves queues.
    fn change(&self, change: impl Fn(&table::Table) -> table::Table) {
        self.table.rcu(|table| change(table));
        tell(&self.queues, || self.table.load().queues(self.settings.tenant_concurrency_max, &self.circuits));
        tell(&self.compiling, || self.table.load().compiling());
    }

    /// What a tenant's plugins may reach; nothing where the tenant is not known.
    fn allowed(&self, tenant: &TenantId) -> Arc<Allowed> {
        self.known_allowed(tenant).unwrap_or_default()
    }

    fn known_allowed(&self, tenant: &TenantId) -> Option<Arc<Allowed>> {
        self.parts.tenants.snapshot().tenants.get(tenant).map(|tenant| Arc::clone(&tenant.allowed))
    }
}

/// Tells those who listen, where there is something new. What holds now is looked at under the channel's lock: of two changes at once the later
/// word is of the later table.
fn tell<T: PartialEq>(told: &channel::Sender<T>, now: impl Fn() -> T) {
    told.send_if_modified(|current| {
        let now = now();
        let is_new = *current != now;
        *current = now;
        is_new
    });
}

#[cfg(test)]
mod tests;
