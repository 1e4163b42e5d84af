//! What is sent: a built-in document, a file, or the delivery of a plugin's fixture, with places of it set to other values.

use std::{path::PathBuf, str::FromStr};

use serde_json::Value;

use super::super::{
    exit::{Exit, Failure},
    plugin, read_bounded, samples,
};

/// Which document.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The event's name; `ping` and the events of the shipped plugins have a built-in document
    #[arg(long, required_unless_present = "fixture")]
    event: Option<String>,
    /// The document, `-` for standard input
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// Event and document of a plugin's fixture, such as review-wanted/fixtures/large.toml
    #[arg(long, value_name = "FILE", conflicts_with_all = ["event", "payload"])]
    fixture: Option<PathBuf>,
    /// Put another value at a place of the document: `/pull_request/additions=600`. As often as needed
    #[arg(long = "set", value_name = "POINTER=VALUE")]
    changes: Vec<Change>,
}

/// One place of a document (a JSON pointer, RFC 6901) and its value: JSON, or else text.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    pointer: String,
    value: Value,
}

impl Args {
    /// The event's name and the document.
    pub(super) fn read(&self) -> Result<(String, Vec<u8>), Failure> {
        let (event, document) = match (&self.fixture, &self.payload) {
            (Some(file), _) => plugin::delivery_of_fixture(file)?,
            (None, file) => {
                let event = self.event.clone().unwrap_or_default();
                let document =
                    file.as_deref().map_or_else(|| samples::document(&event).map(|text| text.as_bytes().to_vec()), read_bounded)?;
                (event, document)
            }
        };
        if self.changes.is_empty() {
            return Ok((event, document));
        }
        let mut value = serde_json::from_slice(&document)
            .map_err(|error| Failure::new(Exit::Usage, format!("--set changes a JSON document, and this is none: {error}")))?;
        self.changes.iter().try_for_each(|change| change.apply(&mut value))?;
        Ok((event, value.to_string().into_bytes()))
    }
}

impl Change {
    /// Sets the place. A key may be new, and `-` is the place behind a list's last; what holds it must be there.
    fn apply(&self, document: &mut Value) -> Result<(), Failure> {
        let missing = |holder: &str, found: &str| {
            Failure::new(Exit::Usage, format!("--set {}: the document has no such place; at `{holder}` stands {found}", self.pointer))
                .hint("parts are apart by `/`; `~1` is a slash and `~0` a tilde in a name")
        };
        let (holder, last) = self.pointer.rsplit_once('/').unwrap_or_default();
        let Some(found) = document.pointer_mut(holder) else {
            let above = deepest(document, holder);
            return Err(missing(above, &described(document.pointer(above))));
        };
        let name = last.replace("~1", "/").replace("~0", "~");
        let words = described(Some(&*found));
        match found {
            Value::Object(fields) => drop(fields.insert(name, self.value.clone())),
            Value::Array(items) if name == "-" => items.push(self.value.clone()),
            Value::Array(items) => {
                let item = name.parse::<usize>().ok().and_then(|at| items.get_mut(at)).ok_or_else(|| missing(holder, &words))?;
                *item = self.value.clone();
            }
            _ => return Err(missing(holder, &words)),
        }
        Ok(())
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').filter(|(pointer, _)| pointer.starts_with('/'));
        let (pointer, value) =
            parts.ok_or_else(|| format!("`{text}`; expected a place and a value, such as `/pull_request/draft=true`"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Self { pointer: pointer.to_owned(), value })
    }
}

/// The longest beginning of a pointer that leads somewhere.
fn deepest<'a>(document: &Value, mut pointer: &'a str) -> &'a str {
    while document.pointer(pointer).is_none() {
        pointer = pointer.rsplit_once('/').map_or("", |(above, _)| above);
    }
    pointer
}

/// What stands at a place: the names to choose from, where it has some.
fn described(found: Option<&Value>) -> String {
    match found {
        Some(Value::Object(fields)) => {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            format!("a table with {}", names.join(", "))
        }
        Some(Value::Array(items)) => format!("a list of {}", items.len()),
        Some(other) => other.to_string(),
        None => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(changes: &[&str]) -> Result<Value, Failure> {
        let changes = changes.iter().map(|text| text.parse().unwrap()).collect();
        let args = Args { event: Some("pull_request".to_owned()), payload: None, fixture: None, changes };
        args.read().map(|(_, document)| serde_json::from_slice(&document).unwrap())
    }

    #[test]
    fn a_place_gets_a_number_a_text_a_table_or_a_new_key() {
        let document = set(&[
            "/pull_request/additions=600",
            "/pull_request/title=A large one",
            "/pull_request/labels/-={\"name\":\"bug\"}",
            "/pull_request/labels/0/color=\"600\"",
            "/a~1b=null",
        ])
        .unwrap();
        let found = &document["pull_request"];
        assert_eq!((&found["additions"], &found["title"]), (&json!(600), &json!("A large one")));
        assert_eq!(found["labels"], json!([{ "name": "bug", "color": "600" }]));
        assert_eq!((document.get("a/b"), &found["deletions"]), (Some(&Value::Null), &json!(14)));
    }

    #[test]
    fn a_place_that_is_not_there_is_told_with_what_is() {
        let words = |change: &str| set(&[change]).unwrap_err().to_string();
        assert!(words("/pull_requests/additions=600").contains("at `` stands a table with action, "), "{}", words("/pull_requests/x=1"));
        assert!(words("/pull_request/labels/3=1").contains("at `/pull_request/labels` stands a list of 0"));
        assert!(words("/number/x=1").contains("at `/number` stands 7"));
        for bad in ["pull_request=1", "/x", ""] {
            assert!(bad.parse::<Change>().is_err(), "{bad}");
        }
    }

    #[test]
    fn without_changes_the_document_is_sent_byte_for_byte() {
        let args = Args { event: Some("ping".to_owned()), payload: None, fixture: None, changes: Vec::new() };
        assert_eq!(args.read().unwrap().1, samples::document("ping").unwrap().as_bytes());
    }

    #[test]
    fn a_fixture_gives_event_and_document() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("large.toml");
        std::fs::write(&file, "event = \"pull_request\"\n[change.pull_request]\nadditions = 600\n[expect]\nverdict = \"ack\"\n").unwrap();
        let args = Args { event: None, payload: None, fixture: Some(file), changes: Vec::new() };
        let (event, document) = args.read().unwrap();
        let document: Value = serde_json::from_slice(&document).unwrap();
        assert_eq!((event.as_str(), &document["pull_request"]["additions"]), ("pull_request", &json!(600)));
    }
}
