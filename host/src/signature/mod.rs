//! Proof of the sender: verification schemes over raw bytes, in constant time, with any of several active secrets.
//!
//! The algorithm is fixed by the scheme, never taken from a header. Nothing here parses a body.

mod github;
mod secret;

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
