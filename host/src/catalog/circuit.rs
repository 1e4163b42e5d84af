//! The circuit to one destination of one tenant: when its plugins wait for a server that is away.
//!
//! A server that is away fails every leg in the same way, so the legs need not find out one by one. What has really happened decides: requests
//! of runs that were to be tried again got no connection, no answer, or a 5xx. After three such deliveries in a row the queues of the plugins
//! that met it are held, and no attempt is used up. Then one leg of each tries; when the server answers, they come back a few at a time, not
//! all at once. Pure: time, identity and chance come from the caller, and `circuits` keeps them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::delivery::{DeliveryId, PluginName};

/// Deliveries that must fail in a row.
const FAILED_MIN: usize = 3;
/// How long queues are held at first; each failed try doubles it.
const HELD_FIRST: Duration = Duration::from_secs(5);
/// The longest: once a minute costs a server nothing, and nobody waits much longer than it was away.
const HELD_MAX: Duration = Duration::from_mins(1);
/// A time is this part shorter or longer, so that tenants do not try together.
const JITTER: f64 = 0.2;
/// How often, at most, twice as many runs at once are let through as before.
const GROWS_EVERY: Duration = Duration::from_secs(1);
/// Runs at once from which on nothing is held back any more.
const LENDS_MAX: usize = 64;

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nothing is held.
    Closed,
    /// The queues are held.
    Open { until: Instant, span: Duration },
    /// One leg of each queue may try.
    HalfOpen { span: Duration },
    /// The server answers again: so many legs of a queue at once, and more from then on.
    Recovering { lends: usize, grows_at: Option<Instant> },
}

impl Stand {
    /// Its one name.
    pub(super) fn slug(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
            Self::Recovering { .. } => "recovering",
        }
    }
}

/// The circuit to one destination of one tenant.
#[derive(Clone, Debug)]
pub(super) struct Circuit {
    stand: Stand,
    /// Deliveries that failed there since somebody was answered; never more than are needed.
    failed: Vec<DeliveryId>,
    /// Whose runs failed there since it was last closed.
    met: BTreeSet<PluginName>,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { stand: Stand::Closed, failed: Vec::new(), met: BTreeSet::new() }
    }
}

impl Circuit {
    pub(super) fn stand(&self) -> Stand {
        self.stand
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_idle(&self) -> bool {
        self.stand == Stand::Closed && self.failed.is_empty()
    }

    /// Whether this plugin has met it.
    pub(super) fn is_met_by(&self, plugin: &PluginName) -> bool {
        self.met.contains(plugin)
    }

    /// A run that is to be tried again got no answer there. `random` is uniform in [0, 1].
    pub(super) fn failed(&mut self, (plugin, delivery): (&PluginName, DeliveryId), now: Instant, random: f64) {
        self.met.insert(plugin.clone());
        if self.failed.len() < FAILED_MIN && !self.failed.contains(&delivery) {
            self.failed.push(delivery);
        }
        match self.stand {
            Stand::Closed | Stand::Recovering { .. } if self.failed.len() >= FAILED_MIN => self.open(HELD_FIRST, now, random),
            Stand::HalfOpen { span } => self.open((span * 2).min(HELD_MAX), now, random),
            Stand::Closed | Stand::Open { .. } | Stand::Recovering { .. } => {}
        }
    }

    fn open(&mut self, span: Duration, now: Instant, random: f64) {
        let spread = span.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0));
        self.stand = Stand::Open { until: now + spread, span };
    }

    /// A run was answered there.
    pub(super) fn answered(&mut self, now: Instant) {
        self.failed.clear();
        self.stand = match self.stand {
            Stand::Closed => Stand::Closed,
            // It may have been answered before the others failed: one leg shows.
            Stand::Open { span, .. } => Stand::HalfOpen { span },
            Stand::HalfOpen { .. } => Stand::Recovering { lends: 1, grows_at: Some(now + GROWS_EVERY) },
            Stand::Recovering { lends, grows_at } => Stand::Recovering { lends, grows_at: grows_at.or(Some(now + GROWS_EVERY)) },
        };
        if self.stand == Stand::Closed {
            self.met.clear();
        }
    }

    /// Goes on where the time has come. True where that changes anything.
    pub(super) fn wake(&mut self, now: Instant) -> bool {
        let before = self.stand;
        match before {
            Stand::Open { until, span } if until <= now => self.stand = Stand::HalfOpen { span },
            Stand::Recovering { lends, grows_at: Some(at) } if at <= now => {
                self.stand = if lends >= LENDS_MAX { Stand::Closed } else { Stand::Recovering { lends: lends * 2, grows_at: None } };
            }
            _ => {}
        }
        let is_changed = self.stand != before;
        if is_changed && self.stand == Stand::Closed {
            self.met.clear();
        }
        is_changed
    }

    /// When to look again.
    pub(super) fn next_change(&self) -> Option<Instant> {
        match self.stand {
            Stand::Open { until, .. } => Some(until),
            Stand::Recovering { grows_at, .. } => grows_at,
            Stand::Closed | Stand::HalfOpen { .. } => None,
        }
    }

    /// Runs at once that it lets a plugin make that has met it; none while the queues are held.
    pub(super) fn lends(&self) -> Option<usize> {
        match self.stand {
            Stand::Closed => Some(usize::MAX),
            Stand::Open { .. } => None,
            Stand::HalfOpen { .. } => Some(1),
            Stand::Recovering { lends, .. } => Some(lends),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn id(number: u8) -> DeliveryId {
        DeliveryId::from_bytes([number; 16])
    }

    fn plugin(name: &str) -> PluginName {
        name.parse().unwrap()
    }

    fn fail(circuit: &mut Circuit, number: u8, now: Instant) {
        circuit.failed((&plugin("a"), id(number)), now, 0.5);
    }

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        (1..=3).for_each(|number| fail(&mut circuit, number, now));
        assert_eq!(circuit.stand(), Stand::Open { until: now + HELD_FIRST, span: HELD_FIRST });
        circuit
    }

    #[test]
    fn one_delivery_that_fails_for_ever_holds_nobody_and_three_in_a_row_hold_who_met_them() {
        let (mut circuit, now) = (Circuit::default(), Clock::system().instant());
        (0..100).for_each(|_| fail(&mut circuit, 1, now));
        fail(&mut circuit, 2, now);
        assert_eq!(circuit.lends(), Some(usize::MAX));
        circuit.answered(now);
        (3..=4).for_each(|number| fail(&mut circuit, number, now));
        assert_eq!(circuit.stand(), Stand::Closed, "an answer between failures begins the count anew");
        fail(&mut circuit, 5, now);
        assert_eq!(circuit.lends(), None);
        assert!(circuit.is_met_by(&plugin("a")) && !circuit.is_met_by(&plugin("b")));
    }

    #[test]
    fn one_leg_tries_when_the_time_has_come_and_a_failure_holds_the_others_for_twice_as_long_up_to_a_minute() {
        let mut now = Clock::system().instant();
        let mut circuit = opened(now);
        let mut held = Vec::new();
        for number in 10..16 {
            let until = circuit.next_change().unwrap();
            assert!(!circuit.wake(until.checked_sub(Duration::from_millis(1)).unwrap()), "not before its time");
            held.push((until - now).as_secs());
            now = until;
            assert!(circuit.wake(now));
            assert_eq!(circuit.lends(), Some(1));
            fail(&mut circuit, number, now);
        }
        assert_eq!(held, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn who_waited_comes_back_a_few_at_a_time_and_not_all_at_once() {
        let mut now = Clock::system().instant();
        let mut circuit = opened(now);
        now = circuit.next_change().unwrap();
        circuit.wake(now);
        circuit.answered(now);
        let mut lent = Vec::new();
        while circuit.stand() != Stand::Closed {
            lent.push(circuit.lends().unwrap());
            circuit.answered(now);
            assert!(!circuit.wake(now), "no more within a second");
            now += GROWS_EVERY;
            assert!(circuit.wake(now));
            assert!(!circuit.wake(now + GROWS_EVERY) || circuit.stand() == Stand::Closed, "no more without another answer");
        }
        assert_eq!(lent, [1, 2, 4, 8, 16, 32, 64]);
        assert!(circuit.is_idle() && !circuit.is_met_by(&plugin("a")));
    }

    #[test]
    fn a_server_that_goes_away_again_while_legs_come_back_is_waited_for_again() {
        let now = Clock::system().instant();
        let mut circuit = opened(now);
        circuit.wake(now + HELD_FIRST);
        circuit.answered(now);
        fail(&mut circuit, 20, now);
        assert_eq!(circuit.lends(), Some(1), "one failure is not an outage");
        (21..=22).for_each(|number| fail(&mut circuit, number, now));
        assert_eq!(circuit.lends(), None);
    }

    #[test]
    fn an_answer_to_an_older_request_does_not_let_everybody_through() {
        let now = Clock::system().instant();
        let mut circuit = opened(now);
        circuit.answered(now);
        assert_eq!(circuit.stand(), Stand::HalfOpen { span: HELD_FIRST });
    }
}
