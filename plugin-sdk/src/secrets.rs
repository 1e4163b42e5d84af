//! Operations with secrets that stay in the host: HMAC-SHA256 under a credential of kind `hmac`, by name. Needs a grant for the purpose.

use std::fmt;

use crate::{Verdict, bindings::hookyard::plugin::secrets::Error as Refusal, host};

/// The operation was not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError {
    name: String,
    why: String,
}

/// HMAC-SHA256 of `data` under the named secret: 32 bytes. Needs the purpose `sign`.
pub fn hmac_sha256(name: &str, data: &[u8]) -> Result<Vec<u8>, SecretError> {
    host::secrets::hmac_sha256(name, data).map_err(|refusal| SecretError::new(name, refusal))
}

/// Whether `tag` is the HMAC-SHA256 of `data` under the named secret, compared in constant time. Needs the purpose `verify`.
pub fn verify_hmac_sha256(name: &str, data: &[u8], tag: &[u8]) -> Result<bool, SecretError> {
    host::secrets::verify_hmac_sha256(name, data, tag).map_err(|refusal| SecretError::new(name, refusal))
}

impl SecretError {
    fn new(name: &str, refusal: Refusal) -> Self {
        let Refusal::Denied(why) = refusal;
        Self { name: name.chars().take(80).collect(), why }
    }
}

/// A missing grant would be missing again.
impl From<SecretError> for Verdict {
    fn from(error: SecretError) -> Self {
        Self::reject(error.to_string())
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret `{}`: {}", self.name, self.why)
    }
}

impl std::error::Error for SecretError {}
