//! GitHub's scheme: HMAC-SHA256 over the raw body, `sha256=` and 64 hexadecimal digits in `X-Hub-Signature-256`.
//!
//! The older `X-Hub-Signature` (SHA-1) is never looked at. GitHub signs neither its headers nor a time, which is why the body's hash is part
//! of a delivery's id.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{MalformedSignature, Secret, hmac_sha256, keyed};

/// A well-formed signature header.
#[derive(Clone, Copy, Debug)]
pub struct SignatureHeader([u8; 32]);

/// Checks a signature over a body that comes in pieces.
#[derive(Debug)]
pub struct Verifier {
    signature: SignatureHeader,
    hashes: Vec<Hmac<Sha256>>,
}

impl SignatureHeader {
    /// Reads `sha256=` and 64 hexadecimal digits of either case; nothing around them is forgiven.
    pub fn parse(value: &[u8]) -> Result<Self, MalformedSignature> {
        let digits = value.strip_prefix(b"sha256=").ok_or(MalformedSignature)?;
        if digits.len() != 64 {
            return Err(MalformedSignature);
        }
        let mut tag = [0; 32];
        for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(tag))
    }

    /// Which of `secrets` gives this signature over `body`, as an index.
    #[must_use]
    pub fn verify(&self, secrets: &[Secret], body: &[u8]) -> Option<usize> {
        let mut verifier = self.verifier(secrets);
        verifier.update(body);
        verifier.matching()
    }

    /// The same over a body that comes in pieces.
    #[must_use]
    pub fn verifier(self, secrets: &[Secret]) -> Verifier {
        Verifier { signature: self, hashes: secrets.iter().map(keyed).collect() }
    }
}

impl Verifier {
    /// Takes the next piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        for hash in &mut self.hashes {
            hash.update(piece);
        }
    }

    /// Which secret gives the signature over all pieces, as an index. Every secret is tried, so the time taken does not tell which.
    #[must_use]
    pub fn matching(self) -> Option<usize> {
        let mut matching = None;
        for (index, hash) in self.hashes.into_iter().enumerate() {
            let equal: bool = hash.finalize().into_bytes().ct_eq(&self.signature.0).into();
            if equal && matching.is_none() {
                matching = Some(index);
            }
        }
        matching
    }
}

/// The header value a sender would put on `body`.
#[must_use]
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    use std::fmt::Write as _;
    hmac_sha256(secret, body).iter().fold(String::from("sha256="), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn nibble(digit: u8) -> Result<u8, MalformedSignature> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(MalformedSignature),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    #[test]
    fn the_vector_github_publishes_holds() {
        let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let secret = secret("It's a Secret to Everybody");
        assert_eq!(sign(&secret, b"Hello, World!"), header);
        let parsed = SignatureHeader::parse(header.as_bytes()).unwrap();
        assert_eq!(parsed.verify(std::slice::from_ref(&secret), b"Hello, World!"), Some(0));
        assert_eq!(parsed.verify(std::slice::from_ref(&secret), b"Hello, World?"), None);
        let mut in_pieces = parsed.verifier(&[secret]);
        for piece in [&b"Hello, "[..], b"", b"World!"] {
            in_pieces.update(piece);
        }
        assert_eq!(in_pieces.matching(), Some(0));
    }

    #[test]
    fn any_of_several_active_secrets_will_do_and_no_secret_never_does() {
        let header = SignatureHeader::parse(sign(&secret("next"), b"body").as_bytes()).unwrap();
        assert_eq!(header.verify(&[secret("now"), secret("next")], b"body"), Some(1));
        assert_eq!(header.verify(&[secret("now")], b"body"), None);
        assert_eq!(header.verify(&[], b"body"), None);
        assert!(Secret::new("").is_none());
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", secret("hunter2")), "Secret(…)");
    }

    #[test]
    fn what_is_not_quite_a_signature_is_malformed() {
        let digits = "7".repeat(64);
        for bad in [
            String::new(),
            digits.clone(),
            format!("sha1={digits}"),
            format!("sha256={}", &digits[1..]),
            format!("sha256={digits}7"),
            format!(" sha256={digits}"),
            format!("sha256={digits} "),
            format!("SHA256={digits}"),
            format!("sha256={}g", &digits[1..]),
        ] {
            assert_eq!(SignatureHeader::parse(bad.as_bytes()).err(), Some(MalformedSignature), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies_and_a_changed_byte_does_not(key in "[ -~]{1,80}", body in prop::collection::vec(any::<u8>(), 1..300), at: prop::sample::Index) {
            let key = secret(&key);
            let header = SignatureHeader::parse(sign(&key, &body).as_bytes()).unwrap();
            prop_assert_eq!(header.verify(std::slice::from_ref(&key), &body), Some(0));
            let mut changed = body.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1;
            prop_assert_eq!(header.verify(&[key], &changed), None);
        }

        #[test]
        fn no_header_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = SignatureHeader::parse(&bytes);
        }
    }
}
