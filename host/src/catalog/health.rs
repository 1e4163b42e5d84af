//! How one version does, as the runs that were settled tell: what its breaker and its watch decide from.
//!
//! Workers tell it after each settlement, so it is a lock held for a moment and nothing else; whatever takes longer is the guard's, which is
//! only told that there is something to do.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    breaker::{Breaker, BreakerPolicy, Stand},
    trial::{Reach, Watch},
};
use crate::{
    clock::Clock,
    delivery::{
        DeliveryId, Outcome,
        view::{BreakerView, WatchView},
    },
};

/// The health of one version.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) breaker: Breaker,
    /// What was last said about the breaker.
    pub(super) told: Told,
    /// While the version is compared with the one before, until then.
    pub(super) watch: Option<(Watch, Instant)>,
    /// The last delivery it has handled.
    pub(super) last_handled: Option<DeliveryId>,
    /// It was rolled back from: what it still settles is to be given back.
    pub(super) is_left: bool,
    /// Something was settled since it was left.
    pub(super) settled_late: bool,
}

/// What people know of a breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    #[default]
    Closed,
    Open,
    HalfOpen,
    /// Not by the breaker: the host has died in its runs.
    Crashed,
}

impl Told {
    /// Its one name.
    pub(super) fn slug(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Crashed => "crashed",
        }
    }
}

impl From<Stand> for Told {
    fn from(stand: Stand) -> Self {
        match stand {
            Stand::Closed => Self::Closed,
            Stand::Open { .. } => Self::Open,
            Stand::HalfOpen { .. } => Self::HalfOpen,
        }
    }
}

impl Health {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a run ended whose settlement is committed. True where the guard has something to do.
    pub(super) fn note(&self, delivery: DeliveryId, outcome: &Outcome, policy: BreakerPolicy, now: Instant) -> bool {
        let mut state = self.lock();
        if state.is_left {
            state.settled_late = true;
            return true;
        }
        let reach = Reach::of(outcome);
        if reach == Some(Reach::Handled) {
            state.last_handled = Some(delivery);
        }
        let is_moved = match outcome {
            Outcome::Verdict(_) => state.breaker.spoke(),
            Outcome::Fault(_) if reach.is_some() => state.breaker.faulted(delivery, policy, now),
            Outcome::Fault(_) => false,
        };
        let to_try = state.watch.as_mut().is_some_and(|(watch, until)| now < *until && watch.note(delivery, outcome));
        is_moved || to_try
    }

    /// Runs at once of a queue with this version, at most; none while it is parked.
    pub(super) fn lends(&self, concurrency_max: usize) -> Option<usize> {
        match self.lock().breaker.stand() {
            Stand::Closed => Some(concurrency_max),
            Stand::Open { .. } => None,
            Stand::HalfOpen { .. } => Some(1),
        }
    }

    /// Compares it with the version before, until then.
    pub(super) fn watch_until(&self, until: Instant) {
        self.lock().watch = Some((Watch::default(), until));
    }

    /// It was rolled back from.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        (state.is_left, state.watch) = (true, None);
    }

    /// An operator wants it to run, whatever it has done.
    pub(super) fn pardon(&self) {
        self.lock().breaker = Breaker::default();
    }

    /// The breaker, for people.
    pub(super) fn breaker_view(&self, clock: &Clock) -> BreakerView {
        let state = self.lock();
        let stand = state.breaker.stand();
        let until = match stand {
            Stand::Open { until, .. } => Some(clock.now().after(until.saturating_duration_since(clock.instant()))),
            Stand::Closed | Stand::HalfOpen { .. } => None,
        };
        BreakerView { state: Told::from(stand).slug().to_owned(), faults: state.breaker.faults(), until }
    }

    /// The comparison with the version before, for people; none where there is none.
    pub(super) fn watch_view(&self, clock: &Clock) -> Option<WatchView> {
        let state = self.lock();
        let (watch, until) = state.watch.as_ref()?;
        let [handled, failed, tried, better_before] = watch.counts();
        let until = clock.now().after(until.saturating_duration_since(clock.instant()));
        Some(WatchView { until, handled, failed, tried, better_before })
    }
}
