//! Rates per key, in one bounded map: the generic cell rate algorithm, one date a key.
//!
//! A key's entry is the date at which it has paid for everything it used. Every rate here differs by key (each source has its own) and every
//! date must come from [`Clock`], so the twenty lines of arithmetic are ours. When the map is full of keys that still owe, a new key passes
//! unmetered: a limit is a shield, not a lock, and the caps on connections and bytes stand behind it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::clock::Clock;

/// Keys a map holds at most: at under 64 bytes a key, a few megabytes a map.
const KEYS_MAX: usize = 65_536;
/// A full map is swept at most this often, so that a flood of new keys does not make every call a sweep.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// So many in such a time, and all of them at once if need be.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub period: Duration,
}

/// Meters many keys.
#[derive(Debug)]
pub struct Meter<K> {
    clock: Clock,
    keys_max: usize,
    state: Mutex<Dates<K>>,
}

/// Remembers keys for a while.
#[derive(Debug)]
pub struct Lately<K> {
    clock: Clock,
    window: Duration,
    keys_max: usize,
    state: Mutex<Dates<K>>,
}

/// Keys with the date from which they can be forgotten.
#[derive(Debug)]
struct Dates<K> {
    until: HashMap<K, Instant>,
    swept_at: Instant,
}

impl Rate {
    /// So many a second.
    #[must_use]
    pub fn per_second(count: u32) -> Self {
        Self { count, period: Duration::from_secs(1) }
    }

    /// So many a minute.
    #[must_use]
    pub fn per_minute(count: u32) -> Self {
        Self { count, period: Duration::from_mins(1) }
    }

    fn interval(self) -> Duration {
        self.period / self.count.max(1)
    }

    /// How far ahead a key may have used: all but the one that is asked for.
    fn tolerance(self) -> Duration {
        self.period.saturating_sub(self.interval())
    }
}

impl<K: Hash + Eq> Meter<K> {
    /// Nobody has used anything.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { keys_max: KEYS_MAX, state: Mutex::new(Dates::new(clock.instant())), clock }
    }

    /// Takes one.
    ///
    /// # Errors
    /// There is none left; the time after which there is one again.
    pub fn charge(&self, key: K, rate: Rate) -> Result<(), Duration> {
        let now = self.clock.instant();
        let mut dates = lock(&self.state);
        let paid = dates.until.get(&key).map_or(now, |paid| (*paid).max(now));
        wait(paid, rate, now)?;
        dates.put(key, paid + rate.interval(), now, self.keys_max);
        Ok(())
    }

    /// Whether there is one left, without taking it.
    ///
    /// # Errors
    /// There is none left; the time after which there is one again.
    pub fn peek(&self, key: &K, rate: Rate) -> Result<(), Duration> {
        let now = self.clock.instant();
        lock(&self.state).until.get(key).map_or(Ok(()), |paid| wait(*paid, rate, now))
    }
}

impl<K: Hash + Eq> Lately<K> {
    /// Remembers each key for `window`.
    #[must_use]
    pub fn new(clock: Clock, window: Duration) -> Self {
        Self { window, keys_max: KEYS_MAX, state: Mutex::new(Dates::new(clock.instant())), clock }
    }

    /// Remembers the key from now.
    pub fn note(&self, key: K) {
        let now = self.clock.instant();
        lock(&self.state).put(key, now + self.window, now, self.keys_max);
    }

    /// Whether the key is remembered.
    #[must_use]
    pub fn holds(&self, key: &K) -> bool {
        let now = self.clock.instant();
        lock(&self.state).until.get(key).is_some_and(|until| *until > now)
    }
}

impl<K: Hash + Eq> Dates<K> {
    fn new(now: Instant) -> Self {
        Self { until: HashMap::new(), swept_at: now }
    }

    fn put(&mut self, key: K, until: Instant, now: Instant, keys_max: usize) {
        if self.until.len() >= keys_max && now.saturating_duration_since(self.swept_at) >= SWEEP_EVERY {
            self.until.retain(|_, until| *until > now);
            self.swept_at = now;
        }
        if self.until.len() < keys_max || self.until.contains_key(&key) {
            self.until.insert(key, until);
        }
    }
}

fn wait(paid: Instant, rate: Rate, now: Instant) -> Result<(), Duration> {
    let ahead = paid.saturating_duration_since(now);
    match ahead.saturating_sub(rate.tolerance()) {
        Duration::ZERO => Ok(()),
        too_early => Err(too_early),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries are single dates: a panic elsewhere cannot have left one half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Timestamp;

    fn clock() -> Clock {
        Clock::manual(Timestamp::from_unix_ms(0))
    }

    #[test]
    fn a_rate_is_a_burst_and_then_one_each_interval() {
        let clock = clock();
        let meter = Meter::new(clock.clone());
        let rate = Rate::per_second(4);
        assert!((0..4).all(|_| meter.charge("a", rate).is_ok()));
        assert_eq!(meter.charge("a", rate), Err(Duration::from_millis(250)));
        assert_eq!(meter.charge("b", rate), Ok(()), "another key has its own rate");
        clock.advance(Duration::from_millis(250));
        assert_eq!(meter.charge("a", rate), Ok(()));
        assert!(meter.charge("a", rate).is_err());
    }

    #[test]
    fn a_peek_takes_nothing() {
        let meter = Meter::new(clock());
        let rate = Rate::per_minute(1);
        assert!((0..3).all(|_| meter.peek(&"a", rate).is_ok()));
        assert_eq!(meter.charge("a", rate), Ok(()));
        assert_eq!(meter.peek(&"a", rate), Err(Duration::from_mins(1)));
    }

    #[test]
    fn a_full_map_forgets_who_owes_nothing_and_never_grows() {
        let clock = clock();
        let meter = Meter { keys_max: 100, ..Meter::new(clock.clone()) };
        for key in 0..1000 {
            assert_eq!(meter.charge(key, Rate::per_second(1)), Ok(()));
        }
        assert_eq!(lock(&meter.state).until.len(), 100);
        clock.advance(Duration::from_secs(2));
        assert_eq!(meter.charge(1000, Rate::per_second(1)), Ok(()));
        assert_eq!(lock(&meter.state).until.len(), 1);
    }

    #[test]
    fn lately_ends() {
        let clock = clock();
        let lately = Lately::new(clock.clone(), Duration::from_mins(1));
        assert!(!lately.holds(&"a"));
        lately.note("a");
        clock.advance(Duration::from_secs(59));
        assert!(lately.holds(&"a"));
        clock.advance(Duration::from_secs(1));
        assert!(!lately.holds(&"a"));
    }
}
