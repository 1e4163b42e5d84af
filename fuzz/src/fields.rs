//! The three-field reader: it takes what a parser that builds the whole tree takes, and reads the same fields in it.

use hookyard::{delivery::Refusal, ingest::Fields};
use serde_json::Value;

pub(crate) fn run(document: &[u8]) {
    match (Fields::read(document), serde_json::from_slice::<Value>(document)) {
        (Ok(fields), Ok(tree)) => {
            assert_eq!((fields.action, fields.installation_id, fields.repository), expected(&tree), "the same fields");
        }
        // What is passed over is checked for its form; whether a number fits a float or a surrogate has its other half, a tree must know.
        (Ok(_), Err(error)) => assert!(is_of_values(&error.to_string()), "a guest cannot read what was accepted: {error}"),
        (Err(refusal), Ok(_)) => panic!("{refusal:?}, and a guest could read it"),
        (Err(refusal), Err(_)) => assert_eq!(refusal, Refusal::BodyNotJson),
    }
}

fn is_of_values(error: &str) -> bool {
    ["number out of range", "lone leading surrogate", "unexpected end of hex escape", "invalid unicode code point"]
        .iter()
        .any(|known| error.starts_with(known))
}

/// Action, installation and repository.
fn expected(tree: &Value) -> (Option<String>, Option<u64>, Option<String>) {
    let text = |value: &Value, bytes_max: usize| {
        value.as_str().filter(|text| text.len() <= bytes_max && !text.contains(char::is_control)).map(str::to_owned)
    };
    (text(&tree["action"], 64), tree["installation"]["id"].as_u64(), text(&tree["repository"]["full_name"], 256))
}
