//! Events out of the plugin, for other systems: collected, and published only once the verdict is committed. At least once, each with an id
//! that is the same when it repeats.

use std::fmt;

use serde::Serialize;

use crate::{Verdict, bindings::hookyard::plugin::emit::Error as Refusal, host};

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmitError {
    name: String,
    why: String,
}

/// Emits bytes. The routing key will be `emit.<tenant>.<plugin>.<name>`; a name is `[a-z0-9][a-z0-9._-]{0,62}`, a body has at most 256 KiB,
/// a run at most 64 events and 1 MiB of them.
pub fn bytes(name: &str, content_type: &str, body: &[u8]) -> Result<(), EmitError> {
    host::emit::publish(name, content_type, body).map_err(|refusal| EmitError::new(name, explain(refusal)))
}

/// Emits a value as JSON.
pub fn json<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<(), EmitError> {
    let body = serde_json::to_vec(value).map_err(|error| EmitError::new(name, &error.to_string()))?;
    bytes(name, "application/json", &body)
}

impl EmitError {
    fn new(name: &str, why: &str) -> Self {
        Self { name: name.chars().take(80).collect(), why: why.to_owned() }
    }
}

fn explain(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::InvalidName => "the name is not [a-z0-9][a-z0-9._-]{0,62}",
        Refusal::TooLarge => "the body is longer than 256 KiB",
        Refusal::Quota => "more than 64 events, or 1 MiB of them, in one run",
    }
}

/// What was not taken would not be taken again.
impl From<EmitError> for Verdict {
    fn from(error: EmitError) -> Self {
        Self::reject(error.to_string())
    }
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event `{}`: {}", self.name, self.why)
    }
}

impl std::error::Error for EmitError {}
