//! A stand-in for the host, so that a plugin is tested with plain `cargo test`, without WebAssembly.
//!
//! ```
//! use hookyard_sdk::{Delivery, Verdict, testing::Host};
//!
//! fn handle(delivery: Delivery) -> Verdict {
//!     Verdict::skip(format!("no interest in {}", delivery.event()))
//! }
//!
//! let report = Host::new().run(handle, Delivery::sample("ping", b"{}"));
//! assert_eq!(report.verdict, Verdict::skip("no interest in ping"));
//! ```
//!
//! It keeps the contract's rules (sizes, names, effects that count only with `ack` or `skip`) and none of the sandbox's: fuel, memory and
//! time are seen with `hookyard plugin run`. It is per thread, so tests run beside each other.

use std::{cell::RefCell, collections::BTreeMap, mem};

use serde_json::Value;

use crate::{
    Delivery, IntoVerdict, Verdict,
    bindings::hookyard::plugin::types::{self, Header},
    log::Level,
};

pub(crate) mod host;

/// A host to run a plugin in: what it remembers stays from run to run, as in the real one.
#[derive(Clone, Debug, Default)]
pub struct Host {
    config: Value,
    kv: BTreeMap<String, Vec<u8>>,
    once: BTreeMap<String, Option<Vec<u8>>>,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The plugin's word.
    pub verdict: Verdict,
    /// Events that would be published: none unless the verdict commits.
    pub emits: Vec<Emit>,
    /// What was logged.
    pub logs: Vec<Log>,
    /// The store after the run.
    pub kv: BTreeMap<String, Vec<u8>>,
    /// Steps and their answers; `None` for one begun and not finished.
    pub once: BTreeMap<String, Option<Vec<u8>>>,
}

/// One emitted event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit {
    /// Its name.
    pub name: String,
    /// Media type of its body.
    pub content_type: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// One log line.
#[derive(Clone, Debug)]
pub struct Log {
    /// How much it matters.
    pub level: Level,
    /// The message.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Running {
    host: Host,
    emits: Vec<Emit>,
    logs: Vec<Log>,
}

thread_local! {
    static RUNNING: RefCell<Running> = RefCell::default();
}

/// Runs a handler once in a fresh host without configuration.
pub fn run<V: IntoVerdict>(handle: fn(Delivery) -> V, delivery: Delivery) -> Report {
    Host::new().run(handle, delivery)
}

impl Host {
    /// A host with an empty store and no configuration.
    pub fn new() -> Self {
        Self { config: Value::Object(serde_json::Map::new()), ..Self::default() }
    }

    /// Sets the `[config]` table.
    #[must_use]
    pub fn config(mut self, table: Value) -> Self {
        self.config = table;
        self
    }

    /// Puts a value into the store.
    #[must_use]
    pub fn kv(mut self, key: &str, value: &[u8]) -> Self {
        self.kv.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Remembers a step as begun and never finished, as after a crash.
    #[must_use]
    pub fn interrupted(mut self, key: &str) -> Self {
        self.once.insert(key.to_owned(), None);
        self
    }

    /// Runs a handler. The store changes only if the verdict commits; steps stay in any case.
    pub fn run<V: IntoVerdict>(&mut self, handle: fn(Delivery) -> V, delivery: Delivery) -> Report {
        RUNNING.set(Running { host: self.clone(), ..Running::default() });
        let verdict = handle(delivery).into_verdict();
        let Running { host, emits, logs } = RUNNING.with_borrow_mut(mem::take);
        self.once = host.once;
        let emits = if verdict.commits() {
            self.kv = host.kv;
            emits
        } else {
            Vec::new()
        };
        Report { verdict, emits, logs, kv: self.kv.clone(), once: self.once.clone() }
    }
}

impl Emit {
    /// The body as JSON; panics where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("event `{}` is not JSON: {error}", self.name))
    }
}

impl Delivery {
    /// A delivery as the host would make it of `document`: the first attempt, of tenant `default` and source `github`.
    pub fn sample(event: &str, document: &[u8]) -> Self {
        let action = serde_json::from_slice::<Value>(document).ok().and_then(|value| value.get("action")?.as_str().map(str::to_owned));
        Self(types::Delivery {
            id: "0123456789abcdef0123456789abcdef".into(),
            provider_id: "72d3162e-cc78-11e3-81ab-4c9367dc0958".into(),
            tenant: "default".into(),
            source: "github".into(),
            event: event.into(),
            action,
            attempt: 1,
            generation: 0,
            received_at_ms: 1_767_225_600_000,
            started_at_ms: 1_767_225_600_010,
            sequence: 1,
            content_type: "application/json".into(),
            headers: vec![Header { name: "x-github-event".into(), value: event.into() }],
            document: document.to_vec(),
            extensions: Vec::new(),
        })
    }

    /// The same delivery at a later attempt.
    #[must_use]
    pub fn at_attempt(mut self, attempt: u32) -> Self {
        self.0.attempt = attempt;
        self
    }
}

#[cfg(test)]
mod tests;
