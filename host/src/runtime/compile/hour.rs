//! The compiler's time of the last hour, by who made it work. Whoever has used up its share waits until enough of it is an hour old.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::shares::{Full, Holder, Pool, Whose};

const HOUR: Duration = Duration::from_hours(1);
/// When it is tried again where all together have used up the bound: nobody's own turn tells when that changes.
const ALL_AGAIN: Duration = Duration::from_mins(1);

/// What each holder has used within the last hour: when it ended, and how long it took.
#[derive(Debug, Default)]
pub(super) struct Hours(Mutex<BTreeMap<Holder, VecDeque<(Instant, Duration)>>>);

/// A holder's time is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UsedUp {
    pub(super) full: Full,
    /// When there is some again.
    pub(super) again: Instant,
}

impl Hours {
    /// Whether this holder may make the compiler work now.
    pub(super) fn may(&self, pool: &Pool, holder: &Holder, now: Instant) -> Result<(), UsedUp> {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // All of them: what is an hour old counts against nobody any more.
        hours.retain(|holder, spans| {
            forget(spans, now);
            pool.set(holder, sum(spans));
            !spans.is_empty()
        });
        let Err(full) = pool.fits(holder, 1) else { return Ok(()) };
        let again = match (full.whose, hours.get(holder)) {
            (Whose::Share, Some(spans)) => enough_is_old(spans, full.bound),
            _ => now + ALL_AGAIN,
        };
        Err(UsedUp { full, again })
    }

    /// The compiler has worked for this holder.
    pub(super) fn spend(&self, pool: &Pool, holder: &Holder, now: Instant, took: Duration) {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = hours.entry(holder.clone()).or_default();
        forget(spans, now);
        spans.push_back((now, took));
        pool.set(holder, sum(spans));
    }
}

fn forget(spans: &mut VecDeque<(Instant, Duration)>, now: Instant) {
    while spans.front().is_some_and(|(ended, _)| now.saturating_duration_since(*ended) >= HOUR) {
        spans.pop_front();
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn sum(spans: &VecDeque<(Instant, Duration)>) -> u64 {
    spans.iter().map(|(_, took)| millis(*took)).sum()
}

/// When so much of it is an hour old that the rest is below the share.
fn enough_is_old(spans: &VecDeque<(Instant, Duration)>, share: u64) -> Instant {
    let mut left = sum(spans);
    let mut last = None;
    for (ended, took) in spans {
        last = Some(*ended + HOUR);
        left = left.saturating_sub(millis(*took));
        if left < share {
            break;
        }
    }
    last.unwrap_or_else(|| crate::clock::Clock::system().instant())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        shares::{Limit, Limits, Machine, Resource, Shares},
    };

    #[test]
    fn a_tenant_that_has_used_up_its_hour_is_told_when_and_nobody_else_waits() {
        let mut limits = Limits::of(Machine::here());
        limits.set(Resource::CompileTime, Limit::new(100_000, 10_000));
        let shares = Shares::new(&limits);
        let pool = shares.pool(Resource::CompileTime);
        let (hours, start) = (Hours::default(), Clock::system().instant());
        let [red, blue] = ["red", "blue"].map(|name| Holder::tenant(&name.parse().unwrap()));
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for ended in [10, 20, 30] {
            assert_eq!(hours.may(pool, &red, at(ended)), Ok(()));
            hours.spend(pool, &red, at(ended), Duration::from_secs(4));
        }
        let refused = hours.may(pool, &red, at(40)).unwrap_err();
        assert_eq!((refused.full.used, refused.again), (12_000, at(3610)), "8 of 10 s are left when the first is an hour old");
        assert_eq!(hours.may(pool, &blue, at(40)), Ok(()));
        assert!(hours.may(pool, &red, at(3609)).is_err());
        assert_eq!(hours.may(pool, &red, at(3610)), Ok(()));
        assert_eq!(pool.used_by(&red), 8000);
    }
}
