//! What becomes of a leg after a run. Pure: the caller brings the randomness, the broker carries it out.
//!
//! | outcome | settlement |
//! |---|---|
//! | `ack`, `skip` | the same |
//! | `reject` | dead letter, `rejected` |
//! | fault of the host | retry soon, uncounted |
//! | fault that would repeat | dead letter, the fault's slug |
//! | `host_crashed` | dead letter, `attempts_exhausted`: a run that is spared for it was charged before |
//! | anything else, the policy's time is over | dead letter, `time_exhausted` |
//! | anything else, last attempt | dead letter, `attempts_exhausted` |
//! | `retry` with a delay | retry after it, counted; never later than the policy's longest delay |
//! | anything else | retry after the back-off, counted |

use std::time::Duration;

use crate::delivery::{DeadReason, FaultKind, GivenUp, Outcome, RetryPolicy, Settlement, Timestamp, Tries, Upstream, Verdict};

/// How long a leg waits for a plugin that is gone before it is a dead letter: a weekend's outage of a deployment, and one day more.
pub const NO_PLUGIN_AFTER: Duration = Duration::from_hours(72);

/// The wait after a fault of the host is this and a part of the spread: long enough not to spin on a full pool, short enough not to be felt.
const HOST_FAULT_DELAY_MIN: Duration = Duration::from_millis(100);
const HOST_FAULT_DELAY_SPREAD: Duration = Duration::from_millis(900);

/// Decides about the last attempt of a leg that has come so far. `random` is uniform in [0, 1].
#[must_use]
pub fn judge(outcome: &Outcome, tries: Tries, policy: &RetryPolicy, random: f64) -> Settlement {
    match outcome {
        Outcome::Verdict(Verdict::Ack) => Settlement::Ack,
        Outcome::Verdict(Verdict::Skip(_)) => Settlement::Skip,
        Outcome::Verdict(Verdict::Reject(_)) => Settlement::DeadLetter(DeadReason::Rejected),
        Outcome::Verdict(Verdict::Retry { after, .. }) => again(policy.next(tries, *after, random)),
        Outcome::Fault(fault) if fault.kind.is_hosts() => Settlement::Retry { after: soon(random), counted: false },
        Outcome::Fault(fault) if fault.kind.is_hopeless() => Settlement::DeadLetter(DeadReason::Fault(fault.kind)),
        Outcome::Fault(fault) if fault.kind == FaultKind::HostCrashed => again(Err(GivenUp::Attempts)),
        Outcome::Fault(_) => again(policy.next(tries, None, random)),
    }
}

/// What a settled run says of the servers it called. One that answers says so in any case; one that does not only where the run is to be tried
/// again for it, or would have been: what a plugin does not mind is nothing to wait for.
#[must_use]
pub fn found(upstreams: Vec<Upstream>, settlement: Settlement) -> Vec<Upstream> {
    let minds = match settlement {
        Settlement::Retry { counted, .. } => counted,
        Settlement::DeadLetter(reason) => matches!(reason, DeadReason::AttemptsExhausted | DeadReason::TimeExhausted),
        Settlement::Ack | Settlement::Skip => false,
    };
    upstreams.into_iter().filter(|upstream| upstream.is_up || minds).collect()
}

/// Decides about a leg that is parked since `parked_since` because its plugin is gone: `None` while it may still wait.
#[must_use]
pub fn judge_parked(parked_since: Timestamp, now: Timestamp) -> Option<Settlement> {
    (now.since(parked_since) >= NO_PLUGIN_AFTER).then_some(Settlement::DeadLetter(DeadReason::Fault(FaultKind::NoPlugin)))
}

fn again(next: Result<Duration, GivenUp>) -> Settlement {
    match next {
        Ok(after) => Settlement::Retry { after, counted: true },
        Err(GivenUp::Attempts) => Settlement::DeadLetter(DeadReason::AttemptsExhausted),
        Err(GivenUp::Time) => Settlement::DeadLetter(DeadReason::TimeExhausted),
    }
}

fn soon(random: f64) -> Duration {
    HOST_FAULT_DELAY_MIN + HOST_FAULT_DELAY_SPREAD.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::{Destination, Fault};

    fn policy() -> RetryPolicy {
        RetryPolicy::new(3, Duration::from_secs(1), Duration::from_mins(1)).unwrap()
    }

    fn retry(after_s: Option<u64>) -> Outcome {
        Outcome::Verdict(Verdict::Retry { after: after_s.map(Duration::from_secs), reason: "later".into() })
    }

    fn fault(kind: FaultKind) -> Outcome {
        Outcome::Fault(Fault::new(kind, "words"))
    }

    fn counted(after_ms: u64) -> Settlement {
        Settlement::Retry { after: Duration::from_millis(after_ms), counted: true }
    }

    fn tries(attempt: u32) -> Tries {
        Tries { attempt, spent: Duration::ZERO }
    }

    #[test]
    fn every_outcome_is_judged_as_the_table_says() {
        let uncounted = Settlement::Retry { after: Duration::from_secs(1), counted: false };
        let dead = |kind| Settlement::DeadLetter(DeadReason::Fault(kind));
        let exhausted = Settlement::DeadLetter(DeadReason::AttemptsExhausted);
        for (outcome, attempt, expected) in [
            (Outcome::Verdict(Verdict::Ack), 1, Settlement::Ack),
            (Outcome::Verdict(Verdict::Ack), 99, Settlement::Ack),
            (Outcome::Verdict(Verdict::Skip("no".into())), 3, Settlement::Skip),
            (Outcome::Verdict(Verdict::Reject("bad".into())), 1, Settlement::DeadLetter(DeadReason::Rejected)),
            (retry(None), 1, counted(1200)),
            (retry(None), 2, counted(2400)),
            (retry(None), 3, exhausted),
            (retry(Some(30)), 1, counted(30_000)),
            (retry(Some(0)), 1, counted(0)),
            (retry(Some(3600)), 1, counted(60_000)),
            (retry(Some(30)), 3, exhausted),
            (fault(FaultKind::Trapped), 2, counted(2400)),
            (fault(FaultKind::Trapped), 3, exhausted),
            (fault(FaultKind::DeadlineExceeded), 1, counted(1200)),
            (fault(FaultKind::HostCrashed), 1, exhausted),
            (fault(FaultKind::HostCrashed), 4, exhausted),
            (fault(FaultKind::OutOfFuel), 1, dead(FaultKind::OutOfFuel)),
            (fault(FaultKind::OutOfMemory), 1, dead(FaultKind::OutOfMemory)),
            (fault(FaultKind::AbiLimit), 1, dead(FaultKind::AbiLimit)),
            (fault(FaultKind::Denied), 1, dead(FaultKind::Denied)),
            (fault(FaultKind::NoPlugin), 1, dead(FaultKind::NoPlugin)),
            (fault(FaultKind::BodyCorrupt), 1, dead(FaultKind::BodyCorrupt)),
            (fault(FaultKind::HostUnavailable), 1, uncounted),
            (fault(FaultKind::HostUnavailable), 99, uncounted),
            (fault(FaultKind::VersionConflict), 3, uncounted),
        ] {
            assert_eq!(judge(&outcome, tries(attempt), &policy(), 1.0), expected, "{outcome:?} in attempt {attempt}");
        }
    }

    #[test]
    fn a_leg_whose_time_is_over_is_dead_and_says_so_unless_its_last_run_went_well() {
        let policy = RetryPolicy::within(Duration::from_hours(1), None, (Duration::from_secs(1), Duration::from_mins(1))).unwrap();
        let at = |spent_s| Tries { attempt: 40, spent: Duration::from_secs(spent_s) };
        assert_eq!(judge(&retry(None), at(3590), &policy, 0.5), counted(10_000), "the last attempt is when the time is over");
        assert_eq!(judge(&retry(None), at(3600), &policy, 0.5), Settlement::DeadLetter(DeadReason::TimeExhausted));
        assert_eq!(judge(&fault(FaultKind::Trapped), at(3600), &policy, 0.5), Settlement::DeadLetter(DeadReason::TimeExhausted));
        assert_eq!(judge(&Outcome::Verdict(Verdict::Ack), at(9999), &policy, 0.5), Settlement::Ack);
        assert!(matches!(judge(&fault(FaultKind::HostUnavailable), at(9999), &policy, 0.5), Settlement::Retry { counted: false, .. }));
    }

    #[test]
    fn a_server_that_is_away_counts_only_for_a_run_that_minds() {
        let of = |name: &str, is_up| Upstream { destination: Destination::server(name.to_owned()), is_up };
        let both = || vec![of("a", true), of("b", false)];
        let exhausted = Settlement::DeadLetter(DeadReason::TimeExhausted);
        for settlement in [counted(1), exhausted, Settlement::DeadLetter(DeadReason::AttemptsExhausted)] {
            assert_eq!(found(both(), settlement), both(), "{settlement:?}");
        }
        let rejected = Settlement::DeadLetter(DeadReason::Rejected);
        for settlement in [Settlement::Ack, Settlement::Skip, rejected, Settlement::Retry { after: Duration::ZERO, counted: false }] {
            assert_eq!(found(both(), settlement), [of("a", true)], "{settlement:?}");
        }
    }

    #[test]
    fn a_parked_leg_dies_when_its_plugin_is_gone_for_72_hours_and_not_before() {
        let since = Timestamp::from_unix_ms(1_700_000_000_000);
        let last_wait = since.after(NO_PLUGIN_AFTER).before(Duration::from_millis(1));
        assert_eq!(judge_parked(since, last_wait), None);
        let dead = Settlement::DeadLetter(DeadReason::Fault(FaultKind::NoPlugin));
        assert_eq!(judge_parked(since, since.after(NO_PLUGIN_AFTER)), Some(dead));
        assert_eq!(judge_parked(since, since.before(Duration::from_secs(1))), None, "a clock that went back kills nothing");
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        let kinds = prop::sample::select(FaultKind::ALL.to_vec());
        prop_oneof![
            Just(Outcome::Verdict(Verdict::Ack)),
            Just(Outcome::Verdict(Verdict::Skip(String::new()))),
            Just(Outcome::Verdict(Verdict::Reject(String::new()))),
            prop::option::of(0..1_000_000_u64).prop_map(retry),
            kinds.prop_map(fault),
        ]
    }

    proptest! {
        #[test]
        fn no_leg_gets_a_counted_retry_after_its_last_attempt(
            outcome in any_outcome(), attempts_max in 1..=100_u32, more in 0..10_u32, random in 0.0..=1.0_f64,
        ) {
            let policy = RetryPolicy::new(attempts_max, Duration::ZERO, Duration::from_mins(1)).unwrap();
            let settlement = judge(&outcome, tries(attempts_max + more), &policy, random);
            let counted_retry = matches!(settlement, Settlement::Retry { counted: true, .. });
            prop_assert!(!counted_retry);
        }

        #[test]
        fn a_retry_is_uncounted_exactly_when_the_fault_is_the_hosts(
            outcome in any_outcome(), attempt in 1..200_u32, random in 0.0..=1.0_f64,
        ) {
            let hosts = matches!(&outcome, Outcome::Fault(fault) if fault.kind.is_hosts());
            let settlement = judge(&outcome, tries(attempt), &policy(), random);
            let uncounted = matches!(settlement, Settlement::Retry { counted: false, .. });
            prop_assert_eq!(uncounted, hosts);
        }

        #[test]
        fn an_asked_delay_is_kept_unless_it_is_longer_than_the_longest(asked_s in 0..1_000_u64, random in 0.0..=1.0_f64) {
            prop_assert_eq!(judge(&retry(Some(asked_s)), tries(1), &policy(), random), counted(asked_s.min(60) * 1000));
        }

        #[test]
        fn the_wait_after_a_host_fault_stays_between_its_bounds(random in 0.0..=1.0_f64) {
            prop_assert!((Duration::from_millis(100)..=Duration::from_secs(1)).contains(&soon(random)));
        }
    }
}
