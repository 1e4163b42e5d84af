//! What a plugin decides.

use std::time::Duration;

use crate::bindings::hookyard::plugin::types;

/// What becomes of the delivery. `kv` writes and emitted events are committed together with `Ack` or `Skip`, and dropped otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a verdict decides only when the handler returns it"]
pub enum Verdict {
    /// Handled.
    Ack,
    /// Nothing to do, and why. Counted apart from `Ack`, so that useless subscriptions show.
    Skip(String),
    /// Not now.
    Retry {
        /// Not before this long, clamped by the retry policy; without it the host's back-off decides.
        after: Option<Duration>,
        /// Why, for the attempt's record; at most 4 KiB are kept.
        reason: String,
    },
    /// Hopeless, and why: a dead letter at once.
    Reject(String),
}

/// What a handler may return: a [`Verdict`], or a `Result` of what knows one. A text is a reason to `retry`; the errors of this crate say
/// themselves whether they may pass, so that `Result<Verdict, Verdict>` takes each of them with `?`.
pub trait IntoVerdict {
    /// The verdict meant.
    fn into_verdict(self) -> Verdict;
}

impl Verdict {
    /// Handled.
    pub fn ack() -> Self {
        Self::Ack
    }

    /// Nothing to do, and why.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip(reason.into())
    }

    /// Try again when the host's back-off says so.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// Try again, not before `after`.
    pub fn retry_after(after: Duration, reason: impl Into<String>) -> Self {
        Self::Retry { after: Some(after), reason: reason.into() }
    }

    /// Hopeless: running it again would end the same way.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }

    /// Whether the run's effects are committed with it.
    pub fn commits(&self) -> bool {
        matches!(self, Self::Ack | Self::Skip(_))
    }
}

impl IntoVerdict for Verdict {
    fn into_verdict(self) -> Verdict {
        self
    }
}

impl<V: Into<Verdict>, E: Into<Verdict>> IntoVerdict for Result<V, E> {
    fn into_verdict(self) -> Verdict {
        self.map_or_else(Into::into, Into::into)
    }
}

/// A reason to try again.
impl From<String> for Verdict {
    fn from(reason: String) -> Self {
        Self::retry(reason)
    }
}

/// A reason to try again.
impl From<&str> for Verdict {
    fn from(reason: &str) -> Self {
        Self::retry(reason)
    }
}

impl From<Verdict> for types::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ack => Self::Ack,
            Verdict::Skip(reason) => Self::Skip(reason),
            Verdict::Retry { after, reason } => {
                let after_ms = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
                Self::Retry(types::Retry { after_ms, reason })
            }
            Verdict::Reject(reason) => Self::Reject(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_means_retry_and_a_value_means_itself() {
        assert_eq!(Ok::<_, String>(Verdict::ack()).into_verdict(), Verdict::Ack);
        assert_eq!(Err::<Verdict, _>(Verdict::reject("never")).into_verdict(), Verdict::reject("never"));
        assert_eq!(Err::<Verdict, _>("no answer").into_verdict(), Verdict::retry("no answer"));
    }

    #[test]
    fn a_delay_crosses_the_boundary_in_milliseconds_and_saturates() {
        let sent = |after| match types::Verdict::from(Verdict::retry_after(after, "later")) {
            types::Verdict::Retry(retry) => retry.after_ms,
            other => panic!("{other:?}"),
        };
        assert_eq!(sent(Duration::from_secs(3)), Some(3000));
        assert_eq!(sent(Duration::MAX), Some(u64::MAX));
    }
}
