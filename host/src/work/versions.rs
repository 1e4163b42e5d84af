//! The workers' view of the plugins: which version serves a leg, and one run of it. A seam, so that the order of an attempt can be tested
//! without a sandbox; the catalog and the runtime stand behind it in the host.

use std::sync::Arc;

use super::{abandoned::Abandoned, keys::Keys};
use crate::{
    broker::{BoxFuture, Lease},
    catalog::{Catalog, Plugin},
    delivery::{DeliveryId, Digest, Outcome, PluginName, RetryPolicy, TenantId, Timestamp, Upstream},
    egress::{Egress, Reach, Standing},
    ledger::Ledger,
    runtime::{Gate, Outside, Run, RunReport, Runtime},
};

/// Finds the version that serves now.
pub(super) trait Versions: Send + Sync {
    fn serving(&self, tenant: &TenantId, plugin: &PluginName) -> Option<Box<dyn Version>>;
    /// Whether the plugin has been gone for so long that nobody waits for it any more.
    fn is_abandoned(&self, tenant: &TenantId, plugin: &PluginName, now: Timestamp) -> bool;
}

/// One plugin version, held for one run: a swap meanwhile does not touch it.
pub(super) trait Version: Send + Sync {
    fn digest(&self) -> Digest;
    fn retry(&self) -> RetryPolicy;
    /// What runs have in common with this one that must not overlap with it; none where any may.
    fn turn<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Option<Digest>>;
    /// The run, to be polled to its end; it borrows nothing, so that it can go on on another thread. It takes over the memory that was taken for
    /// the lease.
    fn invoke(&self, lease: &Lease, started_at: Timestamp) -> BoxFuture<'static, RunReport>;
    /// Is told how a run ended and what it found of the servers it called, once that is settled.
    fn note(&self, delivery: DeliveryId, outcome: &Outcome, found: &[Upstream]);
}

/// Catalog and runtime, behind the live gate.
pub(super) struct Loaded {
    pub(super) catalog: Catalog,
    pub(super) runtime: Runtime,
    pub(super) ledger: Ledger,
    pub(super) egress: Egress,
    pub(super) abandoned: Arc<Abandoned>,
    pub(super) keys: Arc<Keys>,
}

struct LoadedVersion {
    catalog: Catalog,
    plugin: Arc<Plugin>,
    runtime: Runtime,
    ledger: Ledger,
    egress: Egress,
    keys: Arc<Keys>,
}

impl Versions for Loaded {
    fn serving(&self, tenant: &TenantId, plugin: &PluginName) -> Option<Box<dyn Version>> {
        let plugin = self.catalog.plugin(tenant, plugin)?;
        Some(Box::new(LoadedVersion {
            catalog: self.catalog.clone(),
            plugin,
            runtime: self.runtime.clone(),
            ledger: self.ledger.clone(),
            egress: self.egress.clone(),
            keys: Arc::clone(&self.keys),
        }))
    }

    fn is_abandoned(&self, tenant: &TenantId, plugin: &PluginName, now: Timestamp) -> bool {
        self.abandoned.holds(tenant, plugin, now)
    }
}

impl Version for LoadedVersion {
    fn digest(&self) -> Digest {
        self.plugin.digest
    }

    fn retry(&self) -> RetryPolicy {
        self.plugin.retry
    }

    fn turn<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Option<Digest>> {
        Box::pin(async move {
            let key = self.keys.of(self.plugin.serialize_by.as_ref()?, &lease.delivery).await;
            Some(Digest::of(&[self.plugin.tenant.as_str().as_bytes(), self.plugin.name.as_str().as_bytes(), key.as_bytes()]))
        })
    }

    fn invoke(&self, lease: &Lease, started_at: Timestamp) -> BoxFuture<'static, RunReport> {
        let (catalog, delivery, asked) = (self.catalog.clone(), Arc::clone(&lease.delivery), Arc::clone(&self.plugin.asked));
        // A run may take a minute, and a grant that is taken away meanwhile is gone with the run's next call.
        let reach = Standing::new(move || Reach {
            tenant: delivery.tenant.clone(),
            asked: Arc::clone(&asked),
            allowed: catalog.allowed(&delivery.tenant),
            installation: delivery.installation_id,
        });
        let outside = Outside { ledger: self.ledger.clone(), egress: self.egress.clone(), reach };
        let run = Run {
            delivery: Arc::clone(&lease.delivery),
            plugin: self.plugin.name.clone(),
            attempt: lease.attempt,
            generation: lease.generation,
            started_at,
            digest: self.plugin.digest,
            config: Arc::clone(&self.plugin.config),
            budget: self.plugin.budget,
            gate: Gate::Live(Box::new(outside)),
        };
        let (runtime, plugin, taken) = (self.runtime.clone(), Arc::clone(&self.plugin), lease.memory.clone());
        let memory = taken.take();
        Box::pin(async move {
            let (report, memory) = runtime.invoke_with(memory, &plugin.component, run).await;
            // What the report holds waits for its settlement, and counts until then.
            taken.put_back(memory);
            report
        })
    }

    fn note(&self, delivery: DeliveryId, outcome: &Outcome, found: &[Upstream]) {
        self.catalog.note(&self.plugin, delivery, outcome, found);
    }
}
