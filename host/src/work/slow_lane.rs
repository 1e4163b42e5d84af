//! Long runs go on behind: on threads that the operating system lets run with what others leave.
//!
//! Turns alone do not protect a neighbour from guests that only compute. Where thirty of them take turns on the threads there are, every
//! run takes thirty times as long, however short a turn is. So each run begins on the threads for guests, and once it has had
//! [`SHORT_MAX`] of one it is moved to the slow lane, and makes room. A plugin whose last run was moved begins in the slow lane; its first
//! short run brings it back. Nothing is refused and nothing idles: alone on the machine, a long run has a whole core here, too.
//!
//! In the lane time goes round by tenant: a run has a thread for one turn, some 0.1 ms, and then the next tenant's run has it. So one tenant's
//! forty long runs share what one tenant gets, and another's single one has as much as all of them. Who waits for an answer from outside has
//! no turn meanwhile.
//!
//! Only the guest moves, not the leg: lease, settlement and whatever they lock stay on threads of full priority.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    broker::BoxFuture,
    delivery::{PluginName, TenantId},
    runtime::RunReport,
    shares::{Holder, Pool},
    tasks::Tasks,
};

/// Time of a thread after which a run is long. A run of a shipped plugin takes a tenth of it, a scripting language's some of it.
const SHORT_MAX: Duration = Duration::from_millis(2);
/// How much nicer the threads of the lane are than the process: such a thread gets a ninth of what one of the others beside it gets.
const NICER_BY: i32 = 10;
/// The nicest that Linux knows.
const NICENESS_MAX: i32 = 19;

/// A run on its way.
pub(super) type Run = BoxFuture<'static, RunReport>;

/// Whose run it is.
pub(super) type Owner = (TenantId, PluginName);

/// The lane, and whose runs were long.
#[derive(Debug)]
pub(super) struct SlowLane {
    threads: Handle,
    /// Turns on those threads, one for each.
    turns: Pool,
    tasks: Tasks,
    long: Mutex<BTreeSet<Owner>>,
}

impl SlowLane {
    /// On these threads, of which tenants have turns.
    pub(super) fn new(threads: Handle, turns: Pool, tasks: Tasks) -> Self {
        Self { threads, turns, tasks, long: Mutex::default() }
    }

    /// Makes a run, here or in the lane.
    pub(super) async fn make(&self, owner: Owner, mut run: Run) -> RunReport {
        let mut used = Duration::ZERO;
        if !self.is_long(&owner)
            && let Some(report) = for_a_while(&mut run, &mut used).await
        {
            return report;
        }
        let (report, used) = self.drive(&owner.0, run, used).await;
        self.note(owner, used > SHORT_MAX);
        report
    }

    /// The rest of a run, in the lane.
    async fn drive(&self, tenant: &TenantId, run: Run, used: Duration) -> (RunReport, Duration) {
        let (sender, ended) = oneshot::channel();
        let (turns, holder) = (self.turns.clone(), Holder::tenant(tenant));
        {
            let _entered = self.threads.enter();
            self.tasks.spawn("long_run", async move {
                // Whoever waited may be gone with the host.
                let _ = sender.send(in_turns(run, (turns, holder), used).await);
            });
        }
        match ended.await {
            Ok(done) => done,
            // The threads were taken away, or the run panicked, which ends the host: either way nobody goes on from here.
            Err(_) => std::future::pending().await,
        }
    }

    fn is_long(&self, owner: &Owner) -> bool {
        self.long.lock().unwrap_or_else(PoisonError::into_inner).contains(owner)
    }

    fn note(&self, owner: Owner, was_long: bool) {
        let mut long = self.long.lock().unwrap_or_else(PoisonError::into_inner);
        if was_long {
            long.insert(owner);
        } else {
            long.remove(&owner);
        }
    }
}

/// The niceness for threads of the lane, from the calling thread's.
pub(super) fn niceness() -> i32 {
    // What cannot be read is what nobody has changed.
    rustix::process::getpriority_process(None).unwrap_or(0).saturating_add(NICER_BY).min(NICENESS_MAX)
}

/// Lowers the priority of the calling thread, for good.
pub(super) fn give_way(niceness: i32) {
    // On Linux the call is about the thread, and lowering needs no right.
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        tracing::warn!(%error, "slow_lane_keeps_its_priority");
    }
}

/// Makes a run to its end, each time it is looked at in a turn of its tenant's; gives the report and what the run has used of threads.
async fn in_turns(mut run: Run, (turns, holder): (Pool, Holder), mut used: Duration) -> (RunReport, Duration) {
    let mut turn = turns.take(&holder, 1).await;
    loop {
        let (looked, is_woken) = poll_fn(|context| {
            let noting = Arc::new(Noting { is_woken: AtomicBool::new(false), task: context.waker().clone() });
            let looked = timed(&mut used, || run.as_mut().poll(&mut Context::from_waker(&Arc::clone(&noting).into())));
            Poll::Ready((looked, noting.is_woken.load(Ordering::Acquire)))
        })
        .await;
        if let Poll::Ready(report) = looked {
            return (report, used);
        }
        let mut next = pin!(turns.take(&holder, 1));
        // A run that only gave the thread back asks for its next turn before it gives this one up and goes behind the other tasks: it is the turns
        // that decide who is next, not the queue of the runtime, in which every run would have one place.
        let granted = if is_woken { poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await } else { Poll::Pending };
        drop(turn);
        // The run has this task's waker: whatever it waits for ends this wait.
        let mut is_again = false;
        poll_fn(|_| if std::mem::replace(&mut is_again, true) { Poll::Ready(()) } else { Poll::Pending }).await;
        turn = match granted {
            Poll::Ready(turn) => turn,
            Poll::Pending => next.await,
        };
    }
}

/// Wakes a task, and notes that.
struct Noting {
    is_woken: AtomicBool,
    task: Waker,
}

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// The report of a run that ends within [`SHORT_MAX`]; none where it is long.
async fn for_a_while(run: &mut Run, used: &mut Duration) -> Option<RunReport> {
    poll_fn(|context| match timed(used, || run.as_mut().poll(context)) {
        Poll::Ready(report) => Poll::Ready(Some(report)),
        Poll::Pending if *used > SHORT_MAX => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Adds what it takes of this thread's time. Not of the wall's: being interrupted by others makes no run long.
fn timed<T>(used: &mut Duration, work: impl FnOnce() -> T) -> T {
    let began = thread_time();
    let done = work();
    *used += thread_time().saturating_sub(began);
    done
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{super::doubles, *};
    use crate::{
        shares::{Limit, Limits, Machine, Resource, Shares},
        work::guest_runtime,
    };

    /// A lane of one thread.
    fn one_turn() -> Pool {
        let mut limits = Limits::of(Machine::here());
        limits.set(Resource::SlowLane, Limit::new(1, 1));
        Shares::new(&limits).pool(Resource::SlowLane).clone()
    }

    fn owner() -> Owner {
        ("acme".parse().unwrap(), "triage".parse().unwrap())
    }

    /// A run that needs so much of a thread, in many turns, and sends the names of the threads it had them on.
    fn run(needs: Duration, threads: tokio::sync::mpsc::Sender<String>) -> Run {
        Box::pin(async move {
            let mut used = Duration::ZERO;
            while used < needs {
                timed(&mut used, || {
                    let until = thread_time() + Duration::from_micros(100);
                    while thread_time() < until {}
                });
                threads.try_send(std::thread::current().name().unwrap_or_default().to_owned()).unwrap();
                tokio::task::yield_now().await;
            }
            doubles::report(doubles::ack())
        })
    }

    #[test]
    fn a_long_run_is_moved_and_the_plugins_next_begins_there_until_one_is_short() {
        let (fast, slow) = (guest_runtime("fast", 1, || {}).unwrap(), guest_runtime("slow", 1, || {}).unwrap());
        let lane = SlowLane::new(slow.handle().clone(), one_turn(), Tasks::new());
        let threads_of = |needs: Duration| {
            let (sender, mut names) = tokio::sync::mpsc::channel(1000);
            // On a thread of the runtime, not on the one that waits for it.
            std::thread::scope(|scope| {
                scope.spawn(|| fast.block_on(async { lane.make(owner(), run(needs, sender)).await })).join().unwrap();
            });
            let mut all = Vec::new();
            while let Ok(name) = names.try_recv() {
                all.push(name);
            }
            all.iter().map(|name| name.starts_with("slow-")).collect::<Vec<_>>()
        };
        let (short, long) = (SHORT_MAX / 4, SHORT_MAX * 3);
        assert!(threads_of(short).iter().all(|is_slow| !is_slow), "a short run stays");
        let moved = threads_of(long);
        assert!(!moved[0] && *moved.last().unwrap(), "{moved:?}");
        assert!(threads_of(long).iter().all(|is_slow| *is_slow), "the next one begins there");
        assert!(threads_of(short).iter().all(|is_slow| *is_slow), "nobody knows yet that it is short");
        assert!(threads_of(short).iter().all(|is_slow| !is_slow), "now it is known");
    }

    /// Gives the thread back as a guest does.
    async fn give_back() {
        let mut is_given = false;
        poll_fn(|context| {
            if std::mem::replace(&mut is_given, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn forty_eight_long_runs_of_one_tenant_leave_the_single_one_of_another_its_half() {
        let slow = guest_runtime("slow", 1, || {}).unwrap();
        let lane = Arc::new(SlowLane::new(slow.handle().clone(), one_turn(), Tasks::new()));
        // Every look at a run is written down here, with whose it is.
        let looks = Arc::new(Mutex::new(Vec::new()));
        let looked_at = |tenant: &'static str, times: usize| {
            let looks = Arc::clone(&looks);
            let run: Run = Box::pin(async move {
                for _ in 0..times {
                    looks.lock().unwrap().push(tenant);
                    give_back().await;
                }
                doubles::report(doubles::ack())
            });
            let lane = Arc::clone(&lane);
            async move { lane.drive(&tenant.parse().unwrap(), run, Duration::ZERO).await }
        };
        let waits = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let many: Vec<_> = (0..48).map(|_| waits.spawn(looked_at("many", 10_000))).collect();
        while looks.lock().unwrap().len() < 1_000 {
            std::thread::yield_now();
        }
        let before = looks.lock().unwrap().len();
        waits.block_on(looked_at("single", 1_000));
        let looks = looks.lock().unwrap()[before..].to_vec();
        let is_single = |tenant: &str| tenant == "single";
        let (first, last) = (looks.iter().position(|look| is_single(look)), looks.iter().rposition(|look| is_single(look)));
        let of_many = last.unwrap() - first.unwrap() + 1 - 1_000;
        assert!((900..1_100).contains(&of_many), "{of_many} looks at 48 runs while the single one had its 1,000");
        many.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[test]
    fn the_threads_of_the_lane_give_way_whatever_the_process_has() {
        let has = || rustix::process::getpriority_process(None).unwrap();
        for nicer in [0, 3, 15] {
            // A thread of its own, as niceness cannot be taken back.
            let checked = std::thread::spawn(move || {
                rustix::process::setpriority_process(None, (has() + nicer).min(NICENESS_MAX)).unwrap();
                let (before, of_lane) = (has(), niceness());
                let slow = guest_runtime("slow", 1, move || give_way(of_lane)).unwrap();
                let (sender, receiver) = std::sync::mpsc::channel();
                slow.handle().spawn(async move {
                    // Threads that the lane starts have what it has, and no more.
                    let beside = tokio::task::spawn_blocking(has).await.unwrap();
                    sender.send((has(), beside)).unwrap();
                });
                let expected = (before + NICER_BY).min(NICENESS_MAX);
                assert_eq!(receiver.recv().unwrap(), (expected, expected));
                assert_eq!(has(), before, "and only they do");
            });
            checked.join().unwrap();
        }
    }
}
