//! The sandbox: one engine, bounded runs, one invocation → one outcome.
//!
//! A component passes the admission (what it is, imports, exports and needs, without a compiler), is compiled within bounds, linked once,
//! and from then on each run is a fresh store: instantiate, call, drop. Fuel, epoch and wall clock are armed before the guest's first
//! instruction, and every ending, the guest's word or what befell it, comes back as one [`RunReport`]. A run is a function of (component,
//! configuration, delivery, attempt, answers to its host calls) and of nothing else.

mod admit;
mod bindings;
mod compile;
mod engine;
mod fault;
mod gate;
mod imports;
mod invoke;
mod limiter;
mod logbook;
mod memory;
mod reach;
mod recording;
mod script;
mod selftest;
mod shape;
mod state;
mod validate;
mod wasi;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::Semaphore;
use wasmtime::component::{ComponentExportIndex, Linker};

use self::{bindings::WebhookHandlerPre, compile::Workshop, engine::Sandbox, state::State};
pub use self::{
    compile::compile_child,
    memory::run_memory,
    recording::Recording,
    script::{Exchange, Script},
};
use crate::{
    clock::Clock,
    delivery::{
        Delivery, Digest, Effects, Outcome, PluginName, TenantId, Timestamp, Upstream,
        view::{HostCall, LogLine},
    },
    egress::{Egress, Standing},
    ledger::Ledger,
    shares::{Held, Holder, Resource, Shares, Threads},
    tenants::Budget,
};

/// Where components are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, on a thread of its own: for one-shot commands and tests.
    InProcess,
    /// In a child process of this executable (`hookyard compile`), which lowers its own limits first and closes itself up.
    Child(PathBuf),
}

/// How the runtime is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Runs at once, all tenants together; also the size of the pooling allocator.
    pub concurrency_max: usize,
    /// The private compile cache (made with mode 0700). Where there is none, a child's code is kept as long as the runtime, and what is
    /// compiled in this process is in memory only.
    pub cache_dir: Option<PathBuf>,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Largest component file.
    pub component_bytes_max: u64,
    /// Longest time one compilation may take.
    pub compile_timeout: Duration,
    /// Memory of one compilation; compiled code may have a quarter of it.
    pub compile_memory_bytes_max: u64,
    /// Whose turn it is to compile, and how much of the compiler's time each tenant may have.
    pub shares: Shares,
}

/// On whose account a component is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// The host's own, or of a command that compiles for its caller.
    Host,
    /// A tenant's, who put it there: within the tenant's compile time.
    Tenant(TenantId),
    /// A tenant's, of whom it was served before: it takes the tenant's turn, and is never refused for want of compile time.
    Kept(TenantId),
}

/// A turn at the compiler, given back on drop. Whoever needs one takes it before the component is read, so that what waits holds no bytes.
#[derive(Debug)]
pub struct Turn {
    account: Account,
    _held: Held,
}

/// When a component that was refused is to be tried again without having been changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// From this moment on.
    At(Instant),
    /// As soon as this file is gone.
    WithoutFile(PathBuf),
}

/// Why a component was not admitted, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct AdmissionError {
    /// The refusal's slug, an entry of `docs/failures.md`.
    pub code: &'static str,
    /// What was found, what was expected, what to do.
    pub detail: String,
    /// When the same bytes are to be tried again; only after a change where it is not said.
    pub again: Option<Again>,
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
    /// Whether it exports `validate-config`.
    pub validates_config: bool,
}

/// A compiled component, linked and ready to be instantiated; cheap to clone.
#[derive(Clone)]
pub struct Component(Arc<Linked>);

struct Linked {
    pre: WebhookHandlerPre<State>,
    validate: Option<ComponentExportIndex>,
    report: Report,
}

impl Account {
    fn holder(&self) -> Holder {
        match self {
            Self::Host => Holder::Host,
            Self::Tenant(tenant) | Self::Kept(tenant) => Holder::tenant(tenant),
        }
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Component").field(&self.0.report).finish()
    }
}

impl Component {
    /// What is known of it.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.0.report
    }

    fn pre(&self) -> &WebhookHandlerPre<State> {
        &self.0.pre
    }

    fn validate(&self) -> Option<&ComponentExportIndex> {
        self.0.validate.as_ref()
    }
}

/// What the host calls of a run reach.
#[derive(Clone, Debug)]
pub enum Gate {
    /// kv and once are read from the ledger, requests leave the host, effects are collected for the settlement.
    Live(Box<Outside>),
    /// There is no way out: kv and once begin empty and live for the run, effects are collected and shown, no request is sent.
    Dry,
    /// There is no way out either: the store and every answer are written down beforehand.
    Scripted(Box<Script>),
    /// There is no way out either: what is asked is answered as it was in the past.
    Replay(Box<Recording>),
}

/// What a live run reaches.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Behind kv and once.
    pub ledger: Ledger,
    /// The way out.
    pub egress: Egress,
    /// Where to, for this run; looked at with each call.
    pub reach: Standing,
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
    /// How it found the servers it called; nothing where the run had no way out.
    pub upstreams: Vec<Upstream>,
}

/// The sandbox; cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    sandbox: Sandbox,
    linker: Linker<State>,
    workshop: Workshop,
    places: Semaphore,
    component_bytes_max: u64,
    shares: Shares,
    clock: Clock,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("allocator", &self.allocator()).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Sets the engine up and starts its epoch ticker.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        anyhow::ensure!(settings.concurrency_max > 0, "a runtime needs room for at least one run");
        let (concurrency_max, component_bytes_max) = (settings.concurrency_max, settings.component_bytes_max);
        let shares = settings.shares.clone();
        // An eighth, so that what stays resident between runs is little beside what runs may have.
        let resident_bytes_max = shares.pool(Resource::RunMemory).limit().bound / 8;
        let clock = Clock::system();
        let workshop = Workshop::new(settings, clock.clone())?;
        let sandbox = Sandbox::new(concurrency_max, resident_bytes_max, workshop.cache()?.as_ref())?;
        let mut linker = Linker::new(&sandbox.engine);
        wasi::link(&mut linker)?;
        imports::link(&mut linker)?;
        let places = Semaphore::new(concurrency_max.min(Semaphore::MAX_PERMITS));
        Ok(Self(Arc::new(Inner { sandbox, linker, workshop, places, component_bytes_max, shares, clock })))
    }

    /// How instances get their memory: `pooling`, or `on_demand` where the address space does not hold the pool.
    #[must_use]
    pub fn allocator(&self) -> &'static str {
        self.0.sandbox.allocator
    }

    /// Proves on itself that an endless loop is stopped by each of the three bounds; the host does not start otherwise.
    pub async fn prove_bounds(&self) -> anyhow::Result<()> {
        let probe = self.0.workshop.trusted(&self.0.sandbox.engine, selftest::PROBE).context("the self-test does not compile")?;
        selftest::prove(&self.0.sandbox.engine, &probe, &self.0.clock).await
    }

    /// The threads that may block, as the tenant has them.
    #[must_use]
    pub fn threads(&self, tenant: &TenantId) -> Threads {
        self.0.shares.threads(Holder::tenant(tenant))
    }

    /// A turn at the compiler: one tenant has its share of them, and they go round between tenants.
    pub async fn turn(&self, account: Account) -> Turn {
        self.0.workshop.turn(account).await
    }

    /// Checks and compiles a component on the host's account. `granted` are the interfaces beyond the free ones (`log`, `config`, `kv`,
    /// `once`, `emit`) it may import.
    pub async fn admit(&self, wasm: Bytes, granted: &[&str]) -> Result<Component, AdmissionError> {
        self.admit_in(&self.turn(Account::Host).await, wasm, granted).await
    }

    /// The same in a turn that was taken before.
    pub async fn admit_in(&self, turn: &Turn, wasm: Bytes, granted: &[&str]) -> Result<Component, AdmissionError> {
        let (bytes, bytes_max) = (wasm.len() as u64, self.0.component_bytes_max);
        if bytes > bytes_max {
            let detail = format!("the component has {bytes} bytes, and {bytes_max} are allowed; strip it, or raise `component_bytes_max`");
            return Err(AdmissionError::new("component_too_large", detail));
        }
        let mut report = admit::check(&wasm, granted)?;
        let compiled = self.0.workshop.component(&self.0.sandbox.engine, wasm, turn).await?;
        if let Some(needs) = compiled.resources_required() {
            admit::check_needs("linear memories", needs.num_memories, limiter::MEMORIES_MAX)?;
            admit::check_needs("tables", needs.num_tables, limiter::TABLES_MAX)?;
            report.memories = needs.num_memories;
        }
        shape::check(&self.0.sandbox.engine, &compiled).map_err(|detail| AdmissionError::new("world_mismatch", detail))?;
        let mismatch = |error: wasmtime::Error| AdmissionError::new("world_mismatch", format!("{error:#}"));
        let validate = validate::find(&self.0.sandbox.engine, &compiled);
        let pre = self.0.linker.instantiate_pre(&compiled).map_err(mismatch)?;
        let pre = WebhookHandlerPre::new(pre).map_err(mismatch)?;
        Ok(Component(Arc::new(Linked { pre, validate, report })))
    }

    /// Checks a component as [`Runtime::admit`] does, as far as that needs no compiler.
    pub fn check(wasm: &[u8], granted: &[&str]) -> Result<Report, AdmissionError> {
        admit::check(wasm, granted)
    }

    /// What is known of a component file, without compiling it.
    pub fn inspect(wasm: &[u8]) -> Result<Report, AdmissionError> {
        admit::inspect(wasm)
    }

    /// Asks a component's `validate-config`, where it has one, about the run's configuration: within the run's budget, and whatever its gate
    /// without a way out. The error is what the plugin objects to, or what befell the call.
    pub async fn validate_config(&self, component: &Component, run: Run) -> Result<(), String> {
        let memory = memory::take(&self.0.shares, &run, None).await;
        let _place = self.0.places.acquire().await.ok();
        validate::validate(&self.0.sandbox.engine, component, &Run { gate: Gate::Dry, ..run }, memory.amount()).await
    }

    /// Whether a budget fits what all runs of its tenant may have together.
    pub fn check_memory(&self, tenant: &TenantId, budget: &Budget) -> Result<(), AdmissionError> {
        memory::check(&self.0.shares, tenant, budget)
    }

    /// Makes one run. Never fails: every ending is an outcome. Waits, outside the run's own time, for memory in its tenant's turn, and for a
    /// place where all are taken.
    pub async fn invoke(&self, component: &Component, run: Run) -> RunReport {
        self.invoke_with(None, component, run).await.0
    }

    /// The same with the memory that was taken for the run before. Gives it back with the report, which is in it.
    pub async fn invoke_with(&self, taken: Option<Held>, component: &Component, run: Run) -> (RunReport, Held) {
        let memory = memory::take(&self.0.shares, &run, taken).await;
        // The semaphore is never closed, and without a permit the pool itself would say that it is full.
        let _place = self.0.places.acquire().await.ok();
        let report = invoke::invoke((&self.0.sandbox.engine, &self.0.clock), component, run, memory.amount()).await;
        (report, memory)
    }
}

#[cfg(test)]
pub(crate) mod tests;
