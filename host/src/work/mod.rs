//! From a lease to its settlement.
//!
//! Guests run on threads of their own, so that a plugin that computes without end takes time from other plugins at most, never from the door;
//! and a run that turns out long goes on in the slow lane, so that it takes little from those either.
//! One task leases, and a leg is lent with the memory and the slot its run takes, so that no leg is on loan that has to wait for either. Each
//! leg then is one task on the same runtime from lease to settlement. Its memory is given back after the run, its slot after the settlement is
//! synced, and slots are many more than threads: that is what lets one group commit carry the settlements of many runs.

mod abandoned;
mod attempt;
#[cfg(test)]
mod doubles;
mod judge;
mod keys;
mod slow_lane;
mod turns;
mod versions;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::sync::watch;

use crate::{
    broker::{Broker, Lease, Queue, QueueSet},
    catalog::Catalog,
    clock::{Clock, Steady},
    delivery::{LegId, PluginName, TenantId},
    egress::Egress,
    ledger::Ledger,
    observe::Observer,
    runtime::Runtime,
    shares::{Resource, Shares},
    tasks::Tasks,
};
use abandoned::Abandoned;
use attempt::Worker;
use keys::Keys;
use slow_lane::SlowLane;
use turns::Turns;
use versions::Loaded;

/// How often queues are looked at that have lost their plugin; a minute is nothing to 72 hours.
const LOOK_EVERY: Duration = Duration::from_mins(1);

pub use judge::{NO_PLUGIN_AFTER, found, judge, judge_parked};

/// How the workers are set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Threads that run guests, apart from those of ingest; the slow lane has as many again.
    pub threads: usize,
    /// What is shared, and how much of it one holder may have.
    pub shares: Shares,
}

/// What the workers work with.
#[derive(Clone)]
pub struct Parts {
    /// Lends and takes back.
    pub broker: Arc<dyn Broker>,
    /// Knows the plugins.
    pub catalog: Catalog,
    /// Runs them.
    pub runtime: Runtime,
    /// Behind the live gate.
    pub ledger: Ledger,
    /// The same, the way out.
    pub egress: Egress,
    /// Is told.
    pub observer: Observer,
    /// Dates.
    pub clock: Clock,
}

/// The workers, running.
pub struct Workers {
    tasks: Tasks,
    running: Arc<Running>,
    /// Taken by the drop, which must not wait: it may happen inside another runtime.
    threads: Option<Threads>,
}

/// What guests run on.
struct Threads {
    guests: tokio::runtime::Runtime,
    slow: tokio::runtime::Runtime,
}

/// The legs under way, by the token of their lease.
#[derive(Debug, Default)]
struct Running(Mutex<BTreeMap<u64, LegId>>);

/// Takes a leg out of [`Running`] when its attempt ends, however it ends.
struct Entry {
    running: Arc<Running>,
    token: u64,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

impl Workers {
    /// Starts them on a runtime of their own.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn start(settings: &Settings, parts: Parts) -> anyhow::Result<Self> {
        let (threads, tasks) = (Threads::start(settings.threads.max(1))?, Tasks::new());
        let turns = settings.shares.pool(Resource::SlowLane).clone();
        let slow_lane = SlowLane::new(threads.slow.handle().clone(), turns, tasks.clone());
        let abandoned = Arc::<Abandoned>::default();
        let turns = settings.shares.pool(Resource::SlowLane).clone();
        let keys = Arc::new(Keys::new(threads.slow.handle().clone(), tasks.clone(), turns));
        let serving = Serving {
            broker: Arc::clone(&parts.broker),
            queues: parts.catalog.queues(),
            known: known_to(parts.catalog.clone()),
            abandoned: Arc::clone(&abandoned),
            clock: parts.clock.clone(),
        };
        let versions = Box::new(Loaded {
            catalog: parts.catalog,
            runtime: parts.runtime,
            ledger: parts.ledger,
            egress: parts.egress,
            abandoned,
            keys,
        });
        let (broker, observer, clock, turns) = (parts.broker, parts.observer, parts.clock, Turns::new(turns::WAIT_MAX));
        let steady = Steady::new(clock.clone());
        let worker = Worker { broker, versions, observer, clock, steady, turns, slow_lane };
        Ok(Self::start_worker((threads, tasks), worker, serving))
    }

    fn start_worker((threads, tasks): (Threads, Tasks), worker: Worker, serving: Serving) -> Self {
        let running = Arc::<Running>::default();
        let entered = threads.guests.enter();
        tasks.spawn("serve_queues", serving.run(tasks.clone()));
        tasks.spawn("lease", lease_legs(Arc::new(worker), (tasks.clone(), Arc::clone(&running))));
        drop(entered);
        Self { tasks, running, threads: Some(threads) }
    }

    /// Completes when a worker has panicked; the host must then stop.
    pub async fn failed(&self) {
        self.tasks.failed().await;
    }

    /// Leases no more, lets runs finish, at most `grace`; returns the legs that did not.
    pub async fn stop(self, grace: Duration) -> Vec<LegId> {
        self.tasks.stop(grace).await;
        self.running.legs()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(Threads { guests, slow }) = self.threads.take() {
            guests.shutdown_background();
            slow.shutdown_background();
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("running", &self.running.legs()).finish_non_exhaustive()
    }
}

impl Running {
    fn enter(self: &Arc<Self>, lease: &Lease) -> Entry {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lease.token, lease.leg.clone());
        Entry { running: Arc::clone(self), token: lease.token }
    }

    fn legs(&self) -> Vec<LegId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.token);
    }
}

impl Threads {
    fn start(count: usize) -> anyhow::Result<Self> {
        let guests = guest_runtime("guest", count, || {}).context("the threads that run guests cannot be started")?;
        // Of this thread, which has what the process has: a thread inherits from the one that starts it, and those of the lane start others.
        let niceness = slow_lane::niceness();
        let slow = guest_runtime("slow-guest", count, move || slow_lane::give_way(niceness))
            .context("the threads for long runs cannot be started")?;
        Ok(Self { guests, slow })
    }
}

fn guest_runtime(name: &'static str, threads: usize, begin: impl Fn() + Send + Sync + 'static) -> std::io::Result<tokio::runtime::Runtime> {
    let number = std::sync::atomic::AtomicUsize::new(0);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .on_thread_start(begin)
        .thread_name_fn(move || format!("{name}-{}", number.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
        .enable_all()
        .build()
}

/// The plugins there are, serving or not.
type Known = BTreeSet<(TenantId, PluginName)>;

fn known_to(catalog: Catalog) -> Box<dyn Fn() -> Known + Send + Sync> {
    Box::new(move || catalog.views(None).into_iter().map(|view| (view.tenant, view.name)).collect())
}

/// Tells the broker which queues can be worked on: those of the plugins that serve, and those nobody waits for any more.
struct Serving {
    broker: Arc<dyn Broker>,
    queues: watch::Receiver<QueueSet>,
    known: Box<dyn Fn() -> Known + Send + Sync>,
    abandoned: Arc<Abandoned>,
    clock: Clock,
}

impl Serving {
    /// Tells it now, at every change, and from time to time because queues are abandoned without one.
    async fn run(mut self, tasks: Tasks) {
        loop {
            let mut set = self.queues.borrow_and_update().clone();
            // At once, so that no lease waits for the look at the depths.
            self.broker.serve(set.clone());
            let abandoned = self.look().await;
            if !abandoned.is_empty() {
                set.queues.extend(abandoned);
                self.broker.serve(set);
            }
            tokio::select! {
                () = tasks.stopping() => return,
                () = self.clock.sleep(LOOK_EVERY) => {}
                changed = self.queues.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn look(&self) -> Vec<Queue> {
        let Ok(depths) = self.broker.depth().await else { return Vec::new() };
        let known = (self.known)();
        self.abandoned.look(depths, |tenant, plugin| known.contains(&(tenant.clone(), plugin.clone())), self.clock.now())
    }
}

/// Leases legs as they come, until told to stop or the broker is closed. The wait for a leg is given up at the stop, so
/// `Broker::lease` must lend nothing that it has not yet returned.
async fn lease_legs(worker: Arc<Worker>, (tasks, running): (Tasks, Arc<Running>)) {
    loop {
        let lease = tokio::select! {
            biased;
            () = tasks.stopping() => return,
            lease = worker.broker.lease() => lease,
        };
        let Some(lease) = lease else { return };
        let slot = lease.slot.clone();
        let (worker, entry) = (Arc::clone(&worker), running.enter(&lease));
        tasks.spawn("attempt", async move {
            worker.attempt(lease).await;
            drop((entry, slot));
        });
    }
}

#[cfg(test)]
mod tests;
