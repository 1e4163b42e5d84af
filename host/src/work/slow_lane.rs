//! Long runs go on behind: on threads that the operating system lets run with what others leave.
//!
//! Turns alone do not protect a neighbour from guests that only compute. Where thirty of them take turns on the threads there are, every
//! run takes thirty times as long, however short a turn is. So each run begins on the threads for guests, and once it has had
//! [`SHORT_MAX`] of one it is moved to the slow lane, and makes room. A plugin whose last run was moved begins in the slow lane; its first
//! short run brings it back. Nothing is refused and nothing idles: alone on the machine, a long run has a whole core here, too.
//!
//! Only the guest moves, not the leg: lease, settlement and whatever they lock stay on threads of full priority.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    broker::BoxFuture,
    delivery::{PluginName, TenantId},
    runtime::RunReport,
    tasks::Tasks,
};

/// Time of a thread after which a run is long. A run of a shipped plugin takes a tenth of it, a scripting language's some of it.
const SHORT_MAX: Duration = Duration::from_millis(2);
/// Of 19. With 10, a thread gets a ninth of what one beside it at 0 gets.
const NICENESS: i32 = 10;

/// A run on its way.
pub(super) type Run = BoxFuture<'static, RunReport>;

/// Whose run it is.
pub(super) type Owner = (TenantId, PluginName);

/// The lane, and whose runs were long.
#[derive(Debug)]
pub(super) struct SlowLane {
    threads: Handle,
    tasks: Tasks,
    long: Mutex<BTreeSet<Owner>>,
}

impl SlowLane {
    /// On these threads.
    pub(super) fn new(threads: Handle, tasks: Tasks) -> Self {
        Self { threads, tasks, long: Mutex::default() }
    }

    /// Makes a run, here or in the lane.
    pub(super) async fn make(&self, owner: Owner, mut run: Run) -> RunReport {
        let mut used = Duration::ZERO;
        if !self.is_long(&owner)
            && let Some(report) = for_a_while(&mut run, &mut used).await
        {
            return report;
        }
        let (report, used) = self.drive(run, used).await;
        self.note(owner, used > SHORT_MAX);
        report
    }

    /// The rest of a run, in the lane.
    async fn drive(&self, mut run: Run, mut used: Duration) -> (RunReport, Duration) {
        let (sender, ended) = oneshot::channel();
        {
            let _entered = self.threads.enter();
            self.tasks.spawn("long_run", async move {
                let report = poll_fn(|context| timed(&mut used, || run.as_mut().poll(context))).await;
                // Whoever waited may be gone with the host.
                let _ = sender.send((report, used));
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

/// Lowers the priority of the calling thread, for good.
pub(super) fn give_way() {
    // On Linux the call is about the thread, and lowering needs no right.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "the threads for long runs keep their priority");
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
    use crate::work::guest_runtime;

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
        let (fast, slow) = (guest_runtime("fast", 1, || {}).unwrap(), guest_runtime("slow", 1, give_way).unwrap());
        let lane = SlowLane::new(slow.handle().clone(), Tasks::new());
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

    #[test]
    fn the_threads_of_the_lane_give_way() {
        let slow = guest_runtime("slow", 1, give_way).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        slow.handle().spawn(async move { sender.send(rustix::process::getpriority_process(None).unwrap()).unwrap() });
        assert_eq!(receiver.recv().unwrap(), NICENESS);
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), 0, "and only they do");
    }
}
