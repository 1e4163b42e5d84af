//! Which runs of one plugin must not overlap: `serialize_by` in the manifest.
//!
//! "Look before you create" is not enough where two deliveries about one thing run at the same moment: both look, both find nothing. A plugin
//! names what such deliveries have in common, and runs that have it in common take turns. Pure: the workers keep the turns.

use std::fmt;

use serde::{
    Deserialize as _, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::delivery::{Delivery, Digest};

/// Longest pointer.
const POINTER_BYTES_MAX: usize = 256;
/// Deepest pointer: each level is one more look at the value it is in.
const POINTER_DEPTH_MAX: usize = 8;

/// What runs have in common that take turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SerializeBy {
    /// The repository.
    Repository,
    /// The value at a JSON pointer (RFC 6901) through the document's objects.
    Pointer(Vec<String>),
}

impl std::str::FromStr for SerializeBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "repository" {
            return Ok(Self::Repository);
        }
        let parts = text.strip_prefix('/').map(|rest| rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")));
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !(1..=POINTER_DEPTH_MAX).contains(&parts.len()) || text.len() > POINTER_BYTES_MAX {
            let found: String = text.chars().take(64).collect();
            return Err(format!(
                "serialize_by: found `{}`; expected `repository` or a JSON pointer such as `/check_run/head_sha`, at most {POINTER_DEPTH_MAX} levels deep",
                found.escape_debug()
            ));
        }
        Ok(Self::Pointer(parts))
    }
}

impl SerializeBy {
    /// How much must be read for [`SerializeBy::key`].
    #[must_use]
    pub fn bytes_to_read(&self, delivery: &Delivery) -> usize {
        match self {
            Self::Repository => 0,
            Self::Pointer(_) => delivery.document.len(),
        }
    }

    /// What the runs on this delivery take turns by. Deliveries that have nothing there have that in common.
    #[must_use]
    pub fn key(&self, delivery: &Delivery) -> Digest {
        let value = match self {
            Self::Repository => delivery.repository.as_deref().map(str::as_bytes),
            Self::Pointer(parts) => at(&delivery.document, parts),
        };
        Digest::of(&[value.unwrap_or_default()])
    }
}

/// Goes down one level a part, and gives the value at the end as it is written. In one pass, with nothing kept of what lies beside: what the
/// sender chose, its size and its number of keys, costs time once and no memory.
struct Descent<'p>(&'p [String]);

/// Whether a key is this one.
struct IsKey<'p>(&'p str);

fn at<'a>(document: &'a [u8], parts: &[String]) -> Option<&'a [u8]> {
    let mut reader = serde_json::Deserializer::from_str(std::str::from_utf8(document).ok()?);
    Some(Descent(parts).deserialize(&mut reader).ok()??.get().as_bytes())
}

impl<'de> DeserializeSeed<'de> for Descent<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() { <&RawValue>::deserialize(value).map(Some) } else { value.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for Descent<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    /// Where a key stands twice the last one counts, as for the guest.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((first, rest)) = self.0.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(is_key) = map.next_key_seed(IsKey(first))? {
            if is_key {
                found = map.next_value_seed(Descent(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<bool, D::Error> {
        // As bytes: a key with a lone surrogate is odd, but it passes at the door.
        key.deserialize_bytes(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_finds_what_it_names_and_nothing_where_there_is_none() {
        let document = br#"{"check_run":{"head_sha":"c5b97d5","a/b":{"~":1}},"n":[1]}"#;
        let found = |pointer: &str| match pointer.parse().unwrap() {
            SerializeBy::Pointer(parts) => at(document, &parts).map(|value| String::from_utf8_lossy(value).into_owned()),
            SerializeBy::Repository => None,
        };
        assert_eq!(found("/check_run/head_sha").as_deref(), Some("\"c5b97d5\""));
        assert_eq!(found("/check_run/a~1b/~0").as_deref(), Some("1"));
        assert_eq!(found("/n").as_deref(), Some("[1]"));
        for nothing in ["/missing", "/n/0", "/check_run/head_sha/x"] {
            assert_eq!(found(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_last_of_a_repeated_key_counts_and_odd_values_beside_are_passed_over() {
        let found = |document: &str, parts: &[&str]| {
            let parts: Vec<_> = parts.iter().map(|part| (*part).to_owned()).collect();
            at(document.as_bytes(), &parts).map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(found(r#"{"a":{"b":1},"a":{"b":2}}"#, &["a", "b"]).as_deref(), Some("2"));
        assert_eq!(found(r#"{"a":{"b":1},"a":[{"b":2}]}"#, &["a", "b"]), None);
        assert_eq!(found(r#"{"\ud83d":[[{}]],"x":1e999999,"\u0061":-1.5}"#, &["a"]).as_deref(), Some("-1.5"));
        for value in ["null", "true", "\"a\"", "-1", "1", "1.5", "[1,[2]]"] {
            assert_eq!(found(&format!("{{\"a\":{value},\"c\":{{\"b\":3}}}}"), &["a", "b"]), None, "{value}");
        }
        assert_eq!(found("", &["a"]), None);
    }

    #[test]
    fn a_document_of_many_keys_is_read_once_and_nothing_of_it_is_kept() {
        let beside = (0..400_000).fold(String::new(), |all, n| all + &format!("\"k{n}\":{{}},"));
        let document = format!("{{{beside}\"check_run\":{{{beside}\"head_sha\":\"c5b97d5\"}}}}");
        let parts = ["check_run".to_owned(), "head_sha".to_owned()];
        assert_eq!(at(document.as_bytes(), &parts), Some(b"\"c5b97d5\"".as_slice()));
    }

    #[test]
    fn what_is_neither_a_name_nor_a_pointer_is_refused() {
        assert_eq!("repository".parse(), Ok(SerializeBy::Repository));
        for bad in ["", "sender", "/a/b/c/d/e/f/g/h/i", &format!("/{}", "x".repeat(300))] {
            assert!(bad.parse::<SerializeBy>().unwrap_err().contains("serialize_by"), "{bad}");
        }
    }
}
