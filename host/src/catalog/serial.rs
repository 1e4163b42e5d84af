//! Which runs of one plugin must not overlap: `serialize_by` in the manifest.
//!
//! "Look before you create" is not enough where two deliveries about one thing run at the same moment: both look, both find nothing. A plugin
//! names what such deliveries have in common, and runs that have it in common take turns. Pure: the workers keep the turns.

use std::{borrow::Cow, collections::BTreeMap};

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

/// The value as it is written; no tree is built of the document around it.
fn at<'a>(document: &'a [u8], parts: &[String]) -> Option<&'a [u8]> {
    let mut value = std::str::from_utf8(document).ok()?;
    for part in parts {
        let object: BTreeMap<Cow<'_, str>, &'a RawValue> = serde_json::from_str(value).ok()?;
        value = object.get(part.as_str())?.get();
    }
    Some(value.as_bytes())
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
    fn what_is_neither_a_name_nor_a_pointer_is_refused() {
        assert_eq!("repository".parse(), Ok(SerializeBy::Repository));
        for bad in ["", "sender", "/a/b/c/d/e/f/g/h/i", &format!("/{}", "x".repeat(300))] {
            assert!(bad.parse::<SerializeBy>().unwrap_err().contains("serialize_by"), "{bad}");
        }
    }
}
