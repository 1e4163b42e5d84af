//! What served before the restart serves after it, whatever lies in the folder now.
//!
//! What it subscribes to is known from its manifest, before anything is compiled: the door does not wait for a compiler, and what is for a
//! plugin waits for it. The versions are loaded behind the open door, each in its tenant's turn, so that together they need no more memory
//! than the turns have.

use std::sync::Arc;

use super::{
    Inner, Plugin, admission,
    load::Seen,
    loads::Wanted,
    manifest::{self, Manifest},
    refused::Refused,
    table::{Entry, Subscription},
};
use crate::{
    delivery::{PluginName, TenantId},
    ledger::{ShelvedVersion, Standing, StoredPlugin},
    runtime::{Account, Turn},
};

impl Inner {
    /// Routes to the plugins that served last, and gives the versions that are to be loaded.
    pub(super) async fn know_kept(&self, seen: &mut Seen) -> Vec<ShelvedVersion> {
        let versions = self.parts.ledger.shelf().await.unwrap_or_else(|error| {
            tracing::error!(%error, "kept_plugins_unreadable");
            Vec::new()
        });
        let mut known = Vec::new();
        for version in &versions {
            let key = (version.tenant.clone(), version.name.clone());
            seen.0.entry(key.clone()).or_default();
            known.push((key, self.known(version).await));
        }
        self.change(|table| table.with_all(&known));
        versions
    }

    /// What there is to say of a version before it is loaded. One whose manifest cannot be read routes nothing, and loading it says why.
    async fn known(&self, version: &ShelvedVersion) -> Entry {
        let manifest = self.parts.ledger.shelved_manifest(version).await.ok().flatten();
        let manifest = manifest.and_then(|bytes| manifest::parse_kept(&bytes).ok());
        let standing = self.standing(&version.tenant, &version.name).await;
        Entry {
            subscription: manifest.map(|manifest| Arc::new(Subscription::from(&manifest))),
            paused: standing.paused,
            crash: standing.crash.map(Arc::new),
            compiling_since: Some(self.parts.clock.now()),
            ..Entry::default()
        }
    }

    /// Serves the version that served last, unless another has taken its place meanwhile.
    pub(super) async fn restore(&self, version: &ShelvedVersion, wanted: &Wanted) {
        let (tenant, name) = (&version.tenant, &version.name);
        match self.revive(version).await {
            Ok(plugin) => {
                let before = self.still_watched(&plugin, version).await;
                let _turn = self.versions.lock().await;
                let is_replaced = self.table.load().entry(tenant, name).is_none_or(|entry| entry.plugin.is_some());
                if is_replaced || wanted.is_called_off() {
                    return;
                }
                let standing = self.standing(tenant, name).await;
                self.swap(Plugin { since: version.served_from, ..plugin }, standing, before.as_ref());
                self.attention.notify_one();
            }
            Err(refused) => self.refuse(tenant, name, refused.of(version.digest)),
        }
    }

    async fn standing(&self, tenant: &TenantId, name: &PluginName) -> Standing {
        self.parts.ledger.plugin_standing(tenant, name).await.unwrap_or_default()
    }

    /// The version before, where the one that serves was being compared with it when the host ended. What was rolled back to is not.
    async fn still_watched(&self, plugin: &Plugin, version: &ShelvedVersion) -> Option<Arc<Plugin>> {
        let left = self.settings.watch.checked_sub(self.parts.clock.now().since(version.served_from))?;
        if left.is_zero() || !self.standing(&version.tenant, &version.name).await.holds.is_empty() {
            return None;
        }
        let versions = self.parts.ledger.plugin_versions(&version.tenant, &version.name).await.ok()?;
        let before = self.revive(versions.get(1)?).await.ok()?;
        plugin.health.watch_until(self.parts.clock.instant() + left);
        Some(Arc::new(before))
    }

    /// A version from the shelf, ready to serve.
    pub(super) async fn revive(&self, version: &ShelvedVersion) -> Result<Plugin, Refused> {
        let turn = self.parts.runtime.turn(Account::Kept(version.tenant.clone())).await;
        let (stored, manifest) = self.stored(version).await?;
        self.compiled(&turn, stored, manifest).await
    }

    async fn stored(&self, version: &ShelvedVersion) -> Result<(StoredPlugin, Manifest), Refused> {
        let stored = self.parts.ledger.shelved_plugin(version).await;
        let stored = stored.map_err(|error| Refused::by_host(format!("the kept version cannot be read: {error}")))?;
        let stored = stored.ok_or_else(|| Refused::by_host("the version is not kept any more"))?;
        let manifest = manifest::parse_kept(&stored.manifest).map_err(|problems| Refused::new("manifest_invalid", problems))?;
        Ok((stored, manifest))
    }

    async fn compiled(&self, turn: &Turn, stored: StoredPlugin, manifest: Manifest) -> Result<Plugin, Refused> {
        let granted = manifest.asked.granted_interfaces(&self.allowed(&stored.tenant));
        let component = self.parts.runtime.admit_in(turn, stored.wasm.into(), &granted).await?;
        self.shares_state(&component)?;
        let report = stored.report.unwrap_or_else(|| admission::of_unreported(component.report(), &manifest.asked));
        let plugin = self.plugin(&stored.tenant, &stored.name, stored.digest, (manifest, component));
        Ok(Plugin { report: Arc::new(report), ..plugin })
    }
}
