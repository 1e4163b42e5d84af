//! The seal of a message: an HMAC over everything a host believes of it, under a key that the hosts share.
//!
//! RabbitMQ lets whoever may write to an exchange write anything, and its operator change what lies in a queue. So a message is believed only as
//! far as a host has sealed it: message id, every header of ours, the body, and the prefix of the names. The seal is `1.KEY.MAC`: the number of
//! this scheme, eight digits that tell which key, 64 that prove it. The first key seals and all verify, so that keys change without a pause: add
//! the new one behind on every host, then put it first on every host, then take the old one out when no message under it is left.

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{headers::Headers, names::Names, publisher::HeaderValue, rejection::Rejection};
use crate::signature::{Secret, hmac_sha256, is_hmac_sha256};

/// The scheme, which is also what keeps these HMACs apart from every other use of a key.
const SCHEME: &str = "1";
/// What a key's own number is made from.
const NAMING: &[u8] = b"hookyard broker key id";
/// Digits of a key's number.
const KEY_ID_DIGITS: usize = 8;

/// The keys of the hosts on one broker. `Debug` shows their numbers and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys(Arc<[Key]>);

/// A key, and the number it is known by.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    id: String,
    secret: Secret,
}

impl Keys {
    /// Bytes of a key, at least: as many as the HMAC has.
    pub const BYTES_MIN: usize = 32;
    /// Keys at once, at most.
    pub const COUNT_MAX: usize = 8;

    /// Keys, of which the first seals.
    ///
    /// # Errors
    /// There is none, there are too many, or one is too short; in words.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, String> {
        if secrets.is_empty() || secrets.len() > Self::COUNT_MAX {
            return Err(format!("{} keys where 1 to {} are expected", secrets.len(), Self::COUNT_MAX));
        }
        if let Some(short) = secrets.iter().position(|secret| secret.expose().len() < Self::BYTES_MIN) {
            return Err(format!("key {} is shorter than {} bytes", short + 1, Self::BYTES_MIN));
        }
        let key = |secret: Secret| Key { id: hex(&hmac_sha256(&secret, NAMING)[..KEY_ID_DIGITS / 2]), secret };
        Ok(Self(secrets.into_iter().map(key).collect()))
    }

    /// The seal of what is covered.
    pub(super) fn seal(&self, covered: &Covered) -> String {
        // There is a first one: `new` refuses none.
        let sealed = |key: &Key| format!("{SCHEME}.{}.{}", key.id, hex(&hmac_sha256(&key.secret, &covered.0)));
        self.0.first().map(sealed).unwrap_or_default()
    }

    /// Whether a seal is one of ours over exactly this.
    pub(super) fn verify(&self, seal: &str, covered: &Covered) -> Result<(), Rejection> {
        let malformed = Rejection::Malformed("its seal has another form");
        let mut parts = seal.split('.');
        let (Some(SCHEME), Some(id), Some(mac), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(malformed);
        };
        let (Some(_), Some(mac)) = (bytes::<{ KEY_ID_DIGITS / 2 }>(id), bytes::<32>(mac)) else { return Err(malformed) };
        let mut named = self.0.iter().filter(|key| key.id == id).peekable();
        if named.peek().is_none() {
            return Err(Rejection::UnknownKey(id.to_owned()));
        }
        if named.any(|key| is_hmac_sha256(&key.secret, &covered.0, &mac)) { Ok(()) } else { Err(Rejection::SealBroken) }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

/// What a seal is made over, in one form that no two messages share: every part with its length before it.
pub(super) struct Covered(Vec<u8>);

impl Covered {
    pub(super) fn new(names: &Names, message_id: &str, headers: &Headers, body: &[u8]) -> Self {
        let mut covered = Self(Vec::with_capacity(1024));
        covered.part(b"hookyard broker seal");
        covered.part(SCHEME.as_bytes());
        covered.part(names.to_string().as_bytes());
        covered.part(message_id.as_bytes());
        covered.number(headers.iter().count() as u64);
        for (name, value) in headers.iter() {
            covered.part(name.as_bytes());
            match value {
                HeaderValue::Text(text) => {
                    covered.part(b"text");
                    covered.part(text.as_bytes());
                }
                HeaderValue::Number(number) => {
                    covered.part(b"number");
                    covered.number(number.cast_unsigned());
                }
            }
        }
        covered.number(body.len() as u64);
        covered.part(&Sha256::digest(body));
        covered
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn part(&mut self, part: &[u8]) {
        self.number(part.len() as u64);
        self.0.extend_from_slice(part);
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that so many lower-case hexadecimal digits stand for.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let mut bytes = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> Keys {
        Keys::new(texts.iter().map(|text| Secret::new(text.repeat(8)).unwrap()).collect()).unwrap()
    }

    fn covered(body: &[u8]) -> Covered {
        Covered::new(&Names::new("hookyard").unwrap(), "id", &Headers::default(), body)
    }

    #[test]
    fn the_first_key_seals_all_verify_and_a_key_that_was_taken_out_does_not() {
        let (old, both, new) = (keys(&["old!"]), keys(&["new!", "old!"]), keys(&["new!"]));
        let (by_old, by_new) = (old.seal(&covered(b"x")), both.seal(&covered(b"x")));
        assert_eq!(by_new, new.seal(&covered(b"x")));
        assert!(both.verify(&by_old, &covered(b"x")).is_ok() && both.verify(&by_new, &covered(b"x")).is_ok());
        assert!(matches!(new.verify(&by_old, &covered(b"x")), Err(Rejection::UnknownKey(_))));
        assert_eq!(both.verify(&by_old, &covered(b"y")), Err(Rejection::SealBroken));
    }

    #[test]
    fn what_is_not_quite_a_seal_is_none() {
        let keys = keys(&["key!"]);
        let seal = keys.seal(&covered(b"x"));
        for bad in [
            String::new(),
            seal.replacen('1', "2", 1),
            seal.to_uppercase(),
            format!("{seal}0"),
            format!("{seal}."),
            seal[..seal.len() - 1].to_owned(),
            seal.replace('.', ":"),
            format!(" {seal}"),
        ] {
            assert!(keys.verify(&bad, &covered(b"x")).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_key_a_short_key_and_a_key_that_shows_itself_are_refused() {
        assert!(Keys::new(vec![]).is_err());
        assert!(Keys::new(vec![Secret::new("x".repeat(31)).unwrap()]).unwrap_err().contains("shorter than 32"));
        assert!(Keys::new(vec![Secret::new("x".repeat(32)).unwrap(); 9]).is_err());
        assert!(!format!("{:?}", keys(&["hunter22"])).contains("hunter"));
    }
}
