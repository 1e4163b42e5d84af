//! When a leg runs again: a budget of time, and gaps that grow. Pure: the caller brings the randomness and the time that has passed.
//!
//! What is away comes back after a time, not after a number of tries, so time is what ends a leg; the number of attempts is only a net. Each
//! gap is twice the one before, a fifth more or less, so that legs that failed together do not come back together, and never outside the
//! policy's shortest and longest delay. The last attempt is at the end of the time, not before it.

use std::time::Duration;

/// Attempts of a leg, where nothing is said: a net, for gaps of a minute end after 24 hours at 1440, and those of the default at 36.
const ATTEMPTS_MAX_DEFAULT: u32 = 2000;
/// The most that may be said.
const ATTEMPTS_MOST: u32 = 10_000;
/// How long a leg is retried where nothing is said.
const TIME_DEFAULT: Duration = Duration::from_hours(24);
/// The longest delay, and the longest time a leg may be retried for.
const TIME_MOST: Duration = Duration::from_hours(7 * 24);
/// A gap is this part shorter or longer than its place in the row says.
const JITTER: f64 = 0.2;

/// A retry policy that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// No attempt at all would be made.
    #[error("retry.attempts_max is 0; expected 1 to {ATTEMPTS_MOST} (1 means no retry)")]
    NoAttempts,
    /// More attempts than the bound.
    #[error("retry.attempts_max is {0}; expected 1 to {ATTEMPTS_MOST}")]
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
    /// The time is nothing, or longer than a week.
    #[error("retry.for is {}; expected more than nothing and at most 7d (attempts_max = 1 means no retry)", spelled(*.0))]
    TimeOutOfRange(Duration),
    /// The time is not written as one.
    #[error("retry.for is `{}`; expected a whole number and its unit, such as \"24h\" (ms, s, m, h or d)", .0.escape_debug())]
    NoTime(String),
}

/// When and how often a leg runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long after its first attempt began a leg is still retried; without end where only attempts were counted.
    within: Option<Duration>,
    attempts_max: u32,
    delay_min: Duration,
    delay_max: Duration,
}

/// How far a leg has come with its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// The number of the attempt that has ended, from 1.
    pub attempt: u32,
    /// How long ago the first of them began.
    pub spent: Duration,
}

/// Why a leg is retried no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It had all its attempts.
    Attempts,
    /// Its time is over.
    Time,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            within: Some(TIME_DEFAULT),
            attempts_max: ATTEMPTS_MAX_DEFAULT,
            delay_min: Duration::from_secs(1),
            delay_max: Duration::from_hours(1),
        }
    }
}

impl RetryPolicy {
    /// A policy that counts attempts only, whatever time they take: 1 to 10,000 of them, `delay_min` ≤ `delay_max` ≤ one week.
    ///
    /// # Errors
    /// Says which bound is broken.
    pub fn new(attempts_max: u32, delay_min: Duration, delay_max: Duration) -> Result<Self, RetryError> {
        match attempts_max {
            0 => return Err(RetryError::NoAttempts),
            1..=ATTEMPTS_MOST => {}
            more => return Err(RetryError::TooManyAttempts(more)),
        }
        if delay_min > delay_max {
            return Err(RetryError::MinAboveMax { min_ms: delay_min.as_millis(), max_ms: delay_max.as_millis() });
        }
        if delay_max > TIME_MOST {
            return Err(RetryError::MaxTooLong);
        }
        Ok(Self { within: None, attempts_max, delay_min, delay_max })
    }

    /// A policy that retries for a time, and counts attempts as a net only: those of `attempts_max`, else more than any schedule needs.
    ///
    /// # Errors
    /// Says which bound is broken.
    pub fn within(time: Duration, attempts_max: Option<u32>, (delay_min, delay_max): (Duration, Duration)) -> Result<Self, RetryError> {
        if time.is_zero() || time > TIME_MOST {
            return Err(RetryError::TimeOutOfRange(time));
        }
        let policy = Self::new(attempts_max.unwrap_or(ATTEMPTS_MAX_DEFAULT), delay_min, delay_max)?;
        Ok(Self { within: Some(time), ..policy })
    }

    /// How many attempts a leg may have.
    #[must_use]
    pub fn attempts_max(&self) -> u32 {
        self.attempts_max
    }

    /// How long a leg is retried; none where only attempts count.
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        self.within
    }

    /// The shortest delay before an attempt.
    #[must_use]
    pub fn delay_min(&self) -> Duration {
        self.delay_min
    }

    /// The longest delay before an attempt.
    #[must_use]
    pub fn delay_max(&self) -> Duration {
        self.delay_max
    }

    /// The delay before the next attempt. A plugin that asks for one gets no less, up to the longest; otherwise it is the gap of this attempt,
    /// or what is left of the time where that is shorter. `random` is uniform in [0, 1].
    ///
    /// # Errors
    /// There is no next attempt, and why.
    pub fn next(&self, tries: Tries, asked: Option<Duration>, random: f64) -> Result<Duration, GivenUp> {
        if tries.attempt >= self.attempts_max {
            return Err(GivenUp::Attempts);
        }
        let left = self.within.map_or(Duration::MAX, |within| within.saturating_sub(tries.spent));
        if left.is_zero() {
            return Err(GivenUp::Time);
        }
        Ok(asked.map_or_else(|| self.gap(tries.attempt, random).min(left), |asked| asked.min(self.delay_max)))
    }

    /// The gap after attempt `attempt`: `delay_min × 2ⁿ`, a fifth more or less, and never outside the two delays.
    fn gap(&self, attempt: u32, random: f64) -> Duration {
        let middle = self.doubled(attempt);
        let (least, most) = (middle.mul_f64(1.0 - JITTER).max(self.delay_min), middle.mul_f64(1.0 + JITTER).min(self.delay_max));
        least + most.saturating_sub(least).mul_f64(random.clamp(0.0, 1.0))
    }

    fn doubled(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.delay_min.checked_mul(1 << doublings).map_or(self.delay_max, |delay| delay.min(self.delay_max))
    }

    /// The attempts of a leg that always fails, and how long they take, without jitter and without what plugins ask for.
    #[must_use]
    pub fn course(&self) -> Tries {
        let mut tries = Tries { attempt: 1, spent: Duration::ZERO };
        while tries.attempt < self.attempts_max {
            let left = self.within.map_or(Duration::MAX, |within| within.saturating_sub(tries.spent));
            if left.is_zero() {
                break;
            }
            tries.spent = tries.spent.saturating_add(self.doubled(tries.attempt).min(left));
            tries.attempt += 1;
        }
        tries
    }

    /// The schedule in words, for whoever runs or writes a plugin.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Tries { attempt: attempts, spent } = self.course();
        if attempts == 1 {
            return "never: one attempt".to_owned();
        }
        let grown = (1..attempts).find(|attempt| self.doubled(*attempt) == self.doubled(attempt + 1)).unwrap_or(attempts);
        let growing: Vec<_> = (1..attempts.min(grown)).map(|attempt| spelled(self.doubled(attempt))).collect();
        let steady = (grown < attempts).then(|| format!("every {}", spelled(self.doubled(grown))));
        let gaps = match (growing.is_empty(), steady) {
            (true, steady) => steady.unwrap_or_default(),
            (false, None) => format!("after {}", growing.join(", ")),
            (false, Some(steady)) => format!("after {}, then {steady}", growing.join(", ")),
        };
        let end = match self.within {
            Some(within) if spent >= within => format!("given up {} after the first of about {attempts} attempts", spelled(within)),
            Some(_) => format!("given up after {attempts} attempts, about {}: before `for` is over", spelled(spent)),
            None => format!("given up after {attempts} attempts, about {}", spelled(spent)),
        };
        format!("{gaps}; {end}")
    }
}

/// Reads `24h`, `90s` and the like.
///
/// # Errors
/// It is not written as a time.
pub fn parse_time(text: &str) -> Result<Duration, RetryError> {
    let malformed = || RetryError::NoTime(text.chars().take(32).collect());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(malformed()),
    };
    let number: u64 = number.parse().map_err(|_| malformed())?;
    Ok(Duration::from_millis(number.saturating_mul(unit_ms)))
}

/// A time in its largest units, two of them at most; what is smaller is left out.
fn spelled(time: Duration) -> String {
    let ms = time.as_millis();
    if ms < 1000 {
        return format!("{ms} ms");
    }
    if ms < 10_000 && !ms.is_multiple_of(1000) {
        return format!("{:.1} s", time.as_secs_f64());
    }
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut left = time.as_secs();
    let mut parts = Vec::new();
    // A day is told as 24 h, as it is written in most manifests.
    let first = units.iter().position(|(unit, name)| left >= *unit && (*name != "d" || left > 2 * 86_400)).unwrap_or(3);
    for (unit, name) in units.iter().skip(first).take(2) {
        if left >= *unit {
            parts.push(format!("{} {name}", left / unit));
            left %= unit;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(attempts_max: u32, min_ms: u64, max_ms: u64) -> Result<RetryPolicy, RetryError> {
        RetryPolicy::new(attempts_max, Duration::from_millis(min_ms), Duration::from_millis(max_ms))
    }

    fn tries(attempt: u32, spent_s: u64) -> Tries {
        Tries { attempt, spent: Duration::from_secs(spent_s) }
    }

    #[test]
    fn each_gap_is_twice_the_one_before_until_the_longest_a_fifth_more_or_less() {
        let policy = policy(20, 1000, 60_000).unwrap();
        let gaps = |random| (1..=9).map(|attempt| policy.gap(attempt, random).as_millis()).collect::<Vec<_>>();
        assert_eq!(gaps(0.0), [1000, 1600, 3200, 6400, 12_800, 25_600, 48_000, 48_000, 48_000]);
        assert_eq!(gaps(1.0), [1200, 2400, 4800, 9600, 19_200, 38_400, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn by_default_a_leg_is_tried_for_24_hours_however_many_attempts_that_makes() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.course(), Tries { attempt: 36, spent: Duration::from_hours(24) });
        assert_eq!(policy.next(tries(500, 86_399), None, 0.5), Ok(Duration::from_secs(1)), "the last attempt is at the end of the time");
        assert_eq!(policy.next(tries(36, 86_400), None, 0.5), Err(GivenUp::Time));
        assert_eq!(policy.next(tries(2000, 5), None, 0.5), Err(GivenUp::Attempts), "the net");
    }

    #[test]
    fn a_policy_that_names_attempts_only_ends_with_the_last_of_them_whatever_time_has_passed() {
        let policy = policy(3, 1000, 60_000).unwrap();
        assert!(policy.next(tries(2, 1_000_000), None, 0.5).is_ok());
        assert_eq!(policy.next(tries(3, 0), None, 0.5), Err(GivenUp::Attempts));
    }

    #[test]
    fn a_plugin_gets_the_delay_it_asks_for_up_to_the_longest() {
        let policy = RetryPolicy::within(Duration::from_secs(90), None, (Duration::from_secs(1), Duration::from_mins(1))).unwrap();
        let next = |asked_s, spent_s| policy.next(tries(1, spent_s), Some(Duration::from_secs(asked_s)), 0.5);
        assert_eq!(next(30, 0), Ok(Duration::from_secs(30)));
        assert_eq!(next(300, 0), Ok(Duration::from_mins(1)));
        assert_eq!(next(30, 80), Ok(Duration::from_secs(30)), "not before the time it asks for, though that is after the end");
        assert_eq!(next(30, 90), Err(GivenUp::Time));
    }

    #[test]
    fn a_policy_that_contradicts_itself_does_not_parse() {
        assert_eq!(policy(0, 1, 2), Err(RetryError::NoAttempts));
        assert_eq!(policy(10_001, 1, 2), Err(RetryError::TooManyAttempts(10_001)));
        assert!(matches!(policy(3, 2, 1), Err(RetryError::MinAboveMax { .. })));
        assert_eq!(policy(3, 1, 604_800_001), Err(RetryError::MaxTooLong));
        for time in [Duration::ZERO, Duration::from_hours(24 * 7 + 1)] {
            let found = RetryPolicy::within(time, None, (Duration::ZERO, Duration::ZERO));
            assert_eq!(found, Err(RetryError::TimeOutOfRange(time)));
        }
    }

    #[test]
    fn a_time_is_a_whole_number_with_its_unit() {
        let read = |text: &str| parse_time(text).map(|time| time.as_millis());
        assert_eq!(
            ["250ms", "90s", "15m", "24h", "7d", "24 h"].map(read),
            [250, 90_000, 900_000, 86_400_000, 604_800_000, 86_400_000].map(Ok)
        );
        for text in ["", "24", "h", "1.5h", "-1h", "24H", "1h30m", "99999999999999999999h"] {
            let told = read(text).unwrap_err().to_string();
            assert!(told.contains(&format!("`{text}`")) && told.contains("\"24h\""), "{told}");
        }
    }

    #[test]
    fn the_schedule_is_told_in_words() {
        assert_eq!(
            RetryPolicy::default().in_words(),
            "after 1 s, 2 s, 4 s, 8 s, 16 s, 32 s, 1 m 4 s, 2 m 8 s, 4 m 16 s, 8 m 32 s, 17 m 4 s, 34 m 8 s, then every 1 h; given up 24 h \
             after the first of about 36 attempts"
        );
        let words = |attempts, min_ms, max_ms| policy(attempts, min_ms, max_ms).unwrap().in_words();
        assert_eq!(words(1, 1000, 1000), "never: one attempt");
        assert_eq!(words(4, 1000, 60_000), "after 1 s, 2 s, 4 s; given up after 4 attempts, about 7 s");
        assert_eq!(words(3, 500, 500), "every 500 ms; given up after 3 attempts, about 1 s");
        let netted = RetryPolicy::within(Duration::from_hours(24), Some(3), (Duration::from_secs(1), Duration::from_secs(9))).unwrap();
        assert_eq!(netted.in_words(), "after 1 s, 2 s; given up after 3 attempts, about 3 s: before `for` is over");
    }

    proptest! {
        #[test]
        fn a_gap_is_never_before_the_shortest_delay_nor_after_the_longest(
            attempt in 0..u32::MAX, min in 0..100_000_u64, extra in 0..600_000_u64, random in 0.0..=1.0_f64,
        ) {
            let policy = policy(5, min, min + extra).unwrap();
            let gap = policy.gap(attempt, random);
            prop_assert!(gap >= Duration::from_millis(min));
            prop_assert!(gap <= Duration::from_millis(min + extra));
        }

        #[test]
        fn gaps_do_not_shrink_as_attempts_go_on_whatever_chance_says(
            attempt in 1..60_u32, random in 0.0..=1.0_f64, next in 0.0..=1.0_f64,
        ) {
            let policy = policy(5, 1000, 604_800_000).unwrap();
            if policy.doubled(attempt) * 2 == policy.doubled(attempt + 1) {
                prop_assert!(policy.gap(attempt, random) < policy.gap(attempt + 1, next));
            }
        }

        #[test]
        fn a_schedule_ends_whatever_it_is(time_s in 1..604_800_u64, min in 0..5000_u64, extra in 0..5_000_000_u64) {
            let delays = (Duration::from_millis(min), Duration::from_millis(min + extra));
            let course = RetryPolicy::within(Duration::from_secs(time_s), None, delays).unwrap().course();
            prop_assert!(course.attempt <= ATTEMPTS_MAX_DEFAULT && course.spent <= Duration::from_secs(time_s));
        }
    }
}
