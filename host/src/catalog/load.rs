//! From two files to a serving version, or to a refusal that says why.
//!
//! The loader is the one who changes the table on account of files, one plugin at a time: read whole, hash, check the manifest, admit the
//! component, keep the bytes in the ledger, swap. Whatever fails leaves the version that serves where it is.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use bytes::Bytes;

use super::{
    Inner, Plugin,
    files::{self, FileRefusal, Stamps},
    manifest::{self, Manifest},
    table::Subscription,
};
use crate::{
    delivery::{Digest, PluginName, TenantId, view::PluginRefusalView},
    ledger::StoredPlugin,
    observe::facts::{PluginRefused, PluginRemoved, PluginSwapped},
    runtime::Component,
};

/// From how many plugins on a tenant's loss of more than half of them at once is taken for an accident of the file system.
const MASS_MIN: usize = 4;

/// What the loader remembers of the files it has seen.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<(TenantId, PluginName), Sight>);

#[derive(Debug, Default)]
struct Sight {
    stamps: Stamps,
    missing_since: Option<Instant>,
}

/// The two files of a plugin, in memory.
struct Copy {
    component: Bytes,
    manifest: Bytes,
    digest: Digest,
}

type Found = BTreeMap<TenantId, Option<BTreeMap<PluginName, Stamps>>>;

impl Inner {
    /// Serves the last good versions the ledger has kept, before any file is looked at.
    pub(super) async fn restore(&self, seen: &mut Seen) {
        let kept = match self.parts.ledger.kept_plugins().await {
            Ok(kept) => kept,
            Err(error) => return tracing::error!(%error, "kept_plugins_unreadable"),
        };
        for stored in kept {
            seen.0.entry((stored.tenant.clone(), stored.name.clone())).or_default();
            let Ok(manifest) = manifest::parse(&stored.manifest) else { continue };
            self.subscribe(&stored.tenant, &stored.name, &manifest);
            let (tenant, name, digest) = (&stored.tenant, &stored.name, stored.digest);
            match self.parts.runtime.admit(stored.wasm.into(), &[]).await {
                Ok(component) => self.swap(self.plugin(tenant, name, digest, manifest, component)),
                Err(error) => self.refuse(tenant, name, Some(digest), error.code, error.detail),
            }
        }
    }

    /// Looks at every folder once and loads what has changed. True where something is to be looked at again soon.
    pub(super) async fn pass(&self, seen: &mut Seen) -> bool {
        let started = self.parts.clock.instant();
        let found = self.look().await;
        let mut again = false;
        for (tenant, plugins) in &found {
            let Some(plugins) = plugins else { continue };
            again |= self.note_missing(seen, tenant, plugins, started).await;
        }
        for (tenant, name, stamps) in fairly(found) {
            let sight = seen.0.entry((tenant.clone(), name.clone())).or_default();
            if sight.stamps == stamps {
                continue;
            }
            match self.load(&tenant, &name, stamps, started).await {
                true => sight.stamps = stamps,
                false => again = true,
            }
        }
        self.fit_budgets();
        again
    }

    async fn look(&self) -> Found {
        let (dir, plugins_max) = (self.settings.tenants_dir.clone(), self.settings.plugins_max);
        let look = move || {
            let tenants = files::tenants(&dir).unwrap_or_else(|error| {
                tracing::warn!(folder = %dir.display(), %error, "folder_unreadable");
                Default::default()
            });
            let scan = |tenant: &TenantId| match files::scan(&dir.join(tenant.as_str()).join("plugins")) {
                Ok(plugins) => Some(plugins.into_iter().take(plugins_max).collect()),
                Err(error) => {
                    tracing::debug!(%tenant, %error, "folder_unreadable");
                    None
                }
            };
            tenants.into_iter().map(|tenant| (tenant.clone(), scan(&tenant))).collect()
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// A plugin whose component or manifest is gone is removed, but not at first sight: a file that is replaced is gone for a moment, and
    /// half a folder that vanishes at once is more likely a mount than a decision.
    async fn note_missing(&self, seen: &mut Seen, tenant: &TenantId, found: &BTreeMap<PluginName, Stamps>, now: Instant) -> bool {
        let whole = |name: &PluginName| found.get(name).is_some_and(|stamps| stamps.component.is_some() && stamps.manifest.is_some());
        let known: Vec<_> = seen.0.keys().filter(|(owner, _)| owner == tenant).map(|(_, name)| name.clone()).collect();
        let missing: Vec<_> = known.iter().filter(|name| !whole(name)).cloned().collect();
        let mass = known.len() >= MASS_MIN && missing.len() * 2 > known.len();
        let patience = if mass { self.settings.rescan } else { self.settings.settle };
        for name in &known {
            let Some(sight) = seen.0.get_mut(&(tenant.clone(), name.clone())) else { continue };
            if whole(name) {
                sight.missing_since = None;
            } else if now.saturating_duration_since(*sight.missing_since.get_or_insert(now)) >= patience {
                seen.0.remove(&(tenant.clone(), name.clone()));
                self.remove(tenant, name).await;
            }
        }
        !missing.is_empty()
    }

    /// Loads one plugin from its files. False where they changed under the reader's hands and are to be read again.
    async fn load(&self, tenant: &TenantId, name: &PluginName, stamps: Stamps, started: Instant) -> bool {
        let copy = match self.copy(tenant, name, stamps).await {
            Ok(Some(copy)) => copy,
            Ok(None) => return false,
            Err(refusal) => {
                self.refuse(tenant, name, None, refusal.code, refusal.detail);
                return true;
            }
        };
        let before = self.serving(tenant, name);
        if before == Some(copy.digest) {
            self.change(|table| table.with(tenant, name, |entry| entry.refusal = None));
            return true;
        }
        match self.admit(tenant, name, &copy).await {
            Ok(plugin) => {
                self.keep(&plugin, &copy).await;
                self.swap(plugin);
                let took = self.parts.clock.instant().saturating_duration_since(started);
                let (tenant, plugin) = (tenant.clone(), name.clone());
                self.parts.observer.record(&PluginSwapped { tenant, plugin, digest: copy.digest, before, took });
            }
            Err((code, detail)) => self.refuse(tenant, name, Some(copy.digest), code, detail),
        }
        true
    }

    async fn copy(&self, tenant: &TenantId, name: &PluginName, stamps: Stamps) -> Result<Option<Copy>, FileRefusal> {
        let missing = |code, what: &str| FileRefusal { code, detail: format!("{name}.{what} is not there; a plugin is both files") };
        if stamps.component.is_none() {
            return Err(missing("component_missing", "wasm"));
        }
        if stamps.manifest.is_none() {
            return Err(missing("manifest_missing", "toml"));
        }
        let home = self.settings.tenants_dir.join(tenant.as_str());
        let path = |extension: &str| -> PathBuf { home.join("plugins").join(format!("{name}.{extension}")) };
        let (component, manifest, bytes_max) = (path("wasm"), path("toml"), self.settings.component_bytes_max);
        let (name, plugins) = (name.clone(), home.join("plugins"));
        let read = move || {
            let component = files::read(&component, &home, bytes_max)?;
            let manifest = files::read(&manifest, &home, manifest::MANIFEST_BYTES_MAX)?;
            let after = files::scan(&plugins).ok().and_then(|mut found| found.remove(&name));
            let digest = Digest::of(&[&component, &manifest]);
            Ok((after == Some(stamps)).then_some(Copy { component, manifest, digest }))
        };
        let gone = |_| FileRefusal { code: "file_unreadable", detail: "the reader was stopped".to_owned() };
        tokio::task::spawn_blocking(read).await.map_err(gone)?
    }

    async fn admit(&self, tenant: &TenantId, name: &PluginName, copy: &Copy) -> Result<Plugin, (&'static str, String)> {
        let manifest = manifest::parse(&copy.manifest).map_err(|problems| ("manifest_invalid", problems))?;
        let component = self.parts.runtime.admit(copy.component.clone(), &[]).await.map_err(|error| (error.code, error.detail))?;
        Ok(self.plugin(tenant, name, copy.digest, manifest, component))
    }

    fn plugin(&self, tenant: &TenantId, name: &PluginName, digest: Digest, manifest: Manifest, component: Component) -> Plugin {
        Plugin {
            tenant: tenant.clone(),
            name: name.clone(),
            digest,
            sources: manifest.sources,
            events: manifest.events,
            config: Arc::new(manifest.config),
            budget: manifest.limits.budget(self.settings.default_budget, self.ceiling(tenant)),
            limits: manifest.limits,
            retry: manifest.retry,
            concurrency_max: manifest.limits.concurrency(),
            component,
            since: self.parts.clock.now(),
        }
    }

    /// Keeps the bytes, so that a restart beside a bad file still serves. A failure costs only that, so the version serves all the same.
    async fn keep(&self, plugin: &Plugin, copy: &Copy) {
        let stored = StoredPlugin {
            tenant: plugin.tenant.clone(),
            name: plugin.name.clone(),
            digest: plugin.digest,
            wasm: copy.component.to_vec(),
            manifest: copy.manifest.to_vec(),
        };
        if let Err(error) = self.parts.ledger.keep_plugin(stored).await {
            tracing::error!(tenant = %plugin.tenant, plugin = %plugin.name, %error, "plugin_not_kept");
        }
    }

    fn subscribe(&self, tenant: &TenantId, name: &PluginName, manifest: &Manifest) {
        let subscription = Arc::new(Subscription { sources: manifest.sources.clone(), events: manifest.events.clone() });
        self.change(|table| table.with(tenant, name, |entry| entry.subscription = Some(Arc::clone(&subscription))));
    }

    fn swap(&self, plugin: Plugin) {
        let subscription = Arc::new(Subscription { sources: plugin.sources.clone(), events: plugin.events.clone() });
        let plugin = Arc::new(plugin);
        self.change(|table| {
            table.with(&plugin.tenant, &plugin.name, |entry| {
                entry.subscription = Some(Arc::clone(&subscription));
                entry.plugin = Some(Arc::clone(&plugin));
                entry.refusal = None;
            })
        });
    }

    fn refuse(&self, tenant: &TenantId, name: &PluginName, digest: Option<Digest>, code: &'static str, reason: String) {
        let digest = digest.map(|digest| digest.to_string());
        let refusal = PluginRefusalView { code: code.to_owned(), reason: reason.clone(), at: self.parts.clock.now(), digest };
        self.change(|table| table.with(tenant, name, |entry| entry.refusal = Some(refusal.clone())));
        self.parts.observer.record(&PluginRefused { tenant: tenant.clone(), plugin: name.clone(), code, reason });
    }

    async fn remove(&self, tenant: &TenantId, name: &PluginName) {
        self.change(|table| table.without(tenant, name));
        if let Err(error) = self.parts.ledger.forget_plugin(tenant, name).await {
            tracing::error!(%tenant, plugin = %name, %error, "plugin_not_forgotten");
        }
        self.parts.observer.record(&PluginRemoved { tenant: tenant.clone(), plugin: name.clone() });
    }

    fn serving(&self, tenant: &TenantId, name: &PluginName) -> Option<Digest> {
        self.table.load().entry(tenant, name)?.plugin.as_ref().map(|plugin| plugin.digest)
    }
}

/// What was found, one plugin of each tenant in turn, so that a tenant with a thousand changed files does not make the others wait.
fn fairly(found: Found) -> Vec<(TenantId, PluginName, Stamps)> {
    let mut turns: Vec<_> = found
        .into_iter()
        .flat_map(|(tenant, plugins)| {
            plugins.unwrap_or_default().into_iter().enumerate().map(move |(turn, found)| (turn, tenant.clone(), found))
        })
        .collect();
    turns.sort_by_key(|(turn, _, _)| *turn);
    turns.into_iter().map(|(_, tenant, (name, stamps))| (tenant, name, stamps)).collect()
}
