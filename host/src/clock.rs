//! Time, replaceable.
//!
//! Everything that waits or dates something asks this clock, so that a test moves time by hand instead of sleeping. A system clock waits on
//! monotonic time and dates by the wall; a manual clock is one number that moves when it is told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use crate::delivery::Timestamp;

/// A source of time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

/// The wall as it was when this was made, and monotonic time from there: whoever sets the wall meanwhile changes nothing. For spans that are
/// kept over a restart.
#[derive(Clone, Debug)]
pub struct Steady {
    clock: Clock,
    wall: Timestamp,
    since: Instant,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual { base: Instant, wall_base: Arc<AtomicI64>, elapsed: Arc<watch::Sender<Duration>> },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until [`Clock::advance`].
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        let (elapsed, _) = watch::channel(Duration::ZERO);
        let wall_base = Arc::new(AtomicI64::new(start.unix_ms()));
        Self(Source::Manual { base: Self::instant_now(), wall_base, elapsed: Arc::new(elapsed) })
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's monotonic clock")]
    fn instant_now() -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's wall clock")]
    fn wall_now() -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// Wall-clock time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Self::wall_now(),
            Source::Manual { wall_base, elapsed, .. } => {
                Timestamp::from_unix_ms(wall_base.load(Ordering::Relaxed)).after(*elapsed.borrow())
            }
        }
    }

    /// Monotonic time, for measuring and for deadlines.
    #[must_use]
    pub fn instant(&self) -> Instant {
        match &self.0 {
            Source::System => Self::instant_now(),
            Source::Manual { base, elapsed, .. } => *base + *elapsed.borrow(),
        }
    }

    /// Waits until `instant`; returns at once where it has passed.
    pub async fn sleep_until(&self, instant: Instant) {
        match &self.0 {
            Source::System => tokio::time::sleep_until(instant.into()).await,
            Source::Manual { base, elapsed, .. } => {
                let mut changes = elapsed.subscribe();
                // The sender lives in `self`, so this cannot fail while it is awaited.
                let _ = changes.wait_for(|elapsed| *base + *elapsed >= instant).await;
            }
        }
    }

    /// Waits for `span`.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.instant() + span).await;
    }

    /// Moves a manual clock forward and wakes who waited for that time; a system clock does not listen.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual { elapsed, .. } = &self.0 {
            elapsed.send_modify(|elapsed| *elapsed += span);
        }
    }

    /// Sets the wall of a manual clock, as an operator or a time server does; monotonic time does not notice. A system clock does not listen.
    pub fn set_wall(&self, now: Timestamp) {
        if let Source::Manual { wall_base, elapsed, .. } = &self.0 {
            wall_base.store(now.before(*elapsed.borrow()).unix_ms(), Ordering::Relaxed);
        }
    }
}

impl Steady {
    /// From now on.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { wall: clock.now(), since: clock.instant(), clock }
    }

    /// The time it is by this.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.wall.after(self.clock.instant().saturating_duration_since(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the sleeper is this test's own")]
    async fn a_manual_clock_wakes_a_sleeper_when_its_time_comes() {
        let clock = Clock::manual(Timestamp::from_unix_ms(0));
        let minute = clock.instant() + Duration::from_mins(1);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(minute).await }
        });
        clock.advance(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now().unix_ms(), 60_000);
    }
    #[test]
    fn a_steady_time_goes_on_where_the_wall_jumps() {
        let clock = Clock::manual(Timestamp::from_unix_ms(1_000));
        let steady = Steady::new(clock.clone());
        clock.set_wall(Timestamp::from_unix_ms(9_000_000));
        clock.advance(Duration::from_secs(1));
        assert_eq!((steady.now().unix_ms(), clock.now().unix_ms()), (2_000, 9_001_000));
    }
}
