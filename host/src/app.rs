//! Joins the parts: what is built from what, what starts after what, what stops before what.
//!
//! Start follows the data backwards: the ledger first, because nothing may be answered before it has recovered; the door last, because what
//! it lets in must find everything behind it. Stopping follows the data forwards: the door closes, accepts finish, leasing ends, runs
//! finish, the ledger closes. This is the only place that names a concrete broker.

mod migrate;
mod queue;
mod reload;
mod signals;
mod start;
mod supervisor;
mod upkeep;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    admin::Admin,
    catalog::Catalog,
    clock::Clock,
    config::Config,
    delivery::{LegId, report::ReloadReport},
    ingest::Door,
    ledger::Ledger,
    listen::{Listen, Sockets},
    observe::{DroppedLines, Observer, Readiness, StreamBoard},
    runtime::Compiler,
    tasks::Tasks,
    work::Workers,
};
pub use migrate::{Engine, migrate};
use queue::Queue;
pub use queue::WaitsElsewhere;
use reload::Reloader;
pub use signals::Signals;
use supervisor::Supervisor;

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
    /// What the process could not give up on this machine, in words; a note of `readyz`.
    pub unconfined: Vec<String>,
    /// Lines of the log that were dropped, for the metrics.
    pub dropped_lines: DroppedLines,
    /// What is open already.
    pub sockets: Sockets,
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
    reloader: Reloader,
    clock: Clock,
    observer: Observer,
    readiness: Readiness,
    board: StreamBoard,
    config: Arc<Config>,
    tasks: Tasks,
    queue: Queue,
    workers: Option<Workers>,
    admin: Option<Admin>,
    door: Option<Door>,
}

impl Host {
    /// Builds and starts every part. When this returns, the door is open and routes to every plugin that is known; they
    /// are loaded behind it ([`Catalog::loaded`]).
    pub async fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        start::start(config, options).await
    }

    /// Where deliveries are taken, with the real port; none without the role `ingest`.
    pub fn ingest(&self) -> Option<&Listen> {
        self.door.as_ref().map(|door| &door.listen)
    }

    /// The same, where it is an address of the network.
    pub fn ingest_address(&self) -> Option<SocketAddr> {
        self.ingest().and_then(Listen::tcp)
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

    /// Reads the files of settings again: taken where they are sound, the old kept where not, and said either way.
    pub fn reload(&self) -> ReloadReport {
        self.reloader.reload()
    }

    /// The same, unless a signal says before it is up that it is not wanted: then what has been started is given up, nothing is left of a
    /// compilation under way, and there is no host.
    pub async fn start_unless_stopped(config: Config, options: Options, mut signals: Signals) -> anyhow::Result<Option<(Self, Signals)>> {
        tokio::select! {
            started = Self::start(config, options) => Ok(Some((started?, signals))),
            () = signals.stop() => Ok(None),
        }
    }

    /// Runs until a signal, a poisoned ledger or a panicked task ends it: SIGTERM and SIGINT drain, SIGHUP reloads.
    pub async fn run(self, mut signals: Signals) -> Ended {
        let supervisor = Supervisor::of_this_process(self.clock.clone());
        supervisor.is_up();
        loop {
            tokio::select! {
                () = supervisor.beat() => supervisor.lives(),
                reason = self.ledger.poisoned() => return Ended::Poisoned(reason),
                () = self.tasks.failed() => return Ended::TaskFailed,
                () = self.queue.failed() => return Ended::TaskFailed,
                () = failed(self.workers.as_ref().map(Workers::failed)) => return Ended::TaskFailed,
                () = failed(self.door.as_ref().map(Door::failed)) => return Ended::TaskFailed,
                is_stop = signals.next() => {
                    if is_stop {
                        break;
                    }
                    supervisor.reloads();
                    drop(self.reload());
                    supervisor.is_up();
                }
            }
        }
        supervisor.stops();
        let orphans = supervisor.during(self.stop()).await;
        Ended::Stopped { orphans: orphans.len() }
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
            tracing::warn!(leg_id = %leg, "run_abandoned");
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
