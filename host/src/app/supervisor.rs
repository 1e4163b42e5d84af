//! What the one who started this process wants to hear (systemd's `Type=notify`): that it is up, that it lives, that it stops. Where nobody wants
//! to hear it (no `NOTIFY_SOCKET`), nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::Clock;

/// The one who started this process.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    /// It wants a sign of life so often; none where it does not.
    beat: Option<Duration>,
    clock: Clock,
}

#[expect(clippy::unused_self, reason = "who speaks to it has found out that it is there, whether or not a word depends on its settings")]
impl Supervisor {
    pub(super) fn of_this_process(clock: Clock) -> Self {
        // Twice in its time, so that one that is late is no death.
        Self { beat: sd_notify::watchdog_enabled().map(|every| every / 2), clock }
    }

    /// The host is up, or is again as after a reload.
    pub(super) fn is_up(&self) {
        tell(&[NotifyState::Ready]);
    }

    pub(super) fn reloads(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "supervisor_not_told"),
        }
    }

    pub(super) fn stops(&self) {
        tell(&[NotifyState::Stopping]);
    }

    pub(super) fn lives(&self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// Does the work, and gives signs of life meanwhile.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.beat() => self.lives(),
            }
        }
    }

    /// Waits until the next sign of life is due.
    pub(super) async fn beat(&self) {
        match self.beat {
            Some(beat) => self.clock.sleep(beat).await,
            None => std::future::pending().await,
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "supervisor_not_told");
    }
}
