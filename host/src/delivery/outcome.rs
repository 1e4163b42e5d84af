//! How one run ended: the plugin's word ([`Verdict`]) or what befell it ([`Fault`]). One way back for all endings.

use std::{fmt, time::Duration};

/// What the plugin decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Handled; buffered effects are committed with the settlement.
    Ack,
    /// Nothing to do, and why.
    Skip(String),
    /// Not now: try again, not before `after` where given (clamped by the retry policy).
    Retry {
        /// The delay the plugin asks for.
        after: Option<Duration>,
        /// Why, for the attempt's record.
        reason: String,
    },
    /// Hopeless: dead-letter at once, and why.
    Reject(String),
}

impl Verdict {
    /// The verdict's one name.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Skip(_) => "skip",
            Self::Retry { .. } => "retry",
            Self::Reject(_) => "reject",
        }
    }
}

/// The kinds of fault. Each has a slug and an entry in `docs/failures.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest trapped: a panic, an out-of-bounds access, a stack overflow, an exit.
    Trapped,
    /// The run used all its fuel.
    OutOfFuel,
    /// The run asked for more memory than its budget.
    OutOfMemory,
    /// The run passed its wall-clock limit.
    DeadlineExceeded,
    /// The guest moved more bytes, calls or log lines across the boundary than allowed, or broke the ABI.
    AbiLimit,
    /// The guest used what it was not granted.
    Denied,
    /// No plugin of that name is loaded, for longer than a parked leg may wait.
    NoPlugin,
    /// The stored body does not match its checksum.
    BodyCorrupt,
    /// The host process died while this run, and only this run, was under way.
    HostCrashed,
    /// The host had no room to run it (pool exhausted, draining). Not the plugin's fault; not counted.
    HostUnavailable,
    /// A value the run read was changed by another run before it committed. Not counted; it runs again.
    VersionConflict,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Trapped,
        Self::OutOfFuel,
        Self::OutOfMemory,
        Self::DeadlineExceeded,
        Self::AbiLimit,
        Self::Denied,
        Self::NoPlugin,
        Self::BodyCorrupt,
        Self::HostCrashed,
        Self::HostUnavailable,
        Self::VersionConflict,
    ];

    /// The fault's one name.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Trapped => "trapped",
            Self::OutOfFuel => "out_of_fuel",
            Self::OutOfMemory => "out_of_memory",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::AbiLimit => "abi_limit",
            Self::Denied => "denied",
            Self::NoPlugin => "no_plugin",
            Self::BodyCorrupt => "body_corrupt",
            Self::HostCrashed => "host_crashed",
            Self::HostUnavailable => "host_unavailable",
            Self::VersionConflict => "version_conflict",
        }
    }

    /// Whether running the same thing again would end the same way, so that retries are waste.
    #[must_use]
    pub fn is_hopeless(self) -> bool {
        matches!(self, Self::OutOfFuel | Self::OutOfMemory | Self::AbiLimit | Self::Denied | Self::NoPlugin | Self::BodyCorrupt)
    }

    /// Whether the fault is the host's: such a run does not count as an attempt.
    #[must_use]
    pub fn is_hosts(self) -> bool {
        matches!(self, Self::HostUnavailable | Self::VersionConflict)
    }
}

/// What befell a run, in words for the plugin's author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which kind.
    pub kind: FaultKind,
    /// What was found and what to do about it, at most 4 KiB.
    pub detail: String,
}

impl Fault {
    /// A fault with its explanation, cut to 4 KiB.
    #[must_use]
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        if detail.len() > 4096 {
            let end = (0..=4096).rev().find(|&i| detail.is_char_boundary(i)).unwrap_or(0);
            detail.truncate(end);
        }
        Self { kind, detail }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.slug(), self.detail)
    }
}

/// How one run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The plugin's word.
    Verdict(Verdict),
    /// What befell it.
    Fault(Fault),
}

impl Outcome {
    /// The outcome's one name: the verdict's or the fault's slug.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        match self {
            Self::Verdict(verdict) => verdict.slug(),
            Self::Fault(fault) => fault.kind.slug(),
        }
    }

    /// The reason in words, empty for an ack.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Verdict(Verdict::Ack) => "",
            Self::Verdict(Verdict::Skip(reason) | Verdict::Reject(reason) | Verdict::Retry { reason, .. }) => reason,
            Self::Fault(fault) => &fault.detail,
        }
    }
}
