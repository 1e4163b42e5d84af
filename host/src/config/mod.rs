//! File shape → checked settings.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    admin, catalog, ingest, ledger, runtime,
    tenants::{Budget, Directory},
    work,
};

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
    /// The plugins.
    pub catalog: catalog::Settings,
    /// The workers.
    pub work: work::Settings,
    /// The host's ceiling of every tenant's budget.
    pub ceiling: Budget,
    /// How long stopping may take.
    pub grace: std::time::Duration,
    /// `human` or `json` log lines; by default human on a terminal.
    pub log_format: Option<String>,
    /// A `tracing` filter, `info` by default.
    pub log_filter: String,
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

/// Reads `file` (or `hookyard.toml`, or only defaults where that does not exist) and the `HOOKYARD_…` variables of `env`. All problems at once.
pub fn load(file: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Config, Vec<Problem>> {
    let _ = (file, env);
    todo!()
}

/// Reads every `tenants/<tenant>/tenant.toml`. A tenant whose file has problems keeps its entry of `current`, where it has one.
#[must_use]
pub fn load_tenants(config: &Config, env: &BTreeMap<String, String>, current: &Directory) -> (Directory, Vec<Problem>) {
    let _ = (config, env, current);
    todo!()
}
