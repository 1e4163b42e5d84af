//! The sandbox: one engine, bounded runs, one invocation → one outcome.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    delivery::{
        Delivery, Digest, Effects, Outcome, PluginName, Timestamp,
        view::{HostCall, LogLine},
    },
    ledger::Ledger,
    tenants::Budget,
};

/// Where components are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, on a thread of its own: for one-shot commands and tests.
    InProcess,
    /// In a child process of this executable (`hookyard compile`), which lowers its own limits first and fills the private cache.
    Child(PathBuf),
}

/// How the runtime is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Runs at once, all tenants together; also the size of the pooling allocator.
    pub concurrency_max: usize,
    /// The private compile cache (made with mode 0700); none keeps compiled code in memory only.
    pub cache_dir: Option<PathBuf>,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Largest component file.
    pub component_bytes_max: u64,
    /// Longest time one compilation may take.
    pub compile_timeout: Duration,
    /// Memory of one compilation.
    pub compile_memory_bytes_max: u64,
}

/// Why a component was not admitted, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct AdmissionError {
    /// The refusal's slug, an entry of `docs/failures.md`.
    pub code: &'static str,
    /// What was found, what was expected, what to do.
    pub detail: String,
}

/// What is known of a component without running it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// `pure-handler` or `webhook-handler`, from what it imports and exports.
    pub world: String,
    /// `hookyard:plugin` interfaces it imports: its permission request.
    pub imports: Vec<String>,
    /// WASI interfaces it imports: linked, and powerless.
    pub wasi_imports: Vec<String>,
    /// Size of the file.
    pub component_bytes: u64,
    /// Core instances one run needs.
    pub core_instances: u32,
    /// Linear memories one run needs.
    pub memories: u32,
}

/// A compiled component, linked and ready to be instantiated; cheap to clone.
#[derive(Clone)]
pub struct Component(Arc<()>);

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Component")
    }
}

impl Component {
    /// What is known of it.
    #[must_use]
    pub fn report(&self) -> &Report {
        todo!()
    }
}

/// What the host calls of a run reach.
#[derive(Clone, Debug)]
pub enum Gate {
    /// kv and once are read from the ledger, effects are collected for the settlement.
    Live(Ledger),
    /// There is no way out: kv and once begin empty and live for the run, effects are collected and shown.
    Dry,
}

/// One run to be made.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is to be handled.
    pub delivery: Arc<Delivery>,
    /// Which plugin it is for.
    pub plugin: PluginName,
    /// 1-based.
    pub attempt: u32,
    /// The leg's generation.
    pub generation: u32,
    /// The wall clock the guest sees at its start.
    pub started_at: Timestamp,
    /// Which version.
    pub digest: Digest,
    /// The `[config]` table.
    pub config: Arc<serde_json::Value>,
    /// What it may spend.
    pub budget: Budget,
    /// What its host calls reach.
    pub gate: Gate,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// How it ended.
    pub outcome: Outcome,
    /// What it wants changed; empty unless it acked or skipped.
    pub effects: Effects,
    /// How long it took.
    pub duration: Duration,
    /// Fuel used, and how much it had.
    pub fuel: u64,
    /// The fuel it had.
    pub fuel_max: u64,
    /// Largest sum of linear memories.
    pub memory_peak_bytes: u64,
    /// The memory it had.
    pub memory_bytes_max: u64,
    /// What it logged.
    pub logs: Vec<LogLine>,
    /// What it asked of the host.
    pub host_calls: Vec<HostCall>,
}

/// The sandbox; cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<()>);

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

impl Runtime {
    /// Sets the engine up and starts its epoch ticker.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        let _ = settings;
        todo!()
    }

    /// Proves on itself that an endless loop is stopped by each of the three bounds; the host does not start otherwise.
    pub async fn prove_bounds(&self) -> anyhow::Result<()> {
        todo!()
    }

    /// Checks and compiles a component. `granted` are the interfaces beyond the free ones (`log`, `config`, `kv`, `once`, `emit`) it may import.
    pub async fn admit(&self, wasm: Bytes, granted: &[&str]) -> Result<Component, AdmissionError> {
        let _ = (wasm, granted);
        todo!()
    }

    /// What is known of a component file, without compiling it.
    pub fn inspect(wasm: &[u8]) -> Result<Report, AdmissionError> {
        let _ = wasm;
        todo!()
    }

    /// Makes one run. Never fails: every ending is an outcome.
    pub async fn invoke(&self, component: &Component, run: Run) -> RunReport {
        let _ = (component, run);
        todo!()
    }
}

/// The body of `hookyard compile`: reads its limits and a component from `input`, lowers its own limits, and fills the cache.
pub fn compile_child(cache_dir: &std::path::Path, input: &mut dyn std::io::Read) -> anyhow::Result<()> {
    let _ = (cache_dir, input);
    todo!()
}
