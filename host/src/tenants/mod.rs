//! Per-tenant values: sources, secrets' holders, ceilings. Values only; ingest, the runtime and the judge read them, nothing here acts.
//!
//! Tenancy is a field that travels in the value, never ambient. The whole set is one immutable [`Directory`], swapped at once on reload.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use crate::{
    delivery::{Digest, SourceId, TenantId},
    egress::Allowed,
    ledger::Quota,
    signature::{Scheme, Secret},
};

/// What one run may spend, and at most so much of it may a plugin ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Fuel for an empty body.
    pub fuel: u64,
    /// Fuel more for each byte of the document.
    pub fuel_per_body_byte: u64,
    /// Sum of linear memories in bytes, for an empty body.
    pub memory_bytes_max: u64,
    /// Memory more for each byte of the document.
    pub memory_per_body_byte: u64,
    /// Wall-clock time, host calls included.
    pub wall: Duration,
}

impl Budget {
    /// The smaller of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            fuel: self.fuel.min(other.fuel),
            fuel_per_body_byte: self.fuel_per_body_byte.min(other.fuel_per_body_byte),
            memory_bytes_max: self.memory_bytes_max.min(other.memory_bytes_max),
            memory_per_body_byte: self.memory_per_body_byte.min(other.memory_per_body_byte),
            wall: self.wall.min(other.wall),
        }
    }
}

/// One sender of a tenant.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in the path.
    pub id: SourceId,
    /// How it signs.
    pub scheme: Scheme,
    /// The active secrets, at least one; the order is that of the file.
    pub secrets: Vec<Secret>,
    /// Deliveries a second from all its addresses together.
    pub rate_per_s_max: u32,
    /// Deliveries a second of one GitHub installation.
    pub installation_rate_per_s_max: u32,
    /// Refuse a body that came before under another id or event name.
    pub refuse_replays: bool,
    /// Take deliveries over TLS (ours or a trusted proxy's) only.
    pub require_https: bool,
}

/// What a tenant was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Of its file and of every secret in it: two readings with the same one are the same.
    pub fingerprint: Option<Digest>,
    /// Whether it has a file.
    pub has_file: bool,
    /// Variables that secrets of it are in: they are read at the start only.
    pub variables: Vec<String>,
}

/// A tenant's sources and ceilings.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// Its senders.
    pub sources: BTreeMap<SourceId, Arc<Source>>,
    /// The ceiling of every plugin's budget.
    pub ceiling: Budget,
    /// Whether a plugin version that asks for more than the one before waits for an operator.
    pub approve_new_grants: bool,
    /// Bytes of documents it may have waiting.
    pub waiting_bytes_max: u64,
    /// What it may have stored, and how many legs open.
    pub quota: Quota,
    /// What its plugins may reach, if they ask for it.
    pub allowed: Arc<Allowed>,
    /// What it was read from.
    pub origin: Origin,
}

impl Directory {
    /// What each tenant may have in the ledger.
    #[must_use]
    pub fn quotas(&self) -> BTreeMap<TenantId, Quota> {
        self.tenants.values().map(|tenant| (tenant.id.clone(), tenant.quota)).collect()
    }
}

/// All tenants at one moment.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// By name.
    pub tenants: BTreeMap<TenantId, Arc<Tenant>>,
}

/// The current directory; cheap to clone and to read.
#[derive(Clone, Debug, Default)]
pub struct Tenants(Arc<ArcSwap<Directory>>);

impl Tenants {
    /// The directory of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Directory> {
        self.0.load_full()
    }

    /// Puts a new directory in place of the old one, whole.
    pub fn replace(&self, directory: Directory) {
        self.0.store(Arc::new(directory));
    }

    /// The tenant and source behind a path, if both exist.
    #[must_use]
    pub fn source(&self, tenant: &TenantId, source: &SourceId) -> Option<(Arc<Tenant>, Arc<Source>)> {
        let tenant = Arc::clone(self.0.load().tenants.get(tenant)?);
        let source = Arc::clone(tenant.sources.get(source)?);
        Some((tenant, source))
    }
}
