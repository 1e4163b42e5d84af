//! Why a request has no answer, and what that says of the other side.

use super::{REQUEST_BYTES_MAX, Response, scrub::Scrubber};

/// Why there is no answer. No text has a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Not granted, and what is missing.
    #[error("{0}")]
    Denied(String),
    /// No answer before the deadline.
    #[error("no answer in time")]
    Timeout,
    /// The request is longer than the cap.
    #[error("the request is longer than {REQUEST_BYTES_MAX} bytes, or its header lines are more than may be sent")]
    TooLarge,
    /// There is no answer that could be passed on.
    #[error("{0}")]
    Unavailable(String),
    /// The same to a guest; and it was the other side: no name, no connection, no TLS, an answer that broke off.
    #[error("{0}")]
    Unreachable(String),
}

/// Whether the other side did what it is there for; none where the answer says nothing about it.
pub(super) fn is_up(answer: &Result<Response, SendError>) -> Option<bool> {
    match answer {
        Ok(answer) => Some(answer.status < 500),
        Err(SendError::Timeout | SendError::Unreachable(_)) => Some(false),
        Err(SendError::Denied(_) | SendError::TooLarge | SendError::Unavailable(_)) => None,
    }
}

/// The same without a secret in its words.
pub(super) fn scrubbed(error: SendError, scrubber: &Scrubber) -> SendError {
    match error {
        SendError::Denied(why) => SendError::Denied(scrubber.text(&why)),
        SendError::Unavailable(why) => SendError::Unavailable(scrubber.text(&why)),
        SendError::Unreachable(why) => SendError::Unreachable(scrubber.text(&why)),
        other @ (SendError::Timeout | SendError::TooLarge) => other,
    }
}
