//! Whom a call is for. A tenant or source nobody knows is played by a decoy whose secret nobody has, so that it takes the same steps and the
//! same time and gets the same answer as a bad signature: paths tell a stranger nothing.
//!
//! What still differs, and why it may: a source in the middle of a secret rotation hashes once more. That a source wants https is told only to
//! who has signed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::anyhow;
use bytes::Bytes;

use super::{
    accept::Routes,
    address::{Client, Origin},
    head::Path,
    limits::Sender,
};
use crate::{
    broker::Offer,
    delivery::{Delivery, Refusal, SourceId, TenantId},
    signature::{Scheme, Secret, SignatureHeader},
    tenants::{Budget, Source, Tenant, Tenants},
};

/// Bytes that are hashed in one go, some 50 µs.
const PIECE_BYTES: usize = 64 * 1024;

/// The tenant and source behind every unknown path.
#[derive(Clone, Debug)]
pub(super) struct Decoy {
    tenant: Arc<Tenant>,
    source: Arc<Source>,
}

/// Whom a call is for.
#[derive(Clone, Debug)]
pub(super) struct Recipient {
    pub(super) tenant: Arc<Tenant>,
    pub(super) source: Arc<Source>,
    is_known: bool,
}

impl Decoy {
    /// A decoy with a secret of 32 random bytes, made anew by each process.
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut bytes = [0; 32];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut bytes).map_err(|_| anyhow!("the system gave no random bytes"))?;
        let secret = Secret::new(bytes).ok_or_else(|| anyhow!("a secret of 32 bytes was taken for an empty one"))?;
        let source = Source {
            id: "unknown".parse()?,
            scheme: Scheme::Github,
            secrets: vec![secret],
            rate_per_s_max: 1,
            installation_rate_per_s_max: 1,
            refuse_replays: false,
            require_https: false,
        };
        let ceiling = Budget { fuel: 0, fuel_per_body_byte: 0, memory_bytes_max: 0, memory_per_body_byte: 0, wall: Duration::ZERO };
        let tenant = Tenant {
            id: "unknown".parse()?,
            sources: BTreeMap::new(),
            ceiling,
            approve_new_grants: false,
            waiting_bytes_max: 0,
            quota: crate::ledger::Quota::default(),
            allowed: Arc::default(),
            origin: crate::tenants::Origin::default(),
        };
        Ok(Self { tenant: Arc::new(tenant), source: Arc::new(source) })
    }
}

impl Recipient {
    /// The recipient a path names, or the decoy.
    pub(super) fn find(path: Path<'_>, tenants: &Tenants, decoy: &Decoy) -> Self {
        match Self::known(path, tenants) {
            Some((tenant, source)) => Self { tenant, source, is_known: true },
            None => Self { tenant: Arc::clone(&decoy.tenant), source: Arc::clone(&decoy.source), is_known: false },
        }
    }

    /// The recipient a path names, where there is one.
    pub(super) fn known(path: Path<'_>, tenants: &Tenants) -> Option<(Arc<Tenant>, Arc<Source>)> {
        let tenant: TenantId = path.tenant.map_or_else(|| Some(TenantId::default_tenant()), |name| name.parse().ok())?;
        let source: SourceId = path.source.parse().ok()?;
        tenants.source(&tenant, &source)
    }

    /// Over https, where the source wants it.
    pub(super) fn admit_transport(&self, origin: Origin) -> Result<(), Refusal> {
        if self.source.require_https && !origin.https { Err(Refusal::HttpsRequired) } else { Ok(()) }
    }

    /// The body, if any active secret of the source gives this signature over it. A large one is hashed in pieces, between which everybody
    /// else has a turn: strangers send bodies, too.
    pub(super) async fn verified(&self, signature: SignatureHeader, raw: Result<Bytes, Refusal>) -> Result<Bytes, Refusal> {
        let raw = raw?;
        let Scheme::Github = self.source.scheme;
        let mut verifier = signature.verifier(&self.source.secrets);
        let (first, rest) = raw.split_at(raw.len().min(PIECE_BYTES));
        verifier.update(first);
        for piece in rest.chunks(PIECE_BYTES) {
            tokio::task::yield_now().await;
            verifier.update(piece);
        }
        if verifier.matching().is_some() && self.is_known { Ok(raw) } else { Err(Refusal::SignatureMismatch) }
    }

    /// This source at that address.
    pub(super) fn sender(&self, client: Client) -> Sender {
        Sender { client, tenant: self.tenant.id.clone(), source: self.source.id.clone() }
    }

    /// The delivery with the legs of everyone who wants it.
    pub(super) fn offer(&self, delivery: Delivery, routes: &Routes) -> Offer {
        let legs = routes(&delivery.tenant, &delivery.source, &delivery.event, delivery.action.as_deref());
        Offer { delivery, legs, refuse_replays: self.source.refuse_replays, waiting_bytes_max: self.tenant.waiting_bytes_max }
    }
}
