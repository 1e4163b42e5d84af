//! One loaded version: what it subscribes to, may spend and asks for, and its code.

use std::sync::Arc;

use super::{Health, Limits, Manifest, SerializeBy};
use crate::{
    delivery::{Digest, PluginName, RetryPolicy, SourceId, TenantId, Timestamp, report::AdmissionReport},
    egress::Asked,
    runtime::Component,
    tenants::Budget,
};

/// One loaded plugin version. Runs under way keep theirs while the table is swapped.
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
    /// The budget the manifest asks for.
    pub limits: Limits,
    /// What it asks to reach.
    pub asked: Arc<Asked>,
    /// When and how often it is retried.
    pub retry: RetryPolicy,
    /// Which runs take turns.
    pub serialize_by: Option<SerializeBy>,
    /// Runs at once.
    pub concurrency_max: usize,
    /// The code.
    pub component: Component,
    /// What its examination found.
    pub report: Arc<AdmissionReport>,
    /// How it does.
    pub health: Arc<Health>,
    /// Since when it serves.
    pub since: Timestamp,
}

impl Plugin {
    /// A version from its parts, not examined and not yet run.
    pub(super) fn assemble(
        (tenant, name, digest): (TenantId, PluginName, Digest),
        (manifest, component): (Manifest, Component),
        budget: Budget,
        since: Timestamp,
    ) -> Self {
        Self {
            tenant,
            name,
            digest,
            sources: manifest.sources,
            events: manifest.events,
            config: Arc::new(manifest.config),
            budget,
            limits: manifest.limits,
            asked: Arc::new(manifest.asked),
            retry: manifest.retry,
            serialize_by: manifest.serialize_by,
            concurrency_max: manifest.limits.concurrency(),
            component,
            report: Arc::default(),
            health: Arc::default(),
            since,
        }
    }
}
