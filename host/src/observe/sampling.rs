//! Lines a stranger can cause are sampled: at most so many a second, the rest counted.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lines of one second that are written.
pub(super) const LINES_PER_S_MAX: u32 = 10;

/// Lets the first lines of each second through.
#[derive(Debug, Default)]
pub(super) struct Sampler(Mutex<Option<Window>>);

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    lines: u32,
}

impl Sampler {
    /// Whether a line may be written at `now`.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let current = window.filter(|window| now.saturating_duration_since(window.began) < Duration::from_secs(1));
        let current = current.unwrap_or(Window { began: now, lines: 0 });
        let admitted = current.lines < LINES_PER_S_MAX;
        *window = Some(Window { lines: current.lines + u32::from(admitted), ..current });
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, delivery::Timestamp};

    #[test]
    fn ten_lines_a_second_pass_and_the_next_second_begins_anew() {
        let (sampler, clock) = (Sampler::default(), Clock::manual(Timestamp::from_unix_ms(0)));
        let burst = |count| (0..count).filter(|_| sampler.admits(clock.instant())).count();
        assert_eq!(burst(1000), 10);
        clock.advance(Duration::from_millis(999));
        assert_eq!(burst(1000), 0);
        clock.advance(Duration::from_millis(1));
        assert_eq!(burst(1000), 10);
    }
}
