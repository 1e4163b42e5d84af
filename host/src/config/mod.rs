//! File shape → checked settings.
//!
//! Settings types belong to the modules that use them; this floor alone knows that they come from TOML, and from the environment laid over
//! it. Every problem of every file is told at once, with file, key, found and expected, and never with a secret. A file that is read again
//! is taken whole or not at all: a tenant whose file has gone bad keeps what it had.

mod allowed;
mod broker;
mod host;
mod machine;
mod overlay;
mod pem;
mod reader;
mod secrets;
mod shares;
mod streams;
mod survey;
mod tenant;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    admin,
    broker::Kind,
    catalog,
    confine::Paths,
    delivery::Digest,
    egress, ingest,
    ledger::{self, ClosedFolder},
    runtime,
    shares::Shares,
    signature::Secret,
    streams::StreamSettings,
    tenants::{Budget, Directory},
    work,
};

pub use secrets::{SecretPlaces, SecretSources};
pub use survey::{Survey, survey};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "hookyard.toml";

/// Everything the host needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the ledger, the admin token and the compile cache.
    pub data_dir: PathBuf,
    /// The folder of the tenants.
    pub tenants_dir: PathBuf,
    /// The door.
    pub ingest: ingest::Settings,
    /// The admin listener.
    pub admin: admin::Settings,
    /// The store.
    pub ledger: ledger::Settings,
    /// The sandbox.
    pub runtime: runtime::Settings,
    /// The queue.
    pub broker: Kind,
    /// The key this host has made for its messages at RabbitMQ, where it needs one and none is configured.
    pub own_amqp_key: Option<Secret>,
    /// What this process does.
    pub roles: Roles,
    /// The plugins.
    pub catalog: catalog::Settings,
    /// The way out.
    pub egress: egress::Settings,
    /// The workers.
    pub work: work::Settings,
    /// What is streamed onward.
    pub streams: Vec<StreamSettings>,
    /// What is shared, and how much of it one holder may have; the parts have the same handle.
    pub shares: Shares,
    /// Where tenants' secrets may come from.
    pub secrets: SecretSources,
    /// The host's ceiling of every tenant's budget.
    pub ceiling: Budget,
    /// How long stopping may take.
    pub grace: std::time::Duration,
    /// `human` or `json` log lines; by default human on a terminal.
    pub log_format: Option<String>,
    /// A `tracing` filter, `info` by default.
    pub log_filter: String,
    /// Whether the process gives up every file its configuration does not name.
    pub landlock: bool,
    /// The host's file, also where it is not there.
    pub file: PathBuf,
    /// Every file and folder the host's file names, and that file itself.
    pub named: Vec<PathBuf>,
    /// Every key and the value in force, for people.
    pub effective: Vec<(String, String)>,
    /// What was read, key by key.
    pub read_from: ReadFrom,
}

/// What a configuration was read from, as digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadFrom {
    /// Every key as it is written in the file or a variable.
    written: BTreeMap<String, Digest>,
    /// What stood in the files and variables that keys name.
    behind: BTreeMap<String, Digest>,
}

impl ReadFrom {
    /// Keys that are another's now, or have other content behind them, and count after a restart only.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let differs = |before: &BTreeMap<String, Digest>, after: &BTreeMap<String, Digest>| -> Vec<String> {
            let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            keys.into_iter().filter(|key| before.get(*key) != after.get(*key) && !is_live(key)).cloned().collect()
        };
        let keys: BTreeSet<_> = differs(&self.written, &new.written).into_iter().chain(differs(&self.behind, &new.behind)).collect();
        keys.into_iter().collect()
    }
}

/// Whether a key counts as soon as it is read again: where tenants' secrets may come from, and what connections are made with.
fn is_live(key: &str) -> bool {
    const CONNECTING: [&str; 5] = ["url", "management_url", "ca", "certificate", "key"];
    let of_rabbitmq = key.strip_prefix("broker.rabbitmq.").and_then(|rest| rest.split('.').next());
    let of_stream = key.strip_prefix("streams.").and_then(|rest| rest.split('.').nth(1));
    ["secret_env_allow", "secret_dirs"].iter().any(|name| key == *name || (key.starts_with("tenants.") && key.ends_with(name)))
        || of_rabbitmq.is_some_and(|part| CONNECTING.contains(&part))
        || of_stream.is_some_and(|part| ["url", "tls"].contains(&part))
}

/// What a process does; with the embedded broker always everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Takes deliveries.
    pub ingest: bool,
    /// Runs plugins.
    pub work: bool,
    /// Answers operators.
    pub admin: bool,
}

impl Roles {
    /// Everything.
    pub const ALL: Self = Self { ingest: true, work: true, admin: true };
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.ingest, "ingest"), (self.work, "work"), (self.admin, "admin")];
        let names: Vec<_> = names.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        f.write_str(&names.join(","))
    }
}

/// One thing wrong in one file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Which file.
    pub file: PathBuf,
    /// Which key, dotted; empty for the file itself.
    pub key: String,
    /// What stands there; never a secret.
    pub found: String,
    /// What should stand there.
    pub expected: String,
    /// What to do, where there is something to say.
    pub hint: Option<String>,
}

/// What was read of the host's file and the environment.
#[derive(Debug)]
pub struct Reading {
    /// As far as it is sound; defaults in the place of what is not. Good for looking on, never for starting.
    pub config: Config,
    /// All problems at once.
    pub problems: Vec<Problem>,
    /// Whether the file itself could be read as TOML, or is not there and need not be.
    pub is_whole: bool,
}

/// Reads `file` (or [`DEFAULT_FILE`], or only defaults where that does not exist) and the `HOOKYARD_…` variables of `env`. Paths in the file
/// are relative to it.
#[must_use]
pub fn read(file: Option<&Path>, env: &BTreeMap<String, String>) -> Reading {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let found = if file.is_none() && !path.exists() { Ok(toml::Table::new()) } else { secrets::read_toml(path) };
    let (mut table, unreadable) = found.map_or_else(|problem| (toml::Table::new(), Some(problem)), |table| (table, None));
    let variables = overlay::apply(&mut table, env);
    let mut reader = reader::Reader::overlaid(path, (table, variables));
    let token = admin_token(&mut reader, env);
    let (broker, own_amqp_key) = broker::read(&mut reader, env);
    let parts = (broker, streams::read(&mut reader, env));
    let mut config = Config { own_amqp_key, ..host::read(&mut reader, token, parts) };
    config.named = std::mem::take(&mut reader.named);
    config.named.extend(config.secrets.dirs());
    config.named.push(path.to_owned());
    path.clone_into(&mut config.file);
    reader.misspelt_variables(env);
    config.read_from = ReadFrom { written: reader.written(), behind: std::mem::take(&mut reader.behind) };
    let (effective, mut problems) = reader.finish();
    config.effective = effective;
    let is_whole = unreadable.is_none();
    problems.extend(unreadable);
    Reading { config, problems, is_whole }
}

/// The same, and the configuration only where nothing is wrong with it.
pub fn load(file: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Config, Vec<Problem>> {
    let Reading { config, problems, .. } = read(file, env);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Reads every `tenants/<tenant>/tenant.toml`. A tenant whose file has problems keeps its entry of `current`, where it has one.
#[must_use]
pub fn load_tenants(config: &Config, env: &BTreeMap<String, String>, current: &Directory) -> (Directory, Vec<Problem>) {
    tenant::load_all(config, env, current)
}

impl Config {
    /// What the host opens while it runs: it writes to its data folder only. Folders of tenants may be links.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let tenants = fs::read_dir(&self.tenants_dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let linked = tenants.filter(|path| path.is_symlink() && path.is_dir());
        let read = self.named.iter().filter(|path| **path != self.data_dir).cloned().chain(linked).collect();
        Paths { read, write: vec![self.data_dir.clone()] }
    }
}

/// Where the admin token stands, where no variable or file was named for it.
#[must_use]
pub fn admin_token_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.token")
}

/// Makes the data folder where it is not there yet, for its owner only; one that was open to others is closed, which is to be told.
pub fn make_data_dir(config: &Config) -> io::Result<Option<ClosedFolder>> {
    ledger::own_folder(&config.data_dir).map_err(io::Error::other)
}

/// Writes the admin token this configuration was loaded with where nobody has one yet, for the owner only.
pub fn keep_admin_token(config: &Config) -> io::Result<()> {
    keep(&config.data_dir, &admin_token_file(&config.data_dir), &config.admin.token)
}

/// Writes the key this host has made for its messages at RabbitMQ where it is not written yet, for the owner only: before the first message.
pub fn keep_amqp_key(config: &Config) -> io::Result<()> {
    let Some(key) = &config.own_amqp_key else { return Ok(()) };
    keep(&config.data_dir, &broker::own_key_file(&config.data_dir), key)
}

/// Writes a secret once, and whole or not at all. An empty file is what a power cut leaves of one that was being written.
fn keep(data_dir: &Path, path: &Path, secret: &Secret) -> io::Result<()> {
    if let Some(closed) = ledger::own_folder(data_dir).map_err(io::Error::other)? {
        closed.tell();
    }
    if fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
    file.write_all(secret.expose())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(data_dir)?.sync_all()
}

/// The token: from the variable or file that is named, else the one made at an earlier start, else a new one.
fn admin_token(reader: &mut reader::Reader, env: &BTreeMap<String, String>) -> Secret {
    const KEY: &str = "admin.token";
    let problems_before = reader.problems.len();
    let default = || toml::Value::Table(toml::Table::from_iter([("env".to_owned(), toml::Value::from("HOOKYARD_ADMIN_TOKEN"))]));
    let named = reader.value(KEY).unwrap_or_else(default);
    let is_unset = named.get("env").and_then(toml::Value::as_str).is_some_and(|name| env.get(name).is_none_or(String::is_empty));
    let given = if is_unset { None } else { secrets::resolve_host_value(reader, KEY, &named, env) };
    let file = admin_token_file(&reader.path("data_dir", "data"));
    let token = given.or_else(|| made_before(reader, &file)).or_else(random_token).unwrap_or_else(|| {
        reader.problem(KEY, "no random bytes from the system", "{ env = \"NAME\" } or { file = \"path\" }");
        // Never used: a configuration with a problem starts nothing.
        Secret::from_nonempty([0; secrets::BYTES_MIN])
    });
    if reader.problems.len() == problems_before {
        secrets::check_length(reader, KEY, &token);
    }
    token
}

/// The token of an earlier start. One that cannot be read is no reason for another: nobody would find the new one there.
fn made_before(reader: &mut reader::Reader, file: &Path) -> Option<Secret> {
    match fs::read(file) {
        Ok(bytes) => Secret::new(bytes.trim_ascii()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let told = (format!("{}: {error}", file.display()), "the token of an earlier start, readable for the host's user".to_owned());
            reader.problem_with_hint("admin.token", told, Some("run this as the user the host runs as".to_owned()));
            None
        }
    }
}

fn random_token() -> Option<Secret> {
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom").ok()?.read_exact(&mut bytes).ok()?;
    Secret::new(Digest::from_bytes(bytes).to_string())
}

#[cfg(test)]
mod tests;
