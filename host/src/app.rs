//! Joins the parts: what is built from what, what starts after what, what stops before what.
//!
//! Start follows the data backwards: the ledger first, because nothing may be answered before it has recovered; the door last, because what
//! it lets in must find everything behind it. Stopping follows the data forwards: the door closes, accepts finish, leasing ends, runs
//! finish, the ledger closes. This is the only place that names a concrete broker.

mod migrate;
mod queue;
mod start;
mod upkeep;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    admin::Admin,
    catalog::Catalog,
    clock::Clock,
    config::Config,
    delivery::LegId,
    ingest::Door,
    ledger::Ledger,
    observe::{Observer, Readiness, StreamBoard},
    runtime::Compiler,
    tasks::Tasks,
    tenants::Tenants,
    work::Workers,
};
pub use migrate::{Engine, migrate};
use queue::Queue;
pub use queue::WaitsElsewhere;

/// What the one who starts a host decides beside its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose time the host lives in.
    pub clock: Clock,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// The environment secrets may be named in.
    pub env: BTreeMap<String, String>,
    /// The file the configuration came from, read again on SIGHUP.
    pub config_file: Option<PathBuf>,
}

/// Why a host ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, and drained.
    Stopped {
        /// Runs that did not finish in the grace period; they run again after the next start.
        orphans: usize,
    },
    /// The ledger met an I/O error. The process must end without another word to any sender.
    Poisoned(String),
    /// A background task panicked.
    TaskFailed,
}

/// A running host.
#[derive(Debug)]
pub struct Host {
    ledger: Ledger,
    catalog: Catalog,
    tenants: Tenants,
    observer: Observer,
    readiness: Readiness,
    board: StreamBoard,
    config: Arc<Config>,
    options: Options,
    tasks: Tasks,
    queue: Queue,
    workers: Option<Workers>,
    admin: Option<Admin>,
    door: Option<Door>,
}

impl Host {
    /// Builds and starts every part. When this returns, the door is open and the first full scan of the plugins is done.
    pub async fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        start::start(config, options).await
    }

    /// Where deliveries are taken, with the real port; none without the role `ingest`.
    pub fn ingest_address(&self) -> Option<SocketAddr> {
        self.door.as_ref().map(|door| door.address)
    }

    /// Where the admin listener is, with the real port; none without the role `admin`.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// The store.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The loaded plugins.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The facts as they happen, and the metrics.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// What each stream is doing.
    pub fn streams(&self) -> &StreamBoard {
        &self.board
    }

    /// Reads the tenants' files again: taken where they are sound, the old kept where not, and said either way.
    pub fn reload(&self) {
        upkeep::reload(&self.config, &self.options.env, (&self.tenants, &self.ledger), &self.observer);
    }

    /// Runs until a signal, a poisoned ledger or a panicked task ends it: SIGTERM and SIGINT drain, SIGHUP reloads.
    pub async fn run(self) -> anyhow::Result<Ended> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                reason = self.ledger.poisoned() => return Ok(Ended::Poisoned(reason)),
                () = self.tasks.failed() => return Ok(Ended::TaskFailed),
                () = self.queue.failed() => return Ok(Ended::TaskFailed),
                () = failed(self.workers.as_ref().map(Workers::failed)) => return Ok(Ended::TaskFailed),
                () = failed(self.door.as_ref().map(Door::failed)) => return Ok(Ended::TaskFailed),
                () = received(&mut terminate) => break,
                () = received(&mut interrupt) => break,
                () = received(&mut hangup) => self.reload(),
            }
        }
        let orphans = self.stop().await;
        Ok(Ended::Stopped { orphans: orphans.len() })
    }

    /// Stops every part in the direction of the data and names the runs that did not finish in time.
    pub async fn stop(self) -> Vec<LegId> {
        let grace = self.config.grace;
        self.readiness.block("draining", "the host is stopping");
        if let Some(door) = self.door {
            let unfinished = door.close(grace).await;
            tracing::info!(unfinished, "door_closed");
        }
        let orphans = match self.workers {
            Some(workers) => workers.stop(grace).await,
            None => Vec::new(),
        };
        for leg in &orphans {
            tracing::warn!(leg = %leg, "run_abandoned");
        }
        self.queue.stop().await;
        if let Some(admin) = self.admin {
            admin.close(Duration::from_secs(1)).await;
        }
        let open = self.tasks.stop(Duration::from_secs(5)).await;
        self.ledger.close().await;
        tracing::info!(orphans = orphans.len(), open_tasks = open, "host_stopped");
        orphans
    }
}

/// Waits for the failure of a part that is there.
async fn failed(part: Option<impl Future<Output = ()>>) {
    match part {
        Some(part) => part.await,
        None => std::future::pending().await,
    }
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        // The stream can only end with the runtime, which is then ending this future too.
        std::future::pending::<()>().await;
    }
}
