//! A small key-value store, apart for each tenant and plugin. Reads see the run's own writes; writes are committed with the settlement.

use std::{fmt, time::Duration};

use crate::{Verdict, bindings::hookyard::plugin::kv::Error as Refusal, host};

/// Why a call failed, and of which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvError {
    key: String,
    refusal: Refusal,
}

/// The value of a key (at most 512 bytes), if it is set and has not expired.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, KvError> {
    host::kv::get(key).map_err(|refusal| KvError::new(key, refusal))
}

/// Sets a key for ever. A value has at most 64 KiB.
pub fn set(key: &str, value: &[u8]) -> Result<(), KvError> {
    host::kv::set(key, value, None).map_err(|refusal| KvError::new(key, refusal))
}

/// Sets a key that ceases to be after `ttl`.
pub fn set_for(key: &str, value: &[u8], ttl: Duration) -> Result<(), KvError> {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    host::kv::set(key, value, Some(ttl_ms)).map_err(|refusal| KvError::new(key, refusal))
}

/// Removes a key.
pub fn delete(key: &str) -> Result<(), KvError> {
    host::kv::delete(key).map_err(|refusal| KvError::new(key, refusal))
}

impl KvError {
    fn new(key: &str, refusal: Refusal) -> Self {
        Self { key: key.chars().take(80).collect(), refusal }
    }
}

/// A key or value that is too long would be too long again; the rest may pass.
impl From<KvError> for Verdict {
    fn from(error: KvError) -> Self {
        match error.refusal {
            Refusal::TooLarge => Self::reject(error.to_string()),
            Refusal::Quota | Refusal::Unavailable => Self::retry(error.to_string()),
        }
    }
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.refusal {
            Refusal::TooLarge => "the key is longer than 512 bytes or the value longer than 64 KiB",
            Refusal::Quota => "the plugin's quota is used up",
            Refusal::Unavailable => "the store does not answer",
        };
        write!(f, "kv `{}`: {why}", self.key)
    }
}

impl std::error::Error for KvError {}
