//! The table of plugins: one immutable value, swapped whole, so that a reader sees the catalog before a change or after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Compiling, Plugin, circuits::Circuits, health::Told, loads::Key, manifest::Manifest, route};
use crate::{
    clock::Clock,
    delivery::{
        PluginName, SourceId, TenantId, Timestamp,
        report::AdmissionReport,
        view::{BreakerView, PluginRefusalView, PluginView},
    },
    ledger::{Crash, Queue, QueueSet},
    runtime::run_memory,
};

/// What is known of one plugin.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// Sources and events of the last good manifest: a subscription outlives a bad file and a component that does not load.
    pub(super) subscription: Option<Arc<Subscription>>,
    /// The same of a newcomer that is not examined yet: counts from the start of the host until it serves or is refused.
    pub(super) expected: Option<Arc<Subscription>>,
    /// The version that serves.
    pub(super) plugin: Option<Arc<Plugin>>,
    /// The one it took the place of, ready to take it back.
    pub(super) before: Option<Arc<Plugin>>,
    /// Why the newest files do not.
    pub(super) refusal: Option<PluginRefusalView>,
    /// An operator has stopped its queue.
    pub(super) paused: bool,
    /// Its runs have ended the host, and its queue is parked.
    pub(super) crash: Option<Arc<Crash>>,
    /// Since when a newer version is on its way.
    pub(super) compiling_since: Option<Timestamp>,
}

/// What a plugin wants to see.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) sources: Vec<SourceId>,
    pub(super) events: Vec<String>,
}

/// What is known of a plugin beside the table, and the clock it is dated by.
pub(super) type Beside<'a> = (&'a Circuits, &'a Clock);

impl From<&Manifest> for Subscription {
    fn from(manifest: &Manifest) -> Self {
        Self { sources: manifest.sources.clone(), events: manifest.events.clone() }
    }
}

impl Entry {
    /// What is routed to it.
    fn routed(&self) -> Option<&Subscription> {
        self.subscription.as_deref().or(self.expected.as_deref())
    }

    /// Whether its first version is on its way.
    fn is_compiling(&self) -> bool {
        self.plugin.is_none() && self.compiling_since.is_some()
    }
}

/// All plugins at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) BTreeMap<TenantId, BTreeMap<PluginName, Entry>>);

impl Table {
    pub(super) fn entry(&self, tenant: &TenantId, name: &PluginName) -> Option<&Entry> {
        self.0.get(tenant)?.get(name)
    }

    /// The plugins of a tenant that are routed to, loaded or not.
    pub(super) fn subscribers(&self, tenant: &TenantId) -> BTreeSet<PluginName> {
        let plugins = self.0.get(tenant).into_iter().flatten();
        plugins.filter(|(_, entry)| entry.subscription.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Whether a plugin is routed to.
    pub(super) fn is_subscriber(&self, tenant: &TenantId, name: &PluginName) -> bool {
        self.entry(tenant, name).is_some_and(|entry| entry.subscription.is_some())
    }

    /// This table with one entry changed.
    pub(super) fn with(&self, tenant: &TenantId, name: &PluginName, change: impl FnOnce(&mut Entry)) -> Self {
        let mut table = self.clone();
        change(table.0.entry(tenant.clone()).or_default().entry(name.clone()).or_default());
        table
    }

    /// This table with more entries.
    pub(super) fn with_all(&self, entries: &[(Key, Entry)]) -> Self {
        let mut table = self.clone();
        for ((tenant, name), entry) in entries {
            table.0.entry(tenant.clone()).or_default().insert(name.clone(), entry.clone());
        }
        table
    }

    /// How many plugins wait for their first version.
    pub(super) fn compiling(&self) -> Compiling {
        let all = || self.0.values().flat_map(BTreeMap::values);
        Compiling { plugins: all().filter(|entry| entry.is_compiling()).count(), of: all().count() }
    }

    /// This table without one entry.
    pub(super) fn without(&self, tenant: &TenantId, name: &PluginName) -> Self {
        let mut table = self.clone();
        if let Some(plugins) = table.0.get_mut(tenant) {
            plugins.remove(name);
        }
        table
    }

    /// This table without the news that a version is on its way; without the plugin, where that was all there was of it.
    pub(super) fn without_compiling(&self, tenant: &TenantId, name: &PluginName) -> Self {
        let is_nothing_else = |entry: &Entry| entry.routed().is_none() && entry.plugin.is_none() && entry.refusal.is_none();
        match self.entry(tenant, name) {
            None => self.clone(),
            Some(entry) if is_nothing_else(entry) => self.without(tenant, name),
            Some(_) => self.with(tenant, name, |entry| entry.compiling_since = None),
        }
    }

    /// The plugins an event is for, sorted by name.
    pub(super) fn route(&self, tenant: &TenantId, source: &SourceId, event: &str, action: Option<&str>) -> Vec<PluginName> {
        let Some(plugins) = self.0.get(tenant) else { return Vec::new() };
        let subscribed = |subscription: &Subscription| {
            subscription.sources.contains(source) && subscription.events.iter().any(|pattern| route::matches(pattern, event, action))
        };
        let matching = plugins.iter().filter(|(_, entry)| entry.routed().is_some_and(subscribed));
        matching.map(|(name, _)| name.clone()).collect()
    }

    /// The queues that can be worked on: neither paused, nor parked by their breaker or because their runs have ended the host, nor held
    /// because a server that their plugins call is away.
    pub(super) fn queues(&self, tenant_concurrency_max: usize, circuits: &Circuits) -> QueueSet {
        let going = |entry: &&Entry| !entry.paused && entry.crash.is_none();
        let serving = self.0.values().flat_map(BTreeMap::values).filter(going).filter_map(|entry| entry.plugin.as_ref());
        let queue = |plugin: &Arc<Plugin>| {
            let concurrency_max = circuits.lends(&plugin.tenant, &plugin.name, plugin.health.lends(plugin.concurrency_max)?)?;
            let (tenant, name) = (plugin.tenant.clone(), plugin.name.clone());
            Some(Queue { tenant, plugin: name, concurrency_max, run_memory: run_memory(&plugin.budget) })
        };
        QueueSet { queues: serving.filter_map(queue).collect(), tenant_concurrency_max }
    }

    /// Every plugin, for people, without the reports of their examinations.
    pub(super) fn views(&self, tenant: Option<&TenantId>, beside: Beside<'_>) -> Vec<PluginView> {
        let tenants = self.0.iter().filter(|(id, _)| tenant.is_none_or(|wanted| wanted == *id));
        let each = tenants.flat_map(|(tenant, plugins)| plugins.iter().map(move |(name, entry)| view(tenant, name, entry, beside)));
        let brief = |view: PluginView| PluginView {
            report: None,
            refusal: view.refusal.map(|refusal| PluginRefusalView { report: None, ..refusal }),
            ..view
        };
        each.map(brief).collect()
    }

    /// One plugin, for people.
    pub(super) fn view(&self, tenant: &TenantId, name: &PluginName, beside: Beside<'_>) -> Option<PluginView> {
        Some(view(tenant, name, self.entry(tenant, name)?, beside))
    }
}

fn view(tenant: &TenantId, name: &PluginName, entry: &Entry, (circuits, clock): Beside<'_>) -> PluginView {
    let plugin = entry.plugin.as_deref();
    let report = plugin.map(|plugin| &plugin.report);
    let mut breaker = plugin.map(|plugin| plugin.health.breaker_view(clock));
    if let (Some(breaker), Some(_)) = (&mut breaker, &entry.crash) {
        *breaker = BreakerView { state: Told::Crashed.slug().to_owned(), until: None, ..breaker.clone() };
    }
    let circuits = circuits.views(tenant, name, clock);
    let is_broken = breaker.as_ref().is_some_and(|breaker| breaker.state != "closed");
    let status = match (plugin, entry.paused) {
        (_, true) => "paused",
        (Some(_), false) if is_broken => "broken",
        (Some(_), false) if !circuits.is_empty() => "slowed",
        (Some(_), false) => "active",
        (None, false) if entry.is_compiling() => "compiling",
        (None, false) => "refused",
    };
    PluginView {
        tenant: tenant.clone(),
        name: name.clone(),
        status: status.to_owned(),
        digest: plugin.map(|plugin| plugin.digest.to_string()),
        since: plugin.map(|plugin| plugin.since),
        compiling_since: entry.compiling_since,
        sources: entry.routed().map(|subscription| subscription.sources.clone()).unwrap_or_default(),
        events: entry.routed().map(|subscription| subscription.events.clone()).unwrap_or_default(),
        world: report.and_then(|report| report.world.clone()),
        imports: report.map(|report| report.imports.clone()).unwrap_or_default(),
        component_bytes: report.map(|report| report.component_bytes),
        refusal: entry.refusal.clone(),
        breaker,
        crash: entry.crash.as_ref().map(|crash| crash.detail.clone()),
        circuits,
        retry: plugin.map(|plugin| (&plugin.retry).into()),
        watch: plugin.and_then(|plugin| plugin.health.watch_view(clock)),
        report: report.map(|report| AdmissionReport::clone(report)),
        notes: Vec::new(),
        versions: Vec::new(),
        warning: None,
    }
}
