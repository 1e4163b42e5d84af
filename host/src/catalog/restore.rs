//! What served before the restart serves after it, whatever lies in the folder now.

use super::{
    Inner, Plugin,
    load::{Refused, Seen},
    manifest::{self, Manifest},
};
use crate::ledger::{ShelvedVersion, StoredPlugin};

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
            let paused = self.parts.ledger.plugin_standing(tenant, name).await.is_ok_and(|standing| standing.paused);
            let revived = match self.stored(&version).await {
                Ok((stored, manifest)) => {
                    // What it subscribes to waits for it, even where it does not load.
                    self.subscribe(tenant, name, &manifest);
                    self.compiled(stored, manifest).await
                }
                Err(refused) => Err(refused),
            };
            match revived {
                Ok(plugin) => self.swap(Plugin { since: version.served_from, ..plugin }, paused),
                Err(refused) => self.refuse(tenant, name, Some(version.digest), refused),
            }
        }
    }

    /// A version from the shelf, ready to serve.
    pub(super) async fn revive(&self, version: &ShelvedVersion) -> Result<Plugin, Refused> {
        let (stored, manifest) = self.stored(version).await?;
        self.compiled(stored, manifest).await
    }

    async fn stored(&self, version: &ShelvedVersion) -> Result<(StoredPlugin, Manifest), Refused> {
        let stored = self.parts.ledger.shelved_plugin(version).await;
        let stored = stored.map_err(|error| ("host_unavailable", format!("the kept version cannot be read: {error}")))?;
        let stored = stored.ok_or_else(|| ("host_unavailable", "the version is not kept any more".to_owned()))?;
        let manifest = manifest::parse(&stored.manifest).map_err(|problems| ("manifest_invalid", problems))?;
        Ok((stored, manifest))
    }

    async fn compiled(&self, stored: StoredPlugin, manifest: Manifest) -> Result<Plugin, Refused> {
        let granted = manifest.asked.granted_interfaces(&self.allowed(&stored.tenant));
        let component = self.parts.runtime.admit(stored.wasm.into(), &granted).await.map_err(|error| (error.code, error.detail))?;
        Ok(self.plugin(&stored.tenant, &stored.name, stored.digest, (manifest, component)))
    }
}
