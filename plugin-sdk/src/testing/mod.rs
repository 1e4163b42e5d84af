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

use std::{cell::RefCell, collections::BTreeMap, fmt, mem, rc::Rc};

use serde_json::Value;

use crate::{
    Delivery, IntoVerdict, Verdict,
    bindings::hookyard::plugin::http::Request,
    bindings::hookyard::plugin::types::{self, Header},
    http::{HttpError, Response},
    log::Level,
};

pub(crate) mod host;

/// A host to run a plugin in: what it remembers stays from run to run, as in the real one.
#[derive(Clone, Debug, Default)]
pub struct Host {
    config: Value,
    kv: BTreeMap<String, Vec<u8>>,
    once: BTreeMap<String, Option<Vec<u8>>>,
    secrets: BTreeMap<String, Vec<u8>>,
    server: Option<Server>,
}

/// What answers the requests of a test.
#[derive(Clone)]
struct Server(Rc<Answering>);

type Answering = dyn Fn(&SentRequest) -> Result<Response, HttpError>;

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
    /// Requests that were sent, in order.
    pub requests: Vec<SentRequest>,
}

/// One request a plugin sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// The URL; empty for a credential that is one.
    pub url: String,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body; empty where there is none.
    pub body: Vec<u8>,
    /// The credential it names.
    pub credential: Option<String>,
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
    requests: Vec<SentRequest>,
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

    /// What answers requests: a function of the request, which may count, look and refuse like the real other side. Without one every request
    /// is [`HttpError::Unavailable`].
    #[must_use]
    pub fn answering(mut self, answer: impl Fn(&SentRequest) -> Result<Response, HttpError> + 'static) -> Self {
        self.server = Some(Server(Rc::new(answer)));
        self
    }

    /// A credential of kind `hmac`, granted for both purposes.
    #[must_use]
    pub fn secret(mut self, name: &str, key: &[u8]) -> Self {
        self.secrets.insert(name.to_owned(), key.to_owned());
        self
    }

    /// Asks a plugin's `validate` about the configuration; nothing it does has an effect.
    pub fn validate(&self, validate: fn() -> Result<(), Vec<String>>) -> Result<(), Vec<String>> {
        RUNNING.set(Running { host: self.clone(), ..Running::default() });
        let answer = validate();
        RUNNING.with_borrow_mut(mem::take);
        answer
    }

    /// Runs a handler. The store changes only if the verdict commits; steps stay in any case.
    pub fn run<V: IntoVerdict>(&mut self, handle: fn(Delivery) -> V, delivery: Delivery) -> Report {
        RUNNING.set(Running { host: self.clone(), ..Running::default() });
        let verdict = handle(delivery).into_verdict();
        let Running { host, emits, logs, requests } = RUNNING.with_borrow_mut(mem::take);
        self.once = host.once;
        let emits = if verdict.commits() {
            self.kv = host.kv;
            emits
        } else {
            Vec::new()
        };
        Report { verdict, emits, logs, kv: self.kv.clone(), once: self.once.clone(), requests }
    }
}

impl Emit {
    /// The body as JSON; panics where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("event `{}` is not JSON: {error}", self.name))
    }
}

impl SentRequest {
    pub(crate) fn of(sent: &Request) -> Self {
        Self {
            method: sent.method.clone(),
            url: sent.url.clone(),
            headers: sent.headers.clone(),
            body: sent.body.clone().unwrap_or_default(),
            credential: sent.credential.clone(),
        }
    }

    /// The body as JSON; panics where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("the body of {} {} is not JSON: {error}", self.method, self.url))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
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
