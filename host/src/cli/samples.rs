//! A document for each event Hookyard ships a handler for, as GitHub sends it: for `send`, `plugin run` and `plugin test`.
//!
//! They tell one story of the repository `acme/harbour`, and are whole: every field that GitHub's published examples of the event have is there,
//! and none that they have not. Tests hold them to both, so that a handler that works on them does not stumble over the first real delivery.

use super::exit::{Exit, Failure};

/// Events with a built-in document, and the document.
pub(super) const ALL: [(&str, &str); 15] = [
    ("push", include_str!("samples/push.json")),
    ("pull_request", include_str!("samples/pull_request.json")),
    ("issues", include_str!("samples/issues.json")),
    ("issue_comment", include_str!("samples/issue_comment.json")),
    ("release", include_str!("samples/release.json")),
    ("workflow_run", include_str!("samples/workflow_run.json")),
    ("check_run", include_str!("samples/check_run.json")),
    ("deployment", include_str!("samples/deployment.json")),
    ("deployment_status", include_str!("samples/deployment_status.json")),
    ("status", include_str!("samples/status.json")),
    ("repository", include_str!("samples/repository.json")),
    ("star", include_str!("samples/star.json")),
    ("watch", include_str!("samples/watch.json")),
    ("fork", include_str!("samples/fork.json")),
    ("ping", include_str!("samples/ping.json")),
];

/// The built-in document of an event.
pub(super) fn document(event: &str) -> Result<&'static str, Failure> {
    ALL.iter().find(|(name, _)| *name == event).map(|(_, document)| *document).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        Failure::new(Exit::Usage, format!("there is no built-in payload for `{event}`; there is one for {}", names.join(", ")))
            .hint("give one with --payload FILE")
    })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        io::Write as _,
        path::Path,
    };

    use serde_json::Value;

    use super::*;

    /// Every path of a document with the kinds of value found there: `.issue.labels[].name` is text.
    fn paths(value: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
        let kind = match value {
            Value::Null => "nothing",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "text",
            Value::Array(_) => "list",
            Value::Object(_) => "table",
        };
        found.entry(path.to_owned()).or_default().insert(kind);
        match value {
            Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{path}[]"), found)),
            Value::Object(fields) => fields.iter().for_each(|(name, value)| paths(value, &format!("{path}.{name}"), found)),
            _ => {}
        }
    }

    #[test]
    fn every_sample_is_json_and_an_unknown_event_is_answered_with_the_known_ones() {
        for (event, document) in ALL {
            assert!(serde_json::from_str::<Value>(document).is_ok_and(|value| value.is_object()), "{event}");
        }
        let failure = document("isues").unwrap_err();
        assert!(failure.message.contains("issues, issue_comment") && failure.hint.is_some(), "{failure}");
    }

    /// What GitHub publishes, by event; nothing, and a word about it, where it was not fetched.
    fn published() -> Option<Vec<Value>> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fixtures/webhooks-examples/api.github.com/index.json");
        let Ok(bytes) = std::fs::read(&file) else {
            let _ = writeln!(std::io::stderr(), "skipped: run `cargo xtask test`, which fetches {}", file.display());
            return None;
        };
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    /// Fields that all examples have and the sample has not, through tables that all of them have.
    fn holes(examples: &[&Value], sample: &Value, path: &str, found: &mut Vec<String>) {
        let (Some(fields), Some(first)) = (sample.as_object(), examples.first().and_then(|example| example.as_object())) else { return };
        for name in first.keys() {
            let inner: Vec<&Value> = examples.iter().filter_map(|example| example.get(name)).collect();
            match fields.get(name) {
                _ if inner.len() < examples.len() => {}
                None => found.push(format!("{path}.{name}")),
                Some(value) if inner.iter().all(|inner| inner.is_object()) => holes(&inner, value, &format!("{path}.{name}"), found),
                Some(_) => {}
            }
        }
    }

    #[test]
    fn every_sample_has_every_field_github_always_sends() {
        for event in published().into_iter().flatten() {
            let Some((name, document)) = ALL.iter().find(|(name, _)| event["name"] == *name) else { continue };
            let sample: Value = serde_json::from_str(document).unwrap();
            let examples = event["examples"].as_array().unwrap().iter().filter(|example| example.get("action") == sample.get("action"));
            let (examples, mut missing) = (examples.collect::<Vec<_>>(), Vec::new());
            holes(&examples, &sample, "", &mut missing);
            assert!(!examples.is_empty() && missing.is_empty(), "{name}: {missing:?}");
        }
    }

    #[test]
    fn no_sample_has_a_field_github_does_not_send() {
        let Some(published) = published() else { return };
        // What surrounds an event is the same in all of them, and not every published example has all of it.
        let (mut around, mut of_event) = (BTreeMap::new(), BTreeMap::<&str, BTreeMap<_, _>>::new());
        for event in &published {
            for example in event["examples"].as_array().unwrap() {
                for part in ["repository", "organization", "sender", "installation"] {
                    paths(&example[part], &format!(".{part}"), &mut around);
                }
                paths(example, "", of_event.entry(event["name"].as_str().unwrap()).or_default());
            }
        }
        for (event, document) in ALL {
            let mut found = BTreeMap::new();
            paths(&serde_json::from_str(document).unwrap(), "", &mut found);
            for (path, kinds) in found.iter().filter(|(path, _)| !path.ends_with("[]")) {
                let known: BTreeSet<_> =
                    [of_event.get(event).and_then(|paths| paths.get(path)), around.get(path)].into_iter().flatten().flatten().collect();
                assert!(!known.is_empty(), "{event}: GitHub sends no `{path}`");
                let fits =
                    kinds.iter().all(|kind| known.contains(kind) || *kind == "nothing" || known.iter().all(|known| **known == "nothing"));
                assert!(fits, "{event}: `{path}` is {kinds:?}, and GitHub sends {known:?}");
            }
        }
    }
}
