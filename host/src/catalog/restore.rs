//! What served before the restart serves after it, whatever lies in the folder now.

use std::sync::Arc;

use super::{
    Inner, Plugin, admission,
    load::Seen,
    manifest::{self, Manifest},
    refused::Refused,
};
use crate::{
    ledger::{ShelvedVersion, Standing, StoredPlugin},
    runtime::{Account, Turn},
};

impl Inner {
    /// Serves the last good versions the ledger has kept, before any file is looked at. One at a time: together their bytes could be more
    /// than memory holds.
    pub(super) async fn restore(&self, seen: &mut Seen) {
        let versions = match self.parts.ledger.shelf().await {
            Ok(versions) => versions,
            Err(error) => return tracing::error!(%error, "kept_plugins_unreadable"),
        };
        for version in versions {
            let (tenant, name) = (&version.tenant, &version.name);
            seen.0.entry((tenant.clone(), name.clone())).or_default();
            let standing = self.parts.ledger.plugin_standing(tenant, name).await.unwrap_or_default();
            let turn = self.parts.runtime.turn(Account::Kept(tenant.clone())).await;
            let revived = match self.stored(&version).await {
                Ok((stored, manifest)) => {
                    // What it subscribes to waits for it, even where it does not load.
                    self.subscribe(tenant, name, &manifest);
                    self.compiled(&turn, stored, manifest).await
                }
                Err(refused) => Err(refused),
            };
            drop(turn);
            match revived {
                Ok(plugin) => {
                    let before = self.still_watched(&plugin, &version, &standing).await;
                    self.swap(Plugin { since: version.served_from, ..plugin }, standing, before.as_ref());
                }
                Err(refused) => self.refuse(tenant, name, refused.of(version.digest)),
            }
        }
    }

    /// The version before, where the one that serves was being compared with it when the host ended. What was rolled back to is not.
    async fn still_watched(&self, plugin: &Plugin, version: &ShelvedVersion, standing: &Standing) -> Option<Arc<Plugin>> {
        let left = self.settings.watch.checked_sub(self.parts.clock.now().since(version.served_from))?;
        if left.is_zero() || !standing.holds.is_empty() {
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
        let manifest = manifest::parse(&stored.manifest).map_err(|problems| Refused::new("manifest_invalid", problems))?;
        Ok((stored, manifest))
    }

    async fn compiled(&self, turn: &Turn, stored: StoredPlugin, manifest: Manifest) -> Result<Plugin, Refused> {
        let granted = manifest.asked.granted_interfaces(&self.allowed(&stored.tenant));
        let component = self.parts.runtime.admit_in(turn, stored.wasm.into(), &granted).await?;
        self.shares_state(&component)?;
        let report = Arc::new(admission::of_restored(component.report()));
        let plugin = self.plugin(&stored.tenant, &stored.name, stored.digest, (manifest, component));
        Ok(Plugin { report, ..plugin })
    }
}
