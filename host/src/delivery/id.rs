//! Names and ids, parsed once; a value of these types is always well formed.

use std::{fmt, str::FromStr, sync::Arc};

use sha2::{Digest as _, Sha256};

/// A name or id that is not well formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {expected}")]
pub struct ParseIdError {
    found: String,
    expected: &'static str,
}

impl ParseIdError {
    fn new(found: &str, expected: &'static str) -> Self {
        Self { found: found.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect(), expected }
    }
}

fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && matches!(bytes[0], b'a'..=b'z' | b'0'..=b'9')
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

macro_rules! slug {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text: `[a-z0-9][a-z0-9_-]{0,62}`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if is_slug(text) { Ok(Self(text.into())) } else { Err(ParseIdError::new(text, $expected)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

slug!(
    /// A tenant: a team whose sources, plugins, quotas and data are apart from every other's.
    TenantId,
    "a tenant name ([a-z0-9][a-z0-9_-]{0,62})"
);
slug!(
    /// One of a tenant's senders, as it stands in the path `/webhooks/{source}`.
    SourceId,
    "a source name ([a-z0-9][a-z0-9_-]{0,62})"
);
slug!(
    /// A plugin of a tenant: the file stem of `NAME.wasm` and `NAME.toml`.
    PluginName,
    "a plugin name ([a-z0-9][a-z0-9_-]{0,62})"
);

slug!(
    /// A stream: one way in which what is accepted or emitted is followed by another system.
    StreamName,
    "a stream name ([a-z0-9][a-z0-9_-]{0,62})"
);

impl TenantId {
    /// The tenant behind `/webhooks/{source}`.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = text.as_bytes();
    if bytes.len() != 2 * N || !bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut out = [0; N];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

/// What makes two calls the same delivery. The provider's id alone is not enough: GitHub gives two hooks of one event the same id
/// (github/docs#32822), and signs neither it nor the hook id, so the body's hash is part of the key.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryKey<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// From which source.
    pub source: &'a SourceId,
    /// `X-GitHub-Hook-ID`, empty where absent.
    pub hook_id: &'a str,
    /// `X-GitHub-Delivery`.
    pub provider_id: &'a str,
    /// SHA-256 of the raw body.
    pub body_sha256: &'a [u8; 32],
}

/// A delivery's id: the first 16 bytes of the SHA-256 of its [`DeliveryKey`], written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId([u8; 16]);

impl DeliveryId {
    /// The id of the delivery with this key. Fields are length-prefixed, so no two keys run together.
    #[must_use]
    pub fn derive(key: &DeliveryKey<'_>) -> Self {
        let mut hash = Sha256::new();
        for field in [key.tenant.as_str(), key.source.as_str(), key.hook_id, key.provider_id] {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field.as_bytes());
        }
        hash.update(key.body_sha256);
        let full: [u8; 32] = hash.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&full[..16]);
        Self(id)
    }

    /// The id as stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// An id from its stored form.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for DeliveryId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        read_hex(text).map(Self).ok_or_else(|| ParseIdError::new(text, "a delivery id (32 lower-case hexadecimal digits)"))
    }
}

/// One (delivery, plugin), written `<delivery_id>.<plugin>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The plugin that is to handle it.
    pub plugin: PluginName,
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.delivery, self.plugin)
    }
}

impl FromStr for LegId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = || ParseIdError::new(text, "a leg id (<delivery_id>.<plugin>)");
        let (delivery, plugin) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self { delivery: delivery.parse().map_err(|_| wrong())?, plugin: plugin.parse().map_err(|_| wrong())? })
    }
}

/// The first digits of a delivery's id, at least four: what people copy from a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPrefix {
    lowest: DeliveryId,
    highest: DeliveryId,
}

impl IdPrefix {
    /// Fewest digits: fewer would fit one delivery in a hundred.
    const DIGITS_MIN: usize = 4;
    const DIGITS: usize = 32;

    /// The first and the last id that begin so.
    #[must_use]
    pub fn range(&self) -> (DeliveryId, DeliveryId) {
        (self.lowest, self.highest)
    }
}

impl FromStr for IdPrefix {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = || ParseIdError::new(text, "an id or the beginning of one (4 to 32 hexadecimal digits)");
        if !(Self::DIGITS_MIN..=Self::DIGITS).contains(&text.len()) {
            return Err(wrong());
        }
        let filled = |digit: &str| format!("{text}{}", digit.repeat(Self::DIGITS - text.len())).parse().map_err(|_| wrong());
        Ok(Self { lowest: filled("0")?, highest: filled("f")? })
    }
}

/// SHA-256 of a plugin version (component bytes and manifest bytes), written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `parts`, each length-prefixed.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The hash of a file, as `sha256sum` prints it.
    #[must_use]
    pub fn of_file(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }

    /// The digest as stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest from its stored form.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Digest {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        read_hex(text).map(Self).ok_or_else(|| ParseIdError::new(text, "a digest (64 lower-case hexadecimal digits)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(provider_id: &str, hook_id: &str) -> DeliveryId {
        let tenant = TenantId::default_tenant();
        let source = "github".parse().unwrap();
        DeliveryId::derive(&DeliveryKey { tenant: &tenant, source: &source, hook_id, provider_id, body_sha256: &[7; 32] })
    }

    #[test]
    fn a_slug_is_short_lower_case_and_has_no_dots_or_slashes() {
        for good in ["a", "0", "push-deploy", "a_b", &"x".repeat(63)] {
            assert!(good.parse::<PluginName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a/b", "..", "ä", "a b", "a\n", &"x".repeat(64)] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_call_has_the_same_id_and_fields_do_not_run_together() {
        assert_eq!(id("guid", "1"), id("guid", "1"));
        assert_ne!(id("guid", "1"), id("guid", "2"));
        assert_ne!(id("a", "bc"), id("ab", "c"));
    }

    #[test]
    fn the_first_digits_of_an_id_stand_for_all_that_begin_so() {
        let range = |text: &str| text.parse::<IdPrefix>().map(|prefix| prefix.range());
        for digits in [4, 5, 12, 31, 32] {
            let whole = id("g", "h");
            let (lowest, highest) = range(&whole.to_string()[..digits]).unwrap();
            assert!(lowest <= whole && whole <= highest, "{digits}");
            assert_eq!(lowest == highest, digits == 32);
        }
        for bad in ["", "abc", "ABCD", "wxyz", "ab-cd", &"a".repeat(33)] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_read_back_as_written() {
        let leg = LegId { delivery: id("g", "h"), plugin: "pr-size".parse().unwrap() };
        assert_eq!(leg.to_string().parse::<LegId>().unwrap(), leg);
        let digest = Digest::of(&[b"a", b"b"]);
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_ne!(Digest::of(&[b"ab", b""]), Digest::of(&[b"a", b"b"]));
        assert!("12".parse::<DeliveryId>().is_err());
        assert!("nodot".parse::<LegId>().is_err());
    }
}
