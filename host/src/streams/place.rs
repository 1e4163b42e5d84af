//! Where a stream stands: up to where it has published, and how much of that is on disk.
//!
//! Every write of a cursor is a commit, and while one is synced an accept waits for the next. So a stream that publishes without a pause
//! writes its cursor ten times a second and not with every portion; what a crash makes it repeat grows by that much and no more.

use std::time::{Duration, Instant};

use super::StreamSettings;
use crate::ledger::{Ledger, LedgerError};

/// How long a cursor may be behind what was published.
const SAVE_PERIOD: Duration = Duration::from_millis(100);

/// A stream's place in what it follows.
#[derive(Debug)]
pub(super) struct Place {
    position: u64,
    /// Not yet counted on disk.
    gap: u64,
    due: Option<Instant>,
}

impl Place {
    /// At a cursor that is on disk.
    pub(super) fn at(position: u64) -> Self {
        Self { position, gap: 0, due: None }
    }

    /// Up to where it has come.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// It has come to `end` and missed so many on the way.
    pub(super) fn advance(&mut self, end: u64, gap: u64, now: Instant) {
        self.position = end;
        self.gap += gap;
        self.due.get_or_insert(now + SAVE_PERIOD);
    }

    /// There is nothing up to `end`: the head alone has moved, and nothing needs to be kept.
    pub(super) fn skip(&mut self, end: u64) {
        self.position = end;
    }

    /// When it is to be saved; none where it is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Puts it on disk, where it is not.
    pub(super) async fn save(&mut self, ledger: &Ledger, stream: &StreamSettings) -> Result<(), LedgerError> {
        if self.due.is_none() {
            return Ok(());
        }
        let gap = std::mem::take(&mut self.gap);
        let saved = ledger.advance_stream(&stream.name, stream.followed, self.position, gap).await;
        match saved {
            Ok(()) => self.due = None,
            Err(_) => self.gap = gap,
        }
        saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_place_is_due_a_moment_after_its_first_move_however_often_it_moves() {
        let now = Clock::system().instant();
        let mut place = Place::at(3);
        place.skip(5);
        assert_eq!((place.position(), place.due()), (5, None));
        place.advance(9, 0, now);
        place.advance(12, 1, now + SAVE_PERIOD / 2);
        assert_eq!((place.position(), place.due()), (12, Some(now + SAVE_PERIOD)));
    }
}
