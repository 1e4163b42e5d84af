//! What lies in the tenants' folders at this moment.
//!
//! Each tenant's folder is looked at beside the others, on a thread of that tenant's share and for a limited time: one that is full, or on a file
//! system that does not answer, delays the deploys of its own tenant only.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use futures_util::future::join_all;

use super::{
    Inner,
    files::{self, Stamps},
    presence,
};
use crate::{
    delivery::{PluginName, TenantId},
    shares::Holder,
};

/// How long one folder may take. One that takes longer is left as it was known, and looked at again with the next pass.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(5);

/// What was found of each tenant; nothing where its folder could not be read, which is no removal of what was in it.
pub(super) type Found = BTreeMap<TenantId, Option<BTreeMap<PluginName, Stamps>>>;

impl Inner {
    /// Looks at every tenant's folder.
    pub(super) async fn look(&self) -> Found {
        join_all(self.tenants().await.into_iter().map(|tenant| self.look_at(tenant))).await.into_iter().collect()
    }

    /// The tenants that have a folder.
    pub(super) async fn tenants(&self) -> BTreeSet<TenantId> {
        let dir = self.settings.tenants_dir.clone();
        self.settings.shares.threads(Holder::Host).run(move || tenants(&dir)).await.unwrap_or_default()
    }

    pub(super) async fn look_at(&self, tenant: TenantId) -> (TenantId, Option<BTreeMap<PluginName, Stamps>>) {
        let (home, plugins_max) = (self.settings.tenants_dir.join(tenant.as_str()), self.settings.plugins_max);
        let subscribers = self.table.load().subscribers(&tenant);
        let threads = self.parts.runtime.threads(&tenant);
        let look = threads.run(move || files::scan(&home));
        let late = self.parts.clock.sleep(LOOK_MAX);
        let found = tokio::select! {
            biased;
            found = look => found.map_err(std::io::Error::other).flatten(),
            () = late => Err(std::io::Error::other(format!("it was not read within {LOOK_MAX:?}"))),
        };
        let found = found.inspect_err(|error| tracing::debug!(%tenant, %error, "folder_unreadable")).ok();
        (tenant, found.map(|plugins| presence::bounded(plugins, &subscribers, plugins_max)))
    }
}

fn tenants(dir: &Path) -> BTreeSet<TenantId> {
    files::tenants(dir).unwrap_or_else(|error| {
        tracing::warn!(folder = %dir.display(), %error, "folder_unreadable");
        BTreeSet::default()
    })
}
