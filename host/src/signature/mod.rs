//! Proof of the sender: verification schemes over raw bytes, in constant time, with any of several active secrets.
//!
//! The algorithm is fixed by the scheme, never taken from a header. Nothing here parses a body.

mod github;
mod secret;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

pub use github::{SignatureHeader, sign};
pub use secret::Secret;

/// How a source signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `X-Hub-Signature-256: sha256=<hex>`: HMAC-SHA256 over the raw body
    /// (<https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>).
    Github,
}

/// The header is there, but it is not a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature header is not `sha256=` and 64 hexadecimal digits")]
pub struct MalformedSignature;

/// HMAC-SHA256 (RFC 2104).
#[must_use]
pub fn hmac_sha256(key: &Secret, data: &[u8]) -> [u8; 32] {
    keyed(key).chain_update(data).finalize().into_bytes().into()
}

/// A hash that has taken the key and nothing else yet.
fn keyed(key: &Secret) -> Hmac<Sha256> {
    // HMAC takes keys of every length: the error type exists for algorithms that do not.
    match Hmac::<Sha256>::new_from_slice(key.expose()) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes a key of any length"),
    }
}

/// Whether `tag` is the HMAC-SHA256 of `data`, compared in constant time.
#[must_use]
pub fn is_hmac_sha256(key: &Secret, data: &[u8], tag: &[u8]) -> bool {
    hmac_sha256(key, data).ct_eq(tag).into()
}
