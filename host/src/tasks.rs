//! Named background tasks: who runs, what happens when one ends, how all are told to stop.
//!
//! Nothing else in the host spawns. A task that panics takes the host down in an orderly way: half a host that looks whole is worse.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The handle through which tasks are started and stopped; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that runs until it returns. A panic in it marks the host as failed.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let failed = self.failed.clone();
        self.tracker.spawn(async move {
            let watched = tokio::spawn(task);
            if watched.await.is_err_and(|error| error.is_panic()) {
                tracing::error!(task = name, "task_panicked");
                failed.cancel();
            }
        });
    }

    /// Starts a short task of which nobody waits for more than its end, without the panic watch: one connection, one request.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn_brief<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(task));
    }

    /// Completes when all are told to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether all were told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Completes when a task has panicked.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Tells all to stop and waits for them, at most `grace`. Returns how many were still running then.
    pub async fn stop(&self, grace: Duration) -> usize {
        self.stop.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(grace, self.tracker.wait()).await;
        self.tracker.len()
    }
}
