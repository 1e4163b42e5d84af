//! All that `hookyard check` looks at: the host's file, the machine, every tenant's file and every plugin's manifest, each whatever is wrong with
//! the others.
//!
//! A manifest is sound by itself and can still never run: a source nobody has, an event nobody sends, a credential the tenant lacks. The host
//! takes such a plugin, because the other file may come later; who checks wants to know it now.

use std::{collections::BTreeMap, fs, path::Path};

use super::{Config, Problem, Reading, load_tenants, machine};
use crate::{
    catalog::{self, Listed, Manifest},
    delivery::{PUBLISHED_EVENTS, SourceId, TenantId},
    listen::Listen,
    streams::OptIn,
    tenants::{Directory, Tenant},
    text::nearest,
};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Sound tenants.
    pub tenants: usize,
    /// Plugins with both files.
    pub plugins: usize,
    /// Where deliveries go to, source by source.
    pub doors: Vec<String>,
    /// What may be meant so, and is told.
    pub notes: Vec<String>,
    /// What is wrong, the host's file first.
    pub problems: Vec<Problem>,
}

/// Looks at everything a configuration names; the problems of `reading` are not among those that are found.
#[must_use]
pub fn survey(reading: &Reading, env: &BTreeMap<String, String>) -> Survey {
    let config = &reading.config;
    let mut survey = Survey { problems: machine::problems(config), ..Survey::default() };
    let (directory, problems) = load_tenants(config, env, &Directory::default());
    survey.tenants = directory.tenants.len();
    survey.doors = directory.tenants.values().flat_map(|tenant| doors(config, tenant)).collect();
    survey.named_tenants(config);
    survey.problems.extend(problems);
    let mut homes: Vec<_> = fs::read_dir(&config.tenants_dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    homes.sort();
    for home in homes {
        let id = home.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<TenantId>().ok());
        if let Some(id) = id {
            survey.plugins(&home, directory.tenants.get(&id).map(|tenant| &**tenant));
        }
    }
    survey
}

impl Survey {
    fn problem(&mut self, (file, key): (&Path, &str), (found, expected): (String, String), hint: Option<String>) {
        self.problems.push(Problem { file: file.to_owned(), key: key.to_owned(), found, expected, hint });
    }

    /// Tenants that the host's file names, and have no folder.
    fn named_tenants(&mut self, config: &Config) {
        let folders: Vec<String> = fs::read_dir(&config.tenants_dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        let of_tables = config.secrets.tenants.keys().map(|tenant| (format!("tenants.{tenant}"), tenant));
        let of_streams = config.streams.iter().flat_map(|stream| match &stream.opt_in {
            OptIn::Only(tenants) => tenants.iter().map(|tenant| (format!("streams.{}.tenants", stream.name), tenant)).collect(),
            OptIn::Everyone => Vec::new(),
        });
        for (key, tenant) in of_tables.chain(of_streams).filter(|(_, tenant)| !folders.iter().any(|folder| folder == tenant.as_str())) {
            let hint = nearest(tenant.as_str(), folders.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
            let expected = format!("a tenant with a folder in {}", config.tenants_dir.display());
            self.problem((&config.file, &key), (format!("the tenant `{tenant}`"), expected), hint);
        }
        for stream in &config.streams {
            for event in &stream.events {
                self.event((&config.file, &format!("streams.{}.events", stream.name)), event);
            }
        }
    }

    fn plugins(&mut self, home: &Path, tenant: Option<&Tenant>) {
        let folder = home.join("plugins");
        let inventory = match catalog::inventory(home) {
            Ok(inventory) => inventory,
            Err(error) => return self.problem((&folder, ""), (error.to_string(), "a readable folder".to_owned()), None),
        };
        for name in inventory.misnamed {
            let found = "a file with no plugin's name, which no host looks at".to_owned();
            let expected = "a name of small letters, digits, `-` and `_`, such as check-issues.wasm beside check-issues.toml".to_owned();
            self.problem((&folder.join(name), ""), (found, expected), None);
        }
        for plugin in inventory.plugins {
            self.plugins += usize::from(plugin.has_component && plugin.manifest.is_some());
            self.plugin(&folder, &plugin, tenant);
        }
    }

    fn plugin(&mut self, folder: &Path, Listed { name, has_component, manifest }: &Listed, tenant: Option<&Tenant>) {
        let (component, file) = (folder.join(format!("{name}.wasm")), folder.join(format!("{name}.toml")));
        if !has_component {
            self.problem((&file, ""), (format!("a manifest without {}", component.display()), "both files".to_owned()), None);
        }
        match manifest {
            None => self.problem((&component, ""), (format!("a component without {}", file.display()), "both files".to_owned()), None),
            Some(Err(words)) => {
                for words in parted(words) {
                    let (found, expected) = words.split_once("; expected ").unwrap_or((&words, "a manifest as in docs/plugins.md"));
                    let hint = unknown_key(found).map(|near| format!("did you mean `{near}`?"));
                    self.problem((&file, ""), (found.trim_start_matches("found ").to_owned(), expected.to_owned()), hint);
                }
            }
            Some(Ok(manifest)) => {
                for event in &manifest.events {
                    self.event((&file, "events"), event);
                }
                if let Some(tenant) = tenant {
                    self.sources(&file, manifest, tenant);
                    self.credentials(&file, manifest, tenant);
                }
            }
        }
    }

    fn sources(&mut self, file: &Path, manifest: &Manifest, tenant: &Tenant) {
        let known: Vec<_> = tenant.sources.keys().map(SourceId::as_str).collect();
        for source in manifest.sources.iter().filter(|source| !known.contains(&source.as_str())) {
            let expected = match known.as_slice() {
                [] => format!("a source of the tenant, and its tenant.toml has none: add [sources.{source}]"),
                known => format!("a source of the tenant's tenant.toml: {}", known.join(", ")),
            };
            let hint = nearest(source.as_str(), known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            self.problem((file, "sources"), (format!("`{source}`, of which nothing ever comes"), expected), hint);
        }
    }

    /// Credentials and hosts the manifest asks for, and the tenant's file does not give.
    fn credentials(&mut self, file: &Path, manifest: &Manifest, tenant: &Tenant) {
        let allowed = &tenant.allowed;
        let known: Vec<_> = allowed.credentials.keys().map(String::as_str).collect();
        let of_http = manifest.asked.http.iter().filter_map(|grant| Some(("grants.http", grant.credential.as_deref()?)));
        let asked = of_http.chain(manifest.asked.secrets.iter().map(|grant| ("grants.secrets", grant.credential.as_str())));
        for (key, name) in asked.filter(|(_, name)| !known.contains(name)) {
            let found = format!("the credential `{}`, which the tenant does not have", name.escape_debug());
            let expected = match known.as_slice() {
                [] => "one of [credentials.*] of the tenant's tenant.toml, which has none".to_owned(),
                known => format!("one of the tenant's tenant.toml: {}", known.join(", ")),
            };
            let hint = nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            self.problem((file, key), (found, expected), hint);
        }
        for grant in &manifest.asked.http {
            let Some(host) = &grant.host else { continue };
            if !allowed.http.iter().any(|given| given.host.as_ref() == Some(host)) {
                let hosts: Vec<_> = allowed.http.iter().filter_map(|given| given.host.as_deref()).collect();
                let hint = nearest(host, hosts).map(|near| format!("did you mean `{near}`?"));
                let found = format!("the host `{}`, where this tenant's plugins may send nothing", host.escape_debug());
                self.problem((file, "grants.http"), (found, "a host of a [[grants.http]] of the tenant's tenant.toml".to_owned()), hint);
            }
        }
    }

    /// A misspelt event is a problem; one that is nowhere near a published one may be new, or another provider's.
    fn event(&mut self, (file, key): (&Path, &str), pattern: &str) {
        let event = pattern.split('.').next().unwrap_or_default();
        if event == "*" || PUBLISHED_EVENTS.contains(&event) {
            return;
        }
        match nearest(event, PUBLISHED_EVENTS) {
            Some(near) => {
                let found = format!("`{}`, an event GitHub does not send", pattern.escape_debug());
                self.problem((file, key), (found, "an event of GitHub, or `*`".to_owned()), Some(format!("did you mean `{near}`?")));
            }
            None => self.notes.push(format!("{}: `{}` is no event GitHub publishes", file.display(), pattern.escape_debug())),
        }
    }
}

/// The URLs of a tenant's sources.
fn doors<'a>(config: &'a Config, tenant: &'a Tenant) -> impl Iterator<Item = String> + 'a {
    let scheme = if config.ingest.tls.is_some() { "https" } else { "http" };
    let path = if tenant.id == TenantId::default_tenant() { String::new() } else { format!("/t/{}", tenant.id) };
    let place = match &config.ingest.listen {
        Listen::Tcp(address) => format!("{scheme}://{address}"),
        socket @ Listen::Unix(_) => format!("{socket} "),
    };
    tenant.sources.keys().map(move |source| format!("{place}{path}/webhooks/{source}"))
}

/// The problems of a manifest, one a line. What the parser of TOML says is one problem, without the lines that draw where it is.
fn parted(words: &str) -> Vec<String> {
    if words.starts_with("TOML parse error") {
        return vec![words.lines().filter(|line| !line.contains('|')).collect::<Vec<_>>().join(": ")];
    }
    words.lines().map(str::to_owned).collect()
}

/// The key that was probably meant, where the parser lists the keys there are.
fn unknown_key(words: &str) -> Option<String> {
    let mut quoted = words.split_once("unknown field ")?.1.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    nearest(unknown, quoted).map(str::to_owned)
}
