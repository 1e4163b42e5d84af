//! GitHub's own example payloads: npm `@octokit/webhooks-examples` 7.6.1, fetched and pinned by `cargo xtask test`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

/// One published example.
#[derive(Clone, Debug)]
pub struct Example {
    /// Event name.
    pub event: String,
    /// The document.
    pub document: Bytes,
}

/// The repository's `target` folder.
pub fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("target")
}

/// All 329 examples; `None`, and a word about it, where they were not fetched.
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
pub fn examples() -> Option<Vec<Example>> {
    let file = target_dir().join("fixtures/webhooks-examples/api.github.com/index.json");
    let Ok(bytes) = std::fs::read(&file) else {
        println!("skipped: {} is not there; `cargo xtask test` fetches it where npm is", file.display());
        return None;
    };
    let index: Vec<Value> = serde_json::from_slice(&bytes).expect("a list of events");
    let examples = index.iter().flat_map(|event| {
        let name = event["name"].as_str().expect("an event name").to_owned();
        let documents = event["examples"].as_array().expect("examples").iter();
        documents.map(move |document| Example { event: name.clone(), document: document.to_string().into() })
    });
    Some(examples.collect())
}
