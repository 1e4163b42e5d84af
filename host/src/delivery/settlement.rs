//! The only thing a broker is told about a run: what becomes of the leg.

use std::time::Duration;

/// Why a leg is a dead letter. Each has a slug and an entry in `docs/failures.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// The plugin rejected it.
    Rejected,
    /// It failed as often as the retry policy allows.
    AttemptsExhausted,
    /// It failed for as long as the retry policy allows.
    TimeExhausted,
    /// A fault that would repeat: the slug of the fault is the reason.
    Fault(super::FaultKind),
}

impl DeadReason {
    /// The reason's one name.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::TimeExhausted => "time_exhausted",
            Self::Fault(kind) => kind.slug(),
        }
    }
}

/// What becomes of a leg after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Handled.
    Ack,
    /// Nothing to do.
    Skip,
    /// Runs again, not before `after`.
    Retry {
        /// The delay from now.
        after: Duration,
        /// Whether this run counts as an attempt; faults of the host do not.
        counted: bool,
    },
    /// A dead letter.
    DeadLetter(DeadReason),
}

impl Settlement {
    /// The settlement's one name.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Skip => "skip",
            Self::Retry { .. } => "retry",
            Self::DeadLetter(_) => "dead_letter",
        }
    }
}
