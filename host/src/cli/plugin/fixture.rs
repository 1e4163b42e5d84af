//! A fixture: one delivery and what is expected of its run, as a TOML file of the plugin's `fixtures/` folder.
//!
//! A small file makes a whole delivery: the payload is the event's built-in document unless one is named, and `change` alters it in places.

use std::{collections::BTreeMap, path::Path, sync::mpsc};

use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{
        exit::{Exit, Failure},
        read_bounded, samples,
    },
    expect::{Difference, Expect},
    outside::{Expected, Outside, Step},
};
use crate::{
    egress::{Asked, Request},
    runtime::{Gate, RunReport},
};

/// One delivery and what is expected of its run.
#[derive(Clone, Debug)]
pub(super) struct Fixture {
    /// The file's name without its ending.
    pub(super) name: String,
    pub(super) event: String,
    pub(super) document: Vec<u8>,
    /// Which attempt the run is told it is.
    pub(super) attempt: u32,
    /// What is changed in the manifest's `[config]`.
    pub(super) config: Value,
    outside: Outside,
    expect: Expect,
}

/// A fixture as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    event: String,
    /// A file beside the fixture; the event's built-in document where absent.
    payload: Option<String>,
    /// What is changed in the document: tables are merged, anything else is replaced.
    #[serde(default)]
    change: toml::Table,
    #[serde(default = "first")]
    attempt: u32,
    #[serde(default)]
    config: toml::Table,
    #[serde(default)]
    kv: BTreeMap<String, Value>,
    #[serde(default)]
    once: BTreeMap<String, Step>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    http: Option<Vec<Expected>>,
    expect: Expect,
}

fn first() -> u32 {
    1
}

impl Fixture {
    /// Reads a fixture and its payload.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let invalid = |problem: &dyn std::fmt::Display| Failure::new(Exit::ConfigInvalid, format!("{}: {problem}", file.display()));
        let text = String::from_utf8(read_bounded(file)?).map_err(|error| invalid(&error))?;
        let written: Written = toml::from_str(&text).map_err(|error| invalid(&error.to_string().trim_end().to_owned()))?;
        written.expect.check().map_err(|problem| invalid(&problem))?;
        let outside = Outside { kv: written.kv, once: written.once, secrets: written.secrets, http: written.http };
        outside.check().map_err(|problem| invalid(&problem))?;
        let document = match &written.payload {
            Some(name) => read_bounded(&file.with_file_name(name))?,
            None => samples::document(&written.event)?.as_bytes().to_vec(),
        };
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let document = changed(document, &written.change).map_err(|error| invalid(&format!("the payload is not JSON: {error}")))?;
        Ok(Self {
            name,
            event: written.event,
            document,
            attempt: written.attempt,
            config: as_json(written.config),
            outside,
            expect: written.expect,
        })
    }

    /// The built-in document of an event, of which only is expected that its run does not end by a fault.
    pub(super) fn sample(event: &str) -> Result<Self, Failure> {
        let document = samples::document(event)?.as_bytes().to_vec();
        let (name, event) = (format!("{event} (built in)"), event.to_owned());
        Ok(Self { name, event, document, attempt: 1, config: Value::Null, outside: Outside::default(), expect: Expect::default() })
    }

    /// The plugin's configuration as this fixture wants it.
    pub(super) fn configured(&self, mut config: Value) -> Value {
        merge(&mut config, self.config.clone());
        config
    }

    /// The outside it is run in; what is sent there can be read behind it.
    pub(super) fn gate(&self, asked: &Asked) -> Result<(Gate, mpsc::Receiver<Request>), Failure> {
        self.outside.gate(asked).map_err(|problem| Failure::new(Exit::ConfigInvalid, format!("{}: {problem}", self.name)))
    }

    /// Everything that is not as expected of a run and what it sent.
    pub(super) fn differences(&self, report: &RunReport, sent: &[Request]) -> Vec<Difference> {
        let mut found = self.expect.differences(report);
        found.extend(self.outside.differences(sent));
        found
    }
}

fn as_json(table: toml::Table) -> Value {
    // A TOML table is always a JSON object; only a number that is none has no JSON, and that becomes null.
    serde_json::to_value(table).unwrap_or_default()
}

/// A document with changes; untouched, byte for byte, where there are none.
fn changed(document: Vec<u8>, change: &toml::Table) -> serde_json::Result<Vec<u8>> {
    if change.is_empty() {
        return Ok(document);
    }
    let mut value: Value = serde_json::from_slice(&document)?;
    merge(&mut value, as_json(change.clone()));
    serde_json::to_vec(&value)
}

/// Tables are merged key by key; anything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Fixture, Failure> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("own.json"), b"{\"action\": \"closed\",  \"n\": {\"a\": 1, \"b\": 2}}").unwrap();
        fs::write(dir.path().join("large.toml"), text).unwrap();
        Fixture::read(&dir.path().join("large.toml"))
    }

    #[test]
    fn a_fixture_is_named_after_its_file_and_begins_with_the_built_in_document() {
        let fixture = read("event = \"pull_request\"\n[expect]\nverdict = \"ack\"\n").unwrap();
        assert_eq!((fixture.name.as_str(), fixture.attempt), ("large", 1));
        assert_eq!(fixture.document, samples::document("pull_request").unwrap().as_bytes());
    }

    #[test]
    fn a_payload_is_the_file_beside_byte_for_byte_until_it_is_changed() {
        let fixture = read("event = \"push\"\npayload = \"own.json\"\n[expect]\n").unwrap();
        assert!(fixture.document.ends_with(b"\"b\": 2}}"));
        let fixture =
            read("event = \"push\"\npayload = \"own.json\"\nattempt = 2\n[change]\naction = \"opened\"\n[change.n]\nb = [3]\n[expect]\n")
                .unwrap();
        let document: Value = serde_json::from_slice(&fixture.document).unwrap();
        assert_eq!((document, fixture.attempt), (json!({"action": "opened", "n": {"a": 1, "b": [3]}}), 2));
    }

    #[test]
    fn a_fixture_changes_the_configuration_key_by_key() {
        let fixture = read("event = \"push\"\n[config]\nsmall = 1\n[expect]\n").unwrap();
        assert_eq!(fixture.configured(json!({"small": 10, "large": 500})), json!({"small": 1, "large": 500}));
        let sample = Fixture::sample("push").unwrap();
        assert_eq!(sample.configured(json!({"small": 10})), json!({"small": 10}));
    }

    #[test]
    fn what_does_not_fit_is_told_with_the_files_name() {
        for (text, part) in [
            ("event = \"push\"\n[expect]\nverdikt = \"ack\"\n", "verdikt"),
            ("event = \"push\"\n[expect]\nverdict = \"acked\"\n", "ack, skip, retry, reject"),
            ("event = \"push\"\n", "expect"),
            ("event = \"push\"\n[secrets]\npartner = \"short\"\n[expect]\n", "secrets.partner"),
            ("event = \"push\"\n[[http]]\nurl = \"GET https://a/\"\n[expect]\n", "request"),
            ("event = \"isues\"\n[expect]\n", "isues"),
        ] {
            let failure = read(text).unwrap_err();
            assert!(failure.message.contains(part), "{failure}");
        }
    }
}
