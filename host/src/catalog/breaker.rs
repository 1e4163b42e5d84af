//! The breaker of one version: when its queue is parked, and when it is tried again.
//!
//! A plugin that only faults burns the attempts of everything that waits for it. So faults are counted, one a delivery, since a run last ended
//! with the plugin's word; enough of them make the version suspect. Suspect is not guilty: what it was given may be poison, and whoever can
//! write an issue's title must not be able to park a queue. The guard tries the version on a delivery it is known to handle (`guard`) and
//! trips the breaker or clears it. Pure: time and identity come from the caller.

use std::time::{Duration, Instant};

use crate::delivery::DeliveryId;

/// The longest a queue stays parked between two probes.
const PARKED_MAX: Duration = Duration::from_mins(10);

/// When a breaker trips and how long it stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Deliveries that must fault in a row.
    pub faults_min: usize,
    /// How long the queue is parked before the first probe; each failed probe doubles it, up to ten minutes.
    pub parked_for: Duration,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Runs go on.
    Closed,
    /// The queue is parked.
    Open { until: Instant, span: Duration },
    /// One run at a time, to see.
    HalfOpen { span: Duration },
}

/// The breaker of one version.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    stand: Stand,
    /// Deliveries whose run faulted since one last ended with the plugin's word; never more than the policy's least number.
    faulted: Vec<DeliveryId>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { stand: Stand::Closed, faulted: Vec::new() }
    }
}

impl Breaker {
    pub(super) fn stand(&self) -> Stand {
        self.stand
    }

    /// How many deliveries have faulted in a row, as far as is counted.
    pub(super) fn faults(&self) -> usize {
        self.faulted.len()
    }

    /// A run ended with the plugin's word: whatever was suspected is over. True where a parked queue runs again.
    pub(super) fn spoke(&mut self) -> bool {
        self.faulted.clear();
        std::mem::replace(&mut self.stand, Stand::Closed) != Stand::Closed
    }

    /// A run faulted. True where the version is suspect from now on, or a probe has failed and the queue is parked again.
    pub(super) fn faulted(&mut self, delivery: DeliveryId, policy: BreakerPolicy, now: Instant) -> bool {
        if self.faulted.len() < policy.faults_min && !self.faulted.contains(&delivery) {
            self.faulted.push(delivery);
        }
        match self.stand {
            Stand::Closed => self.is_suspect(policy),
            Stand::Open { .. } => false,
            Stand::HalfOpen { span } => {
                let span = (span * 2).min(PARKED_MAX);
                self.stand = Stand::Open { until: now + span, span };
                true
            }
        }
    }

    /// Whether enough has faulted to look closer.
    pub(super) fn is_suspect(&self, policy: BreakerPolicy) -> bool {
        self.stand == Stand::Closed && self.faulted.len() >= policy.faults_min
    }

    /// It is the plugin: parks its queue. False where a run has spoken meanwhile.
    pub(super) fn trip(&mut self, policy: BreakerPolicy, now: Instant) -> bool {
        let is_suspect = self.is_suspect(policy);
        if is_suspect {
            self.stand = Stand::Open { until: now + policy.parked_for, span: policy.parked_for };
        }
        is_suspect
    }

    /// It is what the plugin was given: counting begins anew.
    pub(super) fn acquit(&mut self) {
        self.faulted.clear();
    }

    /// Lets one run at a time through where the time has come. True where that is new.
    pub(super) fn wake(&mut self, now: Instant) -> bool {
        match self.stand {
            Stand::Open { until, span } if until <= now => {
                self.stand = Stand::HalfOpen { span };
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const POLICY: BreakerPolicy = BreakerPolicy { faults_min: 3, parked_for: Duration::from_secs(30) };

    fn id(number: u8) -> DeliveryId {
        DeliveryId::from_bytes([number; 16])
    }

    fn tripped(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for number in 0..3 {
            breaker.faulted(id(number), POLICY, now);
        }
        assert!(breaker.trip(POLICY, now));
        breaker
    }

    #[test]
    fn one_delivery_that_faults_for_ever_makes_nobody_suspect_and_several_do() {
        let (mut breaker, now) = (Breaker::default(), Clock::system().instant());
        for _ in 0..100 {
            assert!(!breaker.faulted(id(1), POLICY, now));
        }
        assert!(!breaker.faulted(id(2), POLICY, now));
        assert!(breaker.faulted(id(3), POLICY, now));
        breaker.acquit();
        assert!(!breaker.is_suspect(POLICY) && !breaker.trip(POLICY, now), "cleared, it is not tripped");
    }

    #[test]
    fn a_word_between_faults_begins_the_count_anew() {
        let (mut breaker, now) = (Breaker::default(), Clock::system().instant());
        for number in 0..100 {
            assert!(!breaker.faulted(id(number), POLICY, now));
            assert!(!breaker.faulted(id(number + 100), POLICY, now));
            assert!(!breaker.spoke(), "nothing was parked");
        }
    }

    #[test]
    fn a_failed_probe_doubles_the_time_and_a_word_ends_it() {
        let now = Clock::system().instant();
        let mut breaker = tripped(now);
        let mut span = POLICY.parked_for;
        let mut at = now;
        for _ in 0..10 {
            assert!(!breaker.wake(at + span.saturating_sub(Duration::from_millis(1))), "not before its time");
            at += span;
            assert!(breaker.wake(at) && matches!(breaker.stand(), Stand::HalfOpen { .. }));
            assert!(breaker.faulted(id(9), POLICY, at));
            span = (span * 2).min(PARKED_MAX);
            assert_eq!(breaker.stand(), Stand::Open { until: at + span, span });
        }
        assert_eq!(span, PARKED_MAX);
        assert!(breaker.wake(at + span) && breaker.spoke());
        assert_eq!((breaker.stand(), breaker.faults()), (Stand::Closed, 0));
    }
}
