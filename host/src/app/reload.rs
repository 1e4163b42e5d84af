//! Reading settings again: what is taken, what is refused, and what only a restart takes.
//!
//! Files are read and compared on a cadence: what renews secrets replaces files in more ways than a watcher of files reports, and a few small
//! reads cost nothing. A look of its own accord is careful, because nobody waits for its answer: it takes what it has found twice, so that a file
//! half written is not taken, and it takes no tenant away, because a volume that is not mounted looks like a folder without tenants. Whoever asks
//! for a reload has all of it taken at once, and is told.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    broker::Kind,
    clock::Clock,
    config::{self, Config, Problem, ReadFrom},
    delivery::{
        TenantId,
        report::{ReloadReport, Renewed},
    },
    egress::Egress,
    ledger::Ledger,
    observe::{Observer, facts::SettingsReloaded},
    shares::Holder,
    tasks::Tasks,
    tenants::{Directory, Origin, Tenant, Tenants},
};

/// How often the files are looked at. What has changed is taken at the next look but one.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads again; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Reloader(Arc<Inner>);

/// What is told and renewed.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) tenants: Tenants,
    pub(super) ledger: Ledger,
    pub(super) egress: Egress,
    pub(super) observer: Observer,
}

#[derive(Debug)]
struct Inner {
    /// What the host was started with.
    started: Arc<Config>,
    env: BTreeMap<String, String>,
    file: Option<PathBuf>,
    parts: Parts,
    state: Mutex<State>,
}

/// What earlier looks have found.
#[derive(Debug)]
struct State {
    /// The newest sound state of the host's file that was taken.
    config: Arc<Config>,
    /// What was found of the host's files at the last look.
    seen: Option<ReadFrom>,
    /// How the host's files stood at the last look, and how often in a row.
    stamps: (Vec<Option<Stamp>>, u32),
    /// What the last reading of them came to.
    host: ReloadReport,
    /// What was found of tenants at the last look and is not taken yet.
    pending: BTreeMap<TenantId, Origin>,
    /// What was told last of what is not taken.
    told: (Vec<String>, Vec<String>),
}

/// What tells one state of a file from another without reading it: device, inode, size and the time of its last change.
type Stamp = (u64, u64, u64, i64, i64);

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Somebody who waits for the answer.
    Asked,
    /// The host itself.
    OfItself,
}

impl Reloader {
    pub(super) fn new(started: &Arc<Config>, (env, file): (BTreeMap<String, String>, Option<PathBuf>), parts: Parts) -> Self {
        let state = State {
            config: Arc::clone(started),
            seen: None,
            stamps: (Vec::new(), 0),
            host: ReloadReport::default(),
            pending: BTreeMap::new(),
            told: (Vec::new(), Vec::new()),
        };
        Self(Arc::new(Inner { started: Arc::clone(started), env, file, parts, state: Mutex::new(state) }))
    }

    /// Takes everything that is sound now, and says so in the log as well.
    pub(super) fn reload(&self) -> ReloadReport {
        self.0.look(Look::Asked)
    }

    /// Looks again and again.
    pub(super) fn watch(&self, tasks: &Tasks, clock: &Clock) {
        let (reloader, clock, stop) = (self.clone(), clock.clone(), tasks.clone());
        tasks.spawn("settings", async move {
            loop {
                tokio::select! {
                    () = stop.stopping() => return,
                    () = clock.sleep(LOOK_EVERY) => {}
                }
                let inner = Arc::clone(&reloader.0);
                // A look reads files, and a disk may be slow.
                let threads = inner.started.shares.threads(Holder::Host);
                let looked = threads.run(move || inner.look(Look::OfItself)).await;
                if let Err(error) = looked {
                    tracing::warn!(%error, "settings_not_read");
                }
            }
        });
    }
}

impl Inner {
    fn look(&self, look: Look) -> ReloadReport {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = ReloadReport::default();
        if self.must_read(&mut state, look) {
            let mut host = ReloadReport::default();
            self.host(&mut state, look, &mut host);
            self.authorities(&mut host);
            report = host.clone();
            state.host = ReloadReport { taken: Vec::new(), ..host };
        } else {
            report.clone_from(&state.host);
        }
        self.tenants(&mut state, look, &mut report);
        let news = (report.refused.clone(), report.restart.clone());
        if look == Look::Asked || !report.taken.is_empty() || news != state.told {
            self.parts.observer.record(&SettingsReloaded {
                taken: report.taken.clone(),
                problems: report.refused.clone(),
                restart: report.restart.clone(),
            });
        }
        state.told = news;
        report
    }

    /// Whether the host's files are to be read: somebody asks, or they are not as they were, or have been read only once since. Certificates are
    /// among them, and to read those takes longer than to look.
    fn must_read(&self, state: &mut State, look: Look) -> bool {
        let stamp = |path: &PathBuf| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
        };
        let stamps: Vec<_> = self.started.named.iter().chain(&state.config.named).map(stamp).collect();
        let times = if stamps == state.stamps.0 { state.stamps.1.saturating_add(1) } else { 0 };
        state.stamps = (stamps, times);
        look == Look::Asked || times < 2
    }

    /// The host's own file, and the files it names.
    fn host(&self, state: &mut State, look: Look, report: &mut ReloadReport) {
        let reading = config::read(self.file.as_deref(), &self.env);
        let found = reading.config.read_from.clone();
        let is_settled = look == Look::Asked || state.seen.as_ref() == Some(&found);
        if !reading.problems.is_empty() {
            report.refused.extend(reading.problems.iter().map(words));
            state.seen = Some(found);
            return;
        }
        report.restart = self.started.read_from.needs_restart(&found);
        let is_news = found != state.config.read_from;
        state.seen = Some(found);
        if !is_settled || !is_news {
            return;
        }
        self.renew(&reading.config, report);
        state.config = Arc::new(reading.config);
    }

    /// What is not in the keys but behind them: credentials and certificates, which the next connection uses.
    fn renew(&self, config: &Config, report: &mut ReloadReport) {
        let mut told = |what: String, renewed: Renewed| match renewed {
            Renewed::Same => {}
            Renewed::Taken => report.taken.push(format!("{what}, from the next connection on")),
            Renewed::Elsewhere => report.restart.push(format!("{what} names another place")),
        };
        if let (Kind::RabbitMq(now), Kind::RabbitMq(new)) = (&self.started.broker, &config.broker) {
            told("broker.rabbitmq: the URL or its certificates".to_owned(), now.address.renew(&new.address));
            if let (Some(now), Some(new)) = (&now.management, &new.management) {
                told("broker.rabbitmq.management_url".to_owned(), now.renew(new));
            }
        }
        for now in &self.started.streams {
            if let Some(new) = config.streams.iter().find(|new| new.name == now.name) {
                told(format!("streams.{}: the URL or its certificates", now.name), now.outlet.renew(&new.outlet));
            }
        }
    }

    /// Certificates that plugins' requests trust; a file half written has other content at the next look.
    fn authorities(&self, report: &mut ReloadReport) {
        match self.parts.egress.renew() {
            Ok(Renewed::Taken) => report.taken.push("egress.ca_file, from the next connection on".to_owned()),
            Ok(Renewed::Same | Renewed::Elsewhere) => {}
            Err(error) => report.refused.push(format!("{error:#}")),
        }
    }

    fn tenants(&self, state: &mut State, look: Look, report: &mut ReloadReport) {
        let current = self.parts.tenants.snapshot();
        let (found, problems) = config::load_tenants(&state.config, &self.env, &current);
        report.refused.extend(problems.iter().map(words));
        let Taken { directory, names, pending } = take(&current, &found, &state.pending, look);
        state.pending = pending;
        for tenant in directory.tenants.values().filter(|tenant| !tenant.origin.variables.is_empty()) {
            let (id, variables) = (&tenant.id, tenant.origin.variables.join(", "));
            report.notes.push(format!("tenant {id} has secrets in variables, which only a restart reads again: {variables}"));
        }
        report.taken.extend(names);
        self.parts.ledger.allow(directory.quotas());
        self.parts.tenants.replace(directory);
    }
}

/// What becomes of a look at the tenants.
struct Taken {
    directory: Directory,
    /// Which tenants changed, in words.
    names: Vec<String>,
    pending: BTreeMap<TenantId, Origin>,
}

/// Which of what was found counts now. Pure.
fn take(current: &Directory, found: &Directory, before: &BTreeMap<TenantId, Origin>, look: Look) -> Taken {
    let mut taken = Taken { directory: Directory::default(), names: Vec::new(), pending: BTreeMap::new() };
    for (id, new) in &found.tenants {
        let old = current.tenants.get(id);
        let is_same = old.is_some_and(|old| Arc::ptr_eq(old, new));
        let is_settled = look == Look::Asked || before.get(id) == Some(&new.origin);
        let lost_its_file = old.is_some_and(|old| old.origin.has_file && !new.origin.has_file);
        let counts = is_same || (is_settled && !(lost_its_file && look == Look::OfItself));
        let next: Option<&Arc<Tenant>> = if counts { Some(new) } else { old };
        if let Some(tenant) = next {
            taken.directory.tenants.insert(id.clone(), Arc::clone(tenant));
        }
        if counts && !is_same {
            taken.names.push(format!("tenant {id}: {}", if old.is_some() { "its file or its secrets have changed" } else { "it is new" }));
        } else if !counts {
            taken.pending.insert(id.clone(), new.origin.clone());
        }
    }
    for (id, old) in current.tenants.iter().filter(|(id, _)| !found.tenants.contains_key(*id)) {
        match look {
            Look::Asked => taken.names.push(format!("tenant {id}: its folder is gone, and so is the tenant")),
            Look::OfItself => drop(taken.directory.tenants.insert(id.clone(), Arc::clone(old))),
        }
    }
    taken
}

/// Says which tenants are not served at the start, and why.
pub(super) fn say(problems: &[Problem], observer: &Observer) {
    observer.record(&SettingsReloaded { problems: problems.iter().map(words).collect(), ..SettingsReloaded::default() });
}

/// A problem in one line.
fn words(problem: &Problem) -> String {
    let key = if problem.key.is_empty() { String::new() } else { format!(" {}", problem.key) };
    format!("{}{key}: found {}, expected {}", problem.file.display(), problem.found, problem.expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{load, load_tenants};

    const TENANT: &str = "[sources.github]\nscheme = \"github\"\nsecrets = [{ file = \"s\" }]\n";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.write("hookyard.toml", "");
            folder.write("tenants/red/tenant.toml", TENANT);
            folder.write("tenants/red/s", "a-secret-of-enough-bytes");
            folder
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn read(&self, current: &Directory) -> Directory {
            let config = load(Some(&self.0.path().join("hookyard.toml")), &BTreeMap::new()).unwrap();
            load_tenants(&config, &BTreeMap::new(), current).0
        }
    }

    fn red() -> TenantId {
        "red".parse().unwrap()
    }

    fn secret(directory: &Directory) -> &[u8] {
        directory.tenants[&red()].sources.values().next().map_or(&[], |source| source.secrets[0].expose())
    }

    #[test]
    fn what_is_read_again_and_is_the_same_stays_the_same() {
        let folder = Folder::new();
        let before = folder.read(&Directory::default());
        let again = folder.read(&before);
        assert!(Arc::ptr_eq(&before.tenants[&red()], &again.tenants[&red()]));
        folder.write("tenants/red/s", "another-secret-of-enough");
        assert!(!Arc::ptr_eq(&before.tenants[&red()], &folder.read(&before).tenants[&red()]), "behind the file is a part of it");
    }

    #[test]
    fn a_look_of_its_own_accord_takes_what_it_finds_twice_and_who_asks_has_it_at_once() {
        let folder = Folder::new();
        let current = folder.read(&Directory::default());
        folder.write("tenants/red/s", "another-secret-of-enough");
        let found = folder.read(&current);
        let first = take(&current, &found, &BTreeMap::new(), Look::OfItself);
        assert!(first.names.is_empty() && secret(&first.directory) == b"a-secret-of-enough-bytes", "it may be half written");
        let second = take(&first.directory, &folder.read(&first.directory), &first.pending, Look::OfItself);
        assert_eq!((second.names.len(), secret(&second.directory)), (1, b"another-secret-of-enough".as_slice()));
        let asked = take(&current, &found, &BTreeMap::new(), Look::Asked);
        assert_eq!((asked.names.len(), secret(&asked.directory)), (1, b"another-secret-of-enough".as_slice()));
    }

    #[test]
    fn no_tenant_is_taken_away_unless_somebody_asks() {
        let folder = Folder::new();
        let current = folder.read(&Directory::default());
        fs::remove_file(folder.0.path().join("tenants/red/tenant.toml")).unwrap();
        for gone in [false, true] {
            if gone {
                fs::remove_dir_all(folder.0.path().join("tenants/red")).unwrap();
            }
            let mut kept = take(&current, &folder.read(&current), &BTreeMap::new(), Look::OfItself);
            kept = take(&kept.directory, &folder.read(&kept.directory), &kept.pending, Look::OfItself);
            assert!(kept.names.is_empty() && !secret(&kept.directory).is_empty(), "{gone}: a volume may not be mounted");
            let asked = take(&current, &folder.read(&current), &BTreeMap::new(), Look::Asked);
            assert_eq!((asked.names.len(), asked.directory.tenants.contains_key(&red())), (1, !gone));
        }
    }
}
