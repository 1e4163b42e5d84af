//! When a plugin's legs run again, as people and scripts are shown it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::delivery::{RetryPolicy, Timestamp};

/// A server that a plugin calls and that is away, or has come back just now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CircuitView {
    /// Host and port, or the credential that is its URL.
    pub destination: String,
    /// `open` (the queue is held), `half_open` (one leg at a time tries) or `recovering` (a few at a time, soon all).
    pub state: String,
    /// Until when the queue is held.
    pub until: Option<Timestamp>,
}

/// When the legs of a plugin run again after a failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetryView {
    /// How long after its first attempt a leg is retried; none where only attempts count.
    pub for_ms: Option<u64>,
    /// Attempts, at most.
    pub attempts_max: u32,
    /// The shortest gap.
    pub delay_min_ms: u64,
    /// The longest gap.
    pub delay_max_ms: u64,
    /// The schedule in words.
    pub schedule: String,
}

impl From<&RetryPolicy> for RetryView {
    fn from(policy: &RetryPolicy) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            for_ms: policy.time().map(ms),
            attempts_max: policy.attempts_max(),
            delay_min_ms: ms(policy.delay_min()),
            delay_max_ms: ms(policy.delay_max()),
            schedule: policy.in_words(),
        }
    }
}
