//! The three fields we read of a document; everything else is checked to be JSON and passed over, never built.
//!
//! A tree of values takes up to twenty times the bytes of the text, so there is none. Unknown shapes are no error: a field of another type is
//! a field we do not have. Where a key stands twice the last one counts, as in every common parser, so that host and plugin agree.

use std::fmt;

use serde::{
    Deserialize, Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::subject::Subjects;
use crate::delivery::{ACTION_BYTES_MAX, Refusal, is_action};

/// Nesting a document may have; the recursion limit of `serde_json`, so that what we accept a plugin can read.
const DEPTH_MAX: usize = 128;
/// Longest `repository.full_name`; GitHub's are at most 39 + 1 + 100.
const REPOSITORY_BYTES_MAX: usize = 256;

/// What the host itself wants to know of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// `action`, where it is a string of at most 64 bytes without control characters.
    pub action: Option<String>,
    /// `installation.id`.
    pub installation_id: Option<u64>,
    /// `repository.full_name`, where it is a string of at most 256 bytes without control characters.
    pub repository: Option<String>,
    /// Which events the document can be of.
    pub(super) subjects: Subjects,
}

/// The raw values of up to three keys of one object, and what its other keys tell.
#[derive(Debug, Default)]
struct Picked<'a>([Option<&'a RawValue>; 3], Subjects);

/// Picks `keys` out of an object and passes over the rest.
struct Pick<'k>(&'k [&'k str]);

/// A key's place in `keys`, or `None`; what it tells of the subject is noted.
struct Place<'k>(&'k [&'k str], &'k mut Subjects);

impl Fields {
    /// Reads the fields of a document, which must be one JSON value in UTF-8 (RFC 8259 §8.1), nested at most 128 deep.
    pub fn read(document: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(document).map_err(|_| Refusal::BodyNotJson)?;
        if goes_unnoticed(DEPTH_MAX, document) {
            return Err(Refusal::BodyNotJson);
        }
        if !is_object(text) {
            serde_json::from_str::<IgnoredAny>(text).map_err(|_| Refusal::BodyNotJson)?;
            return Ok(Self::default());
        }
        let Picked([action, installation, repository], subjects) =
            pick(text, &["action", "installation", "repository"]).ok_or(Refusal::BodyNotJson)?;
        Ok(Self {
            action: action.and_then(|raw| string(raw, ACTION_BYTES_MAX)).filter(|text| is_action(text)),
            installation_id: installation.and_then(|raw| inner(raw, "id")).and_then(|raw| serde_json::from_str(raw.get()).ok()),
            repository: repository.and_then(|raw| inner(raw, "full_name")).and_then(|raw| string(raw, REPOSITORY_BYTES_MAX)),
            subjects,
        })
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Picked<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = Picked::default();
        while let Some(place) = map.next_key_seed(Place(self.0, &mut picked.1))? {
            match place.and_then(|place| picked.0.get_mut(place)) {
                Some(slot) => *slot = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(picked)
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // As bytes: a key with a lone surrogate is odd, but it is not ours, and elsewhere in the document it would pass.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        self.1.note(key);
        Ok(self.0.iter().position(|known| known.as_bytes() == key))
    }
}

fn pick<'a>(text: &'a str, keys: &[&str]) -> Option<Picked<'a>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let picked = deserializer.deserialize_map(Pick(keys)).ok()?;
    deserializer.end().ok()?;
    Some(picked)
}

fn inner<'a>(object: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    pick(object.get(), &[key])?.0[0]
}

fn string(raw: &RawValue, bytes_max: usize) -> Option<String> {
    // The escaped form is never shorter than the text, and up to six times as long: nothing longer is worth decoding.
    if raw.get().len() > 2 + 6 * bytes_max {
        return None;
    }
    let text = String::deserialize(&mut serde_json::Deserializer::from_str(raw.get())).ok();
    // They go into lines, headers and terminals, and no provider has control characters in either.
    text.filter(|text| text.len() <= bytes_max && !text.contains(char::is_control))
}

fn is_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{')
}

/// Whether the document has what `serde_json` does not see while it passes over it, and a guest's parser would refuse: brackets outside strings
/// that nest deeper than `depth_max` (it passes over values without recursion and without a limit), or a bare control character in a string
/// (it reads keys as bytes without looking at them).
fn goes_unnoticed(depth_max: usize, document: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in document {
        match byte {
            0..=0x1f if in_string => return true,
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Result<Fields, Refusal> {
        Fields::read(text.as_bytes())
    }

    /// The same fields out of a tree of values.
    fn oracle(value: &Value) -> Fields {
        Fields {
            action: value["action"].as_str().filter(|text| text.len() <= ACTION_BYTES_MAX).map(str::to_owned),
            installation_id: value["installation"]["id"].as_u64(),
            repository: value["repository"]["full_name"].as_str().filter(|text| text.len() <= REPOSITORY_BYTES_MAX).map(str::to_owned),
            subjects: Subjects::default(),
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,70}".prop_map(Value::from),
        ];
        let key = prop_oneof!["action", "installation", "repository", "id", "full_name", "\\PC{0,5}"];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(key.clone(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn the_three_fields_are_read_and_odd_types_are_not_an_error() {
        let document = json!({"action": "opened", "installation": {"id": 14_541_957_942_u64}, "repository": {"full_name": "o/r"}});
        assert_eq!(read(&document.to_string()), Ok(oracle(&document)));
        for odd in [
            r#"{"action":7}"#,
            r#"{"action":1e999999}"#,
            r#"{"installation":{"id":-1}}"#,
            r#"{"repository":"o/r"}"#,
            "[]",
            "7",
            "null",
            " {} ",
        ] {
            assert_eq!(read(odd), Ok(Fields::default()), "{odd}");
        }
        assert_eq!(read(r#"{"\u0061ction":"x"}"#).unwrap().action.as_deref(), Some("x"));
    }

    #[test]
    fn the_last_of_a_repeated_key_counts() {
        assert_eq!(read(r#"{"action":"a","action":"b"}"#).unwrap().action.as_deref(), Some("b"));
        assert_eq!(read(r#"{"action":"a","action":1}"#).unwrap().action, None);
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        for bad in
            ["", "{", "{}{}", "{} x", "[1,]", "{\"a\":}", "{'a':1}", "nul", "\"\n\"", "{\"action\":\"a\"", "\u{feff}{}", "Hello, World!"]
        {
            assert_eq!(read(bad), Err(Refusal::BodyNotJson), "{bad}");
        }
        assert_eq!(Fields::read(b"{\"a\":\"\xff\"}"), Err(Refusal::BodyNotJson));
        assert_eq!(read("{\"a\":\"\u{1f980}\"}"), Ok(Fields::default()));
    }

    #[test]
    fn an_escaped_control_character_makes_no_action_and_no_repository() {
        let fields = Fields::read(br#"{"action":"a\u001b[2J","repository":{"full_name":"a/b\n"}}"#).unwrap();
        assert_eq!((fields.action, fields.repository), (None, None));
    }

    #[test]
    fn a_bare_control_character_in_a_key_is_refused_as_in_any_string() {
        for bad in ["{\"a\0b\":1}", "{\"repository\":{\"full\u{1f}\":1}}", "{\"\n\":1}", "[{\"\t\":1}]"] {
            assert_eq!(read(bad), Err(Refusal::BodyNotJson), "{bad:?}");
        }
        assert_eq!(read("{\"a\\u0000\":1,\n\t\"b\":2}"), Ok(Fields::default()));
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_nest() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(read(&nested(DEPTH_MAX + 1)), Err(Refusal::BodyNotJson));
        assert_eq!(read(&nested(100_000)), Err(Refusal::BodyNotJson));
        assert_eq!(read(&format!("{{\"action\":{}}}", nested(100_000))), Err(Refusal::BodyNotJson));
        assert!(read(&format!("{{\"a\":\"{}\"}}", "\\\"[{".repeat(1000))).is_ok());
    }

    #[test]
    fn an_overlong_action_or_repository_is_none() {
        assert_eq!(read(&json!({"action": "a".repeat(64)}).to_string()).unwrap().action, Some("a".repeat(64)));
        assert_eq!(read(&json!({"action": "a".repeat(65)}).to_string()).unwrap().action, None);
    }

    proptest! {
        #[test]
        fn the_reader_agrees_with_a_tree_of_values(value in any_value(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            prop_assert_eq!(read(&text), Ok(oracle(&value)));
        }

        #[test]
        fn what_a_tree_of_values_refuses_is_refused_here_too(text in "[\\[\\]{}:,\"a1 ]{0,24}") {
            prop_assert_eq!(read(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok());
        }
    }
}
