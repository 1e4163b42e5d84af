//! From two files to a serving version, or to a refusal that says why.
//!
//! A load changes the table on account of files: it waits for its tenant's turn, reads both whole, hashes, checks the manifest, admits the
//! component, keeps the bytes in the ledger, swaps. Whatever fails leaves the version that serves where it is.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Inner, Plugin,
    admission::{Beside, Candidate, examine},
    files::{self, FileRefusal, Stamps},
    health::Told,
    loads::{Loaded, Wanted},
    look::Found,
    manifest::{self, Manifest},
    refused::Refused,
    table::Subscription,
};
use crate::{
    delivery::{Digest, PluginName, TenantId, report::AdmissionReport},
    egress::Allowed,
    ledger::{Standing, StoredPlugin},
    observe::facts::{PluginBreaker, PluginRemoved, PluginSwapped},
    runtime::{Account, Again, Component, Turn},
    tasks::Tasks,
};

/// How often it is looked whether a file is gone that something waits for.
const GONE_EVERY: Duration = Duration::from_secs(1);

/// What the loader remembers of the files it has seen.
#[derive(Debug, Default)]
pub(super) struct Seen(pub(super) BTreeMap<(TenantId, PluginName), Sight>);

/// What was last seen of one plugin's files.
#[derive(Debug, Default)]
pub(super) struct Sight {
    stamps: Stamps,
    /// What the operator allowed when the files were read.
    allowed: Option<Arc<Allowed>>,
    /// When the same files are to be tried again.
    again: Option<Again>,
    pub(super) missing_since: Option<Instant>,
}

impl Seen {
    /// How long until something is due that no change of a file tells of.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let due = |again: &Again| match again {
            Again::At(when) => when.saturating_duration_since(now),
            Again::WithoutFile(_) => GONE_EVERY,
        };
        self.0.values().filter_map(|sight| sight.again.as_ref()).map(due).min()
    }
}

impl Sight {
    /// These files were looked at, and serve or were refused.
    pub(super) fn loaded(&mut self, stamps: Stamps, allowed: Option<Arc<Allowed>>, again: Option<Again>) {
        (self.stamps, self.allowed, self.again) = (stamps, allowed, again);
    }

    /// Whether the same files are to be tried again now.
    fn is_due(&self, now: Instant) -> bool {
        self.again.as_ref().is_some_and(|again| match again {
            Again::At(when) => *when <= now,
            Again::WithoutFile(file) => !file.exists(),
        })
    }
}

/// The two files of a plugin, in memory.
struct Copy {
    files: Candidate,
    digest: Digest,
}

/// Interfaces whose values are in the ledger of the host that runs the plugin.
const STATEFUL: [&str; 2] = ["kv", "once"];

impl Inner {
    /// Looks at every folder once, and starts to load what has changed. True where something is to be looked at again soon.
    pub(super) async fn pass(self: &Arc<Self>, seen: &mut Seen, tasks: &Tasks) -> bool {
        let started = self.parts.clock.instant();
        let found = self.look().await;
        // After the look: what has ended since is older than what was found.
        let mut again = self.loads.gather(seen);
        for (tenant, plugins) in &found {
            let Some(plugins) = plugins else { continue };
            again |= self.note_missing(seen, tenant, plugins, started).await;
        }
        for (tenant, name, stamps) in fairly(found) {
            if !stamps.both() && self.table.load().is_subscriber(&tenant, &name) {
                // Replaced, perhaps: it is either whole again soon or removed, and no refusal either way.
                continue;
            }
            let key = (tenant, name);
            // Also of what is being loaded: what is not remembered is not forgotten with its files.
            let sight = seen.0.entry(key.clone()).or_default();
            if self.loads.are_loading(&key, stamps) {
                continue;
            }
            let (tenant, name) = &key;
            let allowed = self.known_allowed(tenant);
            let is_same = sight.stamps == stamps && !sight.is_due(started);
            if is_same && !self.may_be_granted(tenant, name, (sight.allowed.as_ref(), allowed.as_ref())) {
                continue;
            }
            self.start_loading(key, stamps, Wanted::since(started), tasks);
        }
        self.fit_budgets();
        again
    }

    /// The same, and waits until everything is loaded.
    #[cfg(test)]
    pub(super) async fn whole_pass(self: &Arc<Self>, seen: &mut Seen, tasks: &Tasks) -> bool {
        let again = self.pass(seen, tasks).await;
        self.loads.idle().await;
        self.loads.gather(seen) || again
    }

    /// Whether files that were refused for want of a grant are to be read again: the operator's file has changed since.
    fn may_be_granted(&self, tenant: &TenantId, name: &PluginName, (then, now): (Option<&Arc<Allowed>>, Option<&Arc<Allowed>>)) -> bool {
        let is_same = then.map(Arc::as_ptr) == now.map(Arc::as_ptr);
        let table = self.table.load();
        let refusal = table.entry(tenant, name).and_then(|entry| entry.refusal.as_ref());
        !is_same && refusal.is_some_and(|refusal| refusal.code == "import_not_granted")
    }

    /// Loads one plugin from its files.
    pub(super) async fn load(&self, tenant: &TenantId, name: &PluginName, stamps: Stamps, wanted: &Wanted) -> Loaded {
        if stamps.both() && self.version(tenant, name).is_none() {
            self.is_compiling(tenant, name, true);
        }
        let turn = self.parts.runtime.turn(Account::Tenant(tenant.clone()));
        let Some(turn) = wanted.unless_called_off(turn).await else { return Loaded::CalledOff };
        if let Err(refused) = self.has_room(tenant, name) {
            self.refuse(tenant, name, refused);
            return Loaded::Done(None);
        }
        let copy = match self.copy(tenant, name, stamps).await {
            Ok(Some(copy)) => copy,
            Ok(None) => return Loaded::Soon,
            Err(refusal) => {
                self.refuse(tenant, name, refusal.into());
                return Loaded::Done(None);
            }
        };
        let before = self.version(tenant, name).map(|plugin| plugin.digest);
        if before == Some(copy.digest) {
            self.change(|table| table.with(tenant, name, |entry| entry.refusal = None));
            return Loaded::Done(None);
        }
        match self.deploy((tenant, name), &copy, &turn, wanted).await {
            Ok(true) => {
                let took = self.parts.clock.instant().saturating_duration_since(wanted.since);
                let (tenant, plugin) = (tenant.clone(), name.clone());
                self.tell_notes(&tenant, &plugin);
                self.parts.observer.record(&PluginSwapped { tenant, plugin, digest: copy.digest, before, took });
                Loaded::Done(None)
            }
            Ok(false) => Loaded::CalledOff,
            Err(refused) => {
                let how = if refused.is_hosts() { Loaded::Soon } else { Loaded::Done(refused.again.clone()) };
                if wanted.is_called_off() {
                    return Loaded::CalledOff;
                }
                self.refuse(tenant, name, refused.of(copy.digest));
                how
            }
        }
    }

    /// Examines a version and swaps it in; false where it was called off. What holds it is asked twice: before the work, and again under the
    /// lock that versions change under, since a roll-back may have been decided meanwhile.
    async fn deploy(&self, (tenant, name): (&TenantId, &PluginName), copy: &Copy, turn: &Turn, wanted: &Wanted) -> Result<bool, Refused> {
        self.standing_for(tenant, name, copy.digest).await?;
        self.is_compiling(tenant, name, true);
        let beside = Beside {
            serving: self.version(tenant, name),
            sample: self.parts.ledger.sample(tenant, name).await.unwrap_or_default(),
            allowed: Some(self.allowed(tenant)),
            more_waits: self.more_waits(tenant, name, copy.digest),
        };
        let assemble = |manifest, component| self.plugin(tenant, name, copy.digest, (manifest, component));
        let rehearsal = self.rehearsal();
        let examining = examine((&rehearsal, turn), &copy.files, &beside, assemble);
        let Some((report, examined)) = wanted.unless_called_off(examining).await else { return Ok(false) };
        let plugin = examined.map_err(|refused| refused.with(report.clone()))?;
        self.shares_state(&plugin.component).map_err(|refused| refused.with(report.clone()))?;
        let _turn = self.versions.lock().await;
        if wanted.is_called_off() {
            return Ok(false);
        }
        self.has_room(tenant, name)?;
        let standing = self.standing_for(tenant, name, copy.digest).await?;
        self.keep(&plugin, copy, &report).await;
        let before = self.version(tenant, name);
        if before.is_some() {
            plugin.health.watch_until(self.parts.clock.instant() + self.settings.watch);
        }
        // It is lifted by another version only.
        let crash = standing.crash.filter(|crash| crash.digest == Some(copy.digest));
        self.swap(Plugin { report: Arc::new(report), ..plugin }, Standing { crash, ..standing }, before.as_ref());
        self.attention.notify_one();
        Ok(true)
    }

    /// A newcomer is refused where the tenant has all it may have.
    fn has_room(&self, tenant: &TenantId, name: &PluginName) -> Result<(), Refused> {
        let (table, plugins_max) = (self.table.load(), self.settings.plugins_max);
        if table.is_subscriber(tenant, name) || table.subscribers(tenant).len() < plugins_max {
            return Ok(());
        }
        let reason = format!("the tenant has all of the {plugins_max} plugins it may have; remove one first");
        Err(Refused::new("too_many_plugins", reason))
    }

    /// A plugin that keeps state is refused where its runs are spread over hosts that do not share it.
    pub(super) fn shares_state(&self, component: &Component) -> Result<(), Refused> {
        match component.report().imports.iter().find(|name| STATEFUL.contains(&name.as_str())) {
            Some(name) if self.settings.shared_work => Err(Refused::new(
                "state_not_shared",
                format!(
                    "imports {name}, whose values each host keeps for itself, and `broker.rabbitmq.shared_work` says that several run it"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// What was decided about the plugin; a refusal where this very version is held.
    async fn standing_for(&self, tenant: &TenantId, name: &PluginName, digest: Digest) -> Result<Standing, Refused> {
        let standing = self.parts.ledger.plugin_standing(tenant, name).await;
        let standing = standing.map_err(|error| Refused::by_host(format!("what was decided about the plugin cannot be read: {error}")))?;
        match standing.holds.iter().find(|hold| hold.digest == digest) {
            Some(hold) => Err(Refused::new("rolled_back", hold.reason.clone())),
            None => Ok(standing),
        }
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
        let (name, bytes_max) = (name.clone(), self.settings.component_bytes_max);
        let read = move || {
            let component = files::read(&home, &format!("{name}.wasm"), bytes_max)?;
            let manifest = files::read(&home, &format!("{name}.toml"), manifest::MANIFEST_BYTES_MAX)?;
            let after = files::scan(&home).ok().and_then(|mut found| found.remove(&name));
            let digest = Digest::of(&[&component, &manifest]);
            Ok((after == Some(stamps)).then_some(Copy { files: Candidate { component, manifest }, digest }))
        };
        let gone = |_| FileRefusal { code: "file_unreadable", detail: "the reader was stopped".to_owned() };
        self.parts.runtime.threads(tenant).run(read).await.map_err(gone)?
    }

    pub(super) fn plugin(
        &self,
        tenant: &TenantId,
        name: &PluginName,
        digest: Digest,
        (manifest, component): (Manifest, Component),
    ) -> Plugin {
        let budget = manifest.limits.budget(self.settings.default_budget, self.ceiling(tenant));
        Plugin::assemble((tenant.clone(), name.clone(), digest), (manifest, component), budget, self.parts.clock.now())
    }

    /// Keeps the bytes, so that a restart beside a bad file still serves. A failure costs only that, so the version serves all the same.
    async fn keep(&self, plugin: &Plugin, copy: &Copy, report: &AdmissionReport) {
        let stored = StoredPlugin {
            tenant: plugin.tenant.clone(),
            name: plugin.name.clone(),
            digest: plugin.digest,
            wasm: copy.files.component.to_vec(),
            manifest: copy.files.manifest.to_vec(),
            report: Some(report.clone()),
        };
        if let Err(error) = self.parts.ledger.keep_plugin(stored).await {
            tracing::error!(tenant = %plugin.tenant, plugin = %plugin.name, %error, "plugin_not_kept");
        }
    }

    /// Puts a version in the place of the one that serves.
    pub(super) fn swap(&self, plugin: Plugin, standing: Standing, before: Option<&Arc<Plugin>>) {
        let subscription = Arc::new(Subscription { sources: plugin.sources.clone(), events: plugin.events.clone() });
        let (plugin, crash) = (Arc::new(plugin), standing.crash.map(Arc::new));
        if crash.is_some() {
            let (tenant, name, faults) = (plugin.tenant.clone(), plugin.name.clone(), plugin.health.lock().breaker.faults());
            let state = Told::Crashed.slug();
            self.parts.observer.record(&PluginBreaker { tenant, plugin: name, digest: plugin.digest, state, faults });
        }
        self.change(|table| {
            table.with(&plugin.tenant, &plugin.name, |entry| {
                entry.subscription = Some(Arc::clone(&subscription));
                entry.expected = None;
                entry.plugin = Some(Arc::clone(&plugin));
                entry.before = before.cloned();
                entry.refusal = None;
                entry.paused = standing.paused;
                entry.crash.clone_from(&crash);
            })
        });
    }

    pub(super) async fn remove(&self, tenant: &TenantId, name: &PluginName) {
        self.loads.call_off(tenant, name);
        // Held only while a version takes the place of another, never during a compile.
        let _turn = self.versions.lock().await;
        self.change(|table| table.without(tenant, name));
        if let Err(error) = self.parts.ledger.forget_plugin(tenant, name).await {
            tracing::error!(%tenant, plugin = %name, %error, "plugin_not_forgotten");
        }
        self.parts.observer.record(&PluginRemoved { tenant: tenant.clone(), plugin: name.clone() });
    }

    fn version(&self, tenant: &TenantId, name: &PluginName) -> Option<Arc<Plugin>> {
        self.table.load().entry(tenant, name)?.plugin.clone()
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn tenants_take_turns() {
        let many = |count: usize| Some((0..count).map(|n| (format!("p{n}").parse().unwrap(), Stamps::default())).collect());
        let found =
            BTreeMap::from([("blue".parse().unwrap(), many(3)), ("red".parse().unwrap(), many(1)), ("sick".parse().unwrap(), None)]);
        let order: Vec<_> = fairly(found).into_iter().map(|(tenant, _, _)| tenant.to_string()).collect();
        assert_eq!(order, ["blue", "red", "blue", "blue"]);
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_is_not_taken_for_gone() {
        let dir = tempfile::tempdir().unwrap();
        let plugins = dir.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        fs::write(plugins.join("p.toml"), b"x").unwrap();
        // A link to itself: looking through it fails, though the name is there.
        std::os::unix::fs::symlink("p.wasm", plugins.join("p.wasm")).unwrap();
        let found = files::scan(dir.path()).unwrap();
        assert!(found[&"p".parse().unwrap()].both());
    }
}
