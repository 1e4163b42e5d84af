//! What is new in the folders at a start, routed to before it is compiled.
//!
//! Nobody has examined it yet, so its manifest counts only until its examination ends: a version that is refused routes nothing any more, and
//! what was accepted for it meanwhile waits for the one that mends it. Without this, everything that comes during a first start, while the
//! compilers are at work behind the open door, would be for nobody.

use std::{sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::{
    Inner, asks, files,
    load::Seen,
    loads::Key,
    manifest::{self, Manifest},
    table::{Entry, Subscription},
};
use crate::delivery::{PluginName, TenantId};

/// How long a start looks for newcomers, all folders beside each other: a file system that does not answer must not keep the door closed for
/// those who served before. Far more than a busy machine needs, because what comes before a plugin is known is not for it.
const LOOK_MAX: Duration = Duration::from_secs(10);

impl Inner {
    /// Routes to the plugins that lie in the folders and never served, as their manifests say.
    pub(super) async fn expect_newcomers(&self, seen: &mut Seen) {
        let mut newcomers = Vec::new();
        if tokio::time::timeout(LOOK_MAX, self.find_newcomers(&mut newcomers)).await.is_err() {
            tracing::warn!(waited_ms = LOOK_MAX.as_millis(), "newcomers_not_awaited");
        }
        let entry = |manifest: &Manifest| Entry {
            expected: Some(Arc::new(Subscription::from(manifest))),
            compiling_since: Some(self.parts.clock.now()),
            ..Entry::default()
        };
        let known: Vec<_> = newcomers.iter().map(|(key, manifest)| (key.clone(), entry(manifest))).collect();
        for (key, _) in &known {
            seen.0.entry(key.clone()).or_default();
        }
        self.change(|table| table.with_all(&known));
    }

    async fn find_newcomers(&self, newcomers: &mut Vec<(Key, Manifest)>) {
        let mut folders: FuturesUnordered<_> = self.tenants().await.into_iter().map(|tenant| self.newcomers_of(tenant)).collect();
        while let Some(found) = folders.next().await {
            newcomers.extend(found);
        }
    }

    /// The newcomers for which there is room and nobody's word is needed. What cannot be read as a manifest is told when its plugin is loaded.
    async fn newcomers_of(&self, tenant: TenantId) -> Vec<(Key, Manifest)> {
        let (tenant, found) = self.look_at(tenant).await;
        let table = self.table.load_full();
        let room = self.settings.plugins_max.saturating_sub(table.subscribers(&tenant).len());
        let is_new = |name: &PluginName| table.entry(&tenant, name).is_none();
        let whole = found.into_iter().flatten().filter(|(name, stamps)| stamps.both() && is_new(name));
        let names: Vec<_> = whole.map(|(name, _)| name).take(room).collect();
        if names.is_empty() {
            return Vec::new();
        }
        let home = self.settings.tenants_dir.join(tenant.as_str());
        let read = move |name: PluginName| {
            let bytes = files::read(&home, &format!("{name}.toml"), manifest::MANIFEST_BYTES_MAX).ok()?;
            Some((name, manifest::parse(&bytes).ok()?))
        };
        let threads = self.parts.runtime.threads(&tenant);
        let manifests: Vec<_> = threads.run(move || names.into_iter().filter_map(read).collect()).await.unwrap_or_default();
        let needs_nobody = |manifest: &Manifest| !self.new_grants_wait(&tenant) || asks::lines(&manifest.asked).is_empty();
        let counting = manifests.into_iter().filter(|(_, manifest)| needs_nobody(manifest));
        counting.map(|(name, manifest)| ((tenant.clone(), name), manifest)).collect()
    }
}
