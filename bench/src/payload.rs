//! What is sent: one document, signed anew for every delivery as a real sender does, each under an id of its own.
//!
//! GitHub's documents differ from call to call and ours repeats; what tells deliveries apart is `X-GitHub-Delivery`. The signature is computed
//! for every request, because leaving it out would give the generator a core that a real sender does not have to spare.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use sha2::Sha256;

/// The secret everything on this machine is signed with.
pub(crate) const SECRET: &str = "a secret that is known to the whole bench";
/// Where deliveries go, on every server.
pub(crate) const PATH: &str = "/webhooks/github";
/// A push of 6.9 kB; see `payloads/README.md`.
const PUSH: &[u8] = include_bytes!("../payloads/push.json");
/// A push as small as one can be and still be one, for filling a queue.
const SMALL: &[u8] = br#"{"ref":"refs/heads/main","repository":{"full_name":"octo/small"},"commits":[]}"#;

/// Signs and verifies with [`SECRET`].
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

/// A series of deliveries that all differ in their id, from everything another series made too.
pub(crate) struct Deliveries {
    path: &'static str,
    event: &'static str,
    document: Bytes,
    key: Key,
    series: u64,
    /// Events they are spread over; pushes where it is none.
    events: Option<u32>,
    next: AtomicU64,
    host: HeaderValue,
}

impl Key {
    /// The key of [`SECRET`].
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Hmac::new_from_slice(SECRET.as_bytes()).context("HMAC takes a key of any length")?))
    }

    /// The value of `X-Hub-Signature-256`: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.
    pub(crate) fn sign(&self, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(body);
        let mut text = String::with_capacity("sha256=".len() + 64);
        text.push_str("sha256=");
        for byte in mac.finalize().into_bytes() {
            for nibble in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(nibble), 16));
            }
        }
        text
    }

    /// Whether a signature is the body's, in constant time.
    pub(crate) fn verifies(&self, body: &[u8], signature: &[u8]) -> bool {
        let mut tag = [0; 32];
        let Some(hex) = signature.strip_prefix(b"sha256=").filter(|hex| hex.len() == 64) else { return false };
        for (byte, pair) in tag.iter_mut().zip(hex.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (Some(high), Some(low)) = (digit(0), digit(1)) else { return false };
            *byte = high << 4 | low;
        }
        let mut mac = self.0.clone();
        mac.update(body);
        mac.verify_slice(&tag).is_ok()
    }
}

impl Deliveries {
    /// Pushes of 6.9 kB. `series` sets them apart from those of another series on the same host.
    pub(crate) fn pushes(series: u64) -> anyhow::Result<Self> {
        Self::of(Bytes::from_static(PUSH), series)
    }

    /// Some other document under an event of the caller's.
    pub(crate) fn other(document: Bytes, event: &'static str, series: u64) -> anyhow::Result<Self> {
        Ok(Self { event, ..Self::of(document, series)? })
    }

    /// Pushes of less than 100 bytes.
    pub(crate) fn small(series: u64) -> anyhow::Result<Self> {
        Self::of(Bytes::from_static(SMALL), series)
    }

    /// Pushes of 6.9 kB under so many different event names in turn.
    pub(crate) fn spread(series: u64, events: u32) -> anyhow::Result<Self> {
        Ok(Self { events: Some(events.max(1)), ..Self::of(Bytes::from_static(PUSH), series)? })
    }

    /// The same to another path.
    pub(crate) fn to(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    /// The name of one of them.
    pub(crate) fn event(number: u32) -> String {
        format!("push_{number}")
    }

    fn of(document: Bytes, series: u64) -> anyhow::Result<Self> {
        let host = HeaderValue::from_static("127.0.0.1");
        Ok(Self { path: PATH, event: "push", document, key: Key::new()?, series, events: None, next: AtomicU64::new(0), host })
    }

    /// The next delivery, signed.
    pub(crate) fn next(&self) -> anyhow::Result<Request<Full<Bytes>>> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}-{:04x}-4000-8000-{n:012x}", self.series >> 16 & 0xffff_ffff, self.series & 0xffff);
        let event =
            self.events.map_or_else(|| self.event.to_owned(), |events| Self::event(u32::try_from(n % u64::from(events)).unwrap_or(0)));
        Request::post(self.path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "GitHub-Hookshot/bench")
            .header("x-github-event", event)
            .header("x-github-delivery", id)
            .header("x-github-hook-id", "1")
            .header("x-hub-signature-256", self.key.sign(&self.document))
            .body(Full::new(self.document.clone()))
            .context("the request is well formed")
    }
}

/// The push document itself.
pub(crate) fn push_document() -> Bytes {
    Bytes::from_static(PUSH)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn signs_like_github_does() {
        let signature = Key::new().unwrap().sign(b"Hello, World!");
        // printf 'Hello, World!' | openssl dgst -sha256 -hmac 'a secret that is known to the whole bench'
        assert_eq!(signature, "sha256=ae34b40a6a51aeab3529b41d249b9006ed1f611c4414a8de9559f8d239bb616c");
    }

    #[test]
    fn verifies_its_own_signature_and_no_other() {
        let key = Key::new().unwrap();
        let signature = key.sign(PUSH);
        assert!(key.verifies(PUSH, signature.as_bytes()));
        assert!(!key.verifies(SMALL, signature.as_bytes()));
        assert!(!key.verifies(PUSH, &signature.as_bytes()[..70]));
        assert!(!key.verifies(PUSH, b"sha256=zz"));
        assert!(!key.verifies(PUSH, b""));
    }

    #[test]
    fn no_two_deliveries_share_an_id_not_even_across_series() {
        let series = [Deliveries::pushes(0xffff).unwrap(), Deliveries::pushes(0x1_0000).unwrap(), Deliveries::small(0x1_0001).unwrap()];
        let ids: HashSet<_> = series
            .iter()
            .flat_map(|series| (0..100).map(|_| series.next().unwrap().headers()["x-github-delivery"].to_str().unwrap().to_owned()))
            .collect();
        assert_eq!(ids.len(), 300);
        assert!(ids.iter().all(|id| id.len() == 36));
    }

    #[test]
    fn the_documents_are_json() {
        for document in [PUSH, SMALL] {
            assert!(serde_json::from_slice::<serde_json::Value>(document).unwrap()["repository"]["full_name"].is_string());
        }
    }
}
