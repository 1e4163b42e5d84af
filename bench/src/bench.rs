//! What every measurement works with.

use std::io::Write as _;

use hookyard::clock::Clock;

use crate::{folders::Folders, lengths::Lengths, report::Report};

/// One run of the bench.
pub(crate) struct Bench {
    pub(crate) folders: Folders,
    pub(crate) lengths: Lengths,
    pub(crate) clock: Clock,
    pub(crate) report: Report,
}

impl Bench {
    /// A number that no earlier series of deliveries had: the time in milliseconds.
    pub(crate) fn series(&self) -> u64 {
        u64::try_from(self.clock.now().unix_ms()).unwrap_or(0)
    }

    /// Tells how far things are.
    #[expect(clippy::unused_self, reason = "words belong to the run that says them")]
    pub(crate) fn say(&self, words: &str) {
        // Who closed standard error does not want to read it.
        let _ = writeln!(std::io::stderr(), "{words}");
    }
}
