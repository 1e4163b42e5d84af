//! Exponential back-off with jitter, pure: the caller brings the randomness.

use std::time::Duration;

/// A retry policy that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// No attempt at all would be made.
    #[error("retry.attempts_max is 0; expected 1 to 100 (1 means no retry)")]
    NoAttempts,
    /// More attempts than the bound.
    #[error("retry.attempts_max is {0}; expected 1 to 100")]
    TooManyAttempts(u32),
    /// The shortest delay is longer than the longest.
    #[error("retry.delay_min_ms ({min_ms}) is greater than retry.delay_max_ms ({max_ms})")]
    MinAboveMax {
        /// `delay_min` in milliseconds.
        min_ms: u128,
        /// `delay_max` in milliseconds.
        max_ms: u128,
    },
    /// The longest delay is longer than a week.
    #[error("retry.delay_max_ms is more than a week (604800000)")]
    MaxTooLong,
}

/// When and how often a leg runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    attempts_max: u32,
    delay_min: Duration,
    delay_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts_max: 8, delay_min: Duration::from_secs(1), delay_max: Duration::from_hours(1) }
    }
}

impl RetryPolicy {
    /// A checked policy: 1–100 attempts, `delay_min` ≤ `delay_max` ≤ one week.
    ///
    /// # Errors
    /// Says which bound is broken.
    pub fn new(attempts_max: u32, delay_min: Duration, delay_max: Duration) -> Result<Self, RetryError> {
        match attempts_max {
            0 => return Err(RetryError::NoAttempts),
            1..=100 => {}
            more => return Err(RetryError::TooManyAttempts(more)),
        }
        if delay_min > delay_max {
            return Err(RetryError::MinAboveMax { min_ms: delay_min.as_millis(), max_ms: delay_max.as_millis() });
        }
        if delay_max > Duration::from_hours(7 * 24) {
            return Err(RetryError::MaxTooLong);
        }
        Ok(Self { attempts_max, delay_min, delay_max })
    }

    /// How many attempts a leg may have.
    #[must_use]
    pub fn attempts_max(&self) -> u32 {
        self.attempts_max
    }

    /// The longest delay before an attempt.
    #[must_use]
    pub fn delay_max(&self) -> Duration {
        self.delay_max
    }

    /// The delay after failed attempt `attempt` (1-based): uniform between `delay_min` and `min(delay_max, delay_min·2^(attempt−1))`.
    /// `random` is uniform in [0, 1].
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(62);
        let ceiling = self.delay_min.checked_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).unwrap_or(self.delay_max);
        let ceiling = ceiling.clamp(self.delay_min, self.delay_max);
        self.delay_min + ceiling.saturating_sub(self.delay_min).mul_f64(random.clamp(0.0, 1.0))
    }

    /// The delay a plugin asked for, never above `delay_max`.
    #[must_use]
    pub fn clamp(&self, asked: Duration) -> Duration {
        asked.min(self.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(attempts_max: u32, min_ms: u64, max_ms: u64) -> Result<RetryPolicy, RetryError> {
        RetryPolicy::new(attempts_max, Duration::from_millis(min_ms), Duration::from_millis(max_ms))
    }

    #[test]
    fn the_ceiling_doubles_until_the_longest_delay() {
        let policy = policy(8, 1000, 60_000).unwrap();
        let ceilings: Vec<_> = (1..=9).map(|attempt| policy.delay(attempt, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_policy_that_contradicts_itself_does_not_parse() {
        assert_eq!(policy(0, 1, 2), Err(RetryError::NoAttempts));
        assert_eq!(policy(101, 1, 2), Err(RetryError::TooManyAttempts(101)));
        assert!(matches!(policy(3, 2, 1), Err(RetryError::MinAboveMax { .. })));
        assert_eq!(policy(3, 1, 604_800_001), Err(RetryError::MaxTooLong));
    }

    proptest! {
        #[test]
        fn a_delay_is_never_before_the_shortest_nor_after_the_longest(
            attempt in 0..u32::MAX, min in 0..100_000_u64, extra in 0..600_000_u64, random in 0.0..=1.0_f64,
        ) {
            let policy = policy(5, min, min + extra).unwrap();
            let delay = policy.delay(attempt, random);
            prop_assert!(delay >= Duration::from_millis(min));
            prop_assert!(delay <= Duration::from_millis(min + extra));
        }

        #[test]
        fn the_delay_does_not_shrink_as_attempts_go_on(attempt in 1..60_u32, random in 0.0..=1.0_f64) {
            let policy = policy(5, 1000, 3_600_000).unwrap();
            prop_assert!(policy.delay(attempt, random) <= policy.delay(attempt + 1, random));
        }
    }
}
