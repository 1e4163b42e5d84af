//! What a store holds for one run.

use std::sync::Arc;

use super::{
    Run,
    gate::Overlay,
    invoke::Allowance,
    limiter::MemoryAccount,
    logbook::{Journal, Logbook},
    wasi::{self, Wasi},
};
use crate::delivery::LegId;

/// Host calls of one run, logging apart.
pub(super) const CALLS_MAX: u32 = 1_000;
/// Log calls of one run: far beyond what is kept, so that only a runaway loop meets it.
pub(super) const LOG_CALLS_MAX: u32 = 10_000;

/// The state of one run; made for it and dropped with its store.
pub(super) struct State {
    pub(super) memory: MemoryAccount,
    pub(super) ticks_left: u64,
    pub(super) config: Arc<serde_json::Value>,
    pub(super) overlay: Overlay,
    pub(super) log: Logbook,
    pub(super) journal: Journal,
    pub(super) wasi: Wasi,
    calls: u32,
    log_calls: u32,
}

/// The run asked more often than it may.
#[derive(Debug, thiserror::Error)]
#[error("the run made more than {max} {what}")]
struct TooManyCalls {
    max: u32,
    what: &'static str,
}

impl State {
    /// The state at the start of `run`.
    pub(super) fn of(run: &Run, allowance: &Allowance) -> Self {
        let delivery = &run.delivery;
        let leg = LegId { delivery: delivery.id, plugin: run.plugin.clone() };
        let seed = wasi::seed(delivery.id.as_bytes(), run.plugin.as_str(), run.attempt);
        let overlay = Overlay::new(run.gate.clone(), delivery.tenant.clone(), leg, run.started_at, allowance.wall);
        Self::new(overlay, Wasi::new(run.started_at, seed), Arc::clone(&run.config), allowance)
    }

    /// A state with nothing said or asked yet.
    pub(super) fn new(overlay: Overlay, wasi: Wasi, config: Arc<serde_json::Value>, allowance: &Allowance) -> Self {
        Self {
            memory: MemoryAccount::new(allowance.memory_bytes),
            ticks_left: allowance.ticks,
            config,
            overlay,
            log: Logbook::default(),
            journal: Journal::default(),
            wasi,
            calls: 0,
            log_calls: 0,
        }
    }

    /// Counts a host call; the run ends where there are too many.
    pub(super) fn count_call(&mut self) -> wasmtime::Result<()> {
        self.calls += 1;
        if self.calls > CALLS_MAX { Err(TooManyCalls { max: CALLS_MAX, what: "host calls" }.into()) } else { Ok(()) }
    }

    /// Counts a log call; the run ends where there are too many.
    pub(super) fn count_log_call(&mut self) -> wasmtime::Result<()> {
        self.log_calls += 1;
        if self.log_calls > LOG_CALLS_MAX { Err(TooManyCalls { max: LOG_CALLS_MAX, what: "log calls" }.into()) } else { Ok(()) }
    }

    /// Moves what stands on standard output and error into the log.
    pub(super) fn drain_output(&mut self) {
        for (level, line) in self.wasi.take_output() {
            self.log.write(level, &line, &[]);
        }
    }
}
