//! Threads that may block, as one holder has them.

use tokio::task::JoinError;

use super::{Holder, Pool, Resource, Shares};

/// The threads of one holder; cheap to clone.
#[derive(Clone, Debug)]
pub struct Threads {
    pool: Pool,
    holder: Holder,
}

impl Threads {
    /// Does the work on one of them, when it is this holder's turn. Whoever drops the future does not end what has begun: the thread is given back
    /// when the work is over. An error is a panic of the work.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = Result<T, JoinError>> + Send {
        self.pool.on_thread(&self.holder, work)
    }
}

impl Shares {
    /// The threads that may block, for one holder.
    #[must_use]
    pub fn threads(&self, holder: Holder) -> Threads {
        Threads { pool: self.pool(Resource::BlockingThreads).clone(), holder }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::shares::{Limit, Limits, Machine};

    #[tokio::test]
    async fn who_has_all_its_threads_at_work_waits_and_others_do_not() {
        let mut limits = Limits::of(Machine { memory_bytes: 1 << 30, cores: 2 });
        limits.set(Resource::BlockingThreads, Limit::new(4, 1));
        let shares = Shares::new(&limits);
        let holder = |name: &str| Holder::tenant(&name.parse().unwrap());
        let (red, blue) = (shares.threads(holder("red")), shares.threads(holder("blue")));
        let (end, ended) = mpsc::channel::<()>();
        // Dropped, and still at work: it is counted until it has ended.
        tokio::select! {
            biased;
            done = red.run(move || ended.recv().is_ok()) => panic!("{done:?} before its end"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(shares.pool(Resource::BlockingThreads).used_by(&holder("red")), 1);
        let mut second = Box::pin(red.run(|| 2));
        tokio::select! {
            biased;
            done = &mut second => panic!("{done:?} beside the first"),
            done = blue.run(|| 3) => assert_eq!(done.unwrap(), 3),
        }
        end.send(()).unwrap();
        assert_eq!(second.await.unwrap(), 2);
        assert!(shares.usage().is_empty());
    }
}
