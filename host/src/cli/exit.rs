//! Exit codes, typed: a script tells what happened without reading words. `docs/failures.md` lists them.

use std::{fmt, io, process::ExitCode};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// It was tried and failed.
    Failed,
    /// The arguments make no sense.
    Usage,
    /// The host wants another token.
    NotAuthorised,
    /// There is no such thing.
    NotFound,
    /// Nobody answers there.
    Unreachable,
    /// A plugin trapped.
    Trapped,
    /// A plugin hit one of its limits.
    LimitHit,
    /// The configuration is invalid.
    ConfigInvalid,
}

impl Exit {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NotAuthorised,
        Self::NotFound,
        Self::Unreachable,
        Self::Trapped,
        Self::LimitHit,
        Self::ConfigInvalid,
    ];

    /// The number: those of `sysexits.h` where it has one, those of `gh` otherwise.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotAuthorised => 4,
            Self::NotFound => 5,
            Self::Unreachable => 69,
            Self::Trapped => 70,
            Self::LimitHit => 75,
            Self::ConfigInvalid => 78,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command did not do what it was asked to: words, what to do about it, and the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What was found; empty where everything has been said already.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure in words.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// A failure of which everything has been printed already.
    #[must_use]
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// With something to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    /// A reader who closes the pipe has seen enough: that is no error.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::silent(Exit::Done),
            _ => Self::new(Exit::Failed, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_error_and_any_other_is() {
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)), Failure::silent(Exit::Done));
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit, Exit::Failed);
    }

    #[test]
    fn no_two_endings_share_a_code() {
        let mut codes = Exit::ALL.map(Exit::code).to_vec();
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
    }
}
