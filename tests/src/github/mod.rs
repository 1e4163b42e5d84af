//! A GitHub on a real socket, small and strict: it keeps issues, comments, labels, deployments and runs, and changes them as asked.
//!
//! Every call is held against GitHub's own description of its API: method, path, query and body. One that GitHub would not understand fails
//! the test when the server is dropped, whatever the plugin made of the answer. Answers are GitHub's own examples with this repository's
//! values in them, so the SDK's views read what GitHub really sends. Faults (a rate limit, an outage, silence) are put in a queue.

mod description;
mod repository;
mod routes;
mod schema;
mod server;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};

pub use self::repository::Repository;
use self::server::Shared;

/// The token the server wants.
pub const TOKEN: &str = "ghs_16C7e42F292c6912E7710c838347Ae178B4a";
/// Where the team's chat listens, on the same server: the path is the secret.
pub const CHAT_PATH: &str = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX";

/// A running server, for the repository `acme/shop`. When it is dropped, calls GitHub would not understand fail the test.
#[derive(Debug)]
pub struct GitHub {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends with this value.
    _server: JoinSet<()>,
}

/// One call, as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// The body; null where there was none.
    pub body: Value,
    /// The answer's status; none where there was none.
    pub status: Option<u16>,
}

/// What goes wrong, instead of an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its headers.
        headers: Vec<(&'static str, String)>,
        /// Its body.
        body: Value,
    },
    /// The call is carried out, and this status answers it: what an outage after the fact looks like.
    DoneBut(u16),
    /// No answer, until the caller gives up.
    Silence,
}

impl GitHub {
    /// Starts a server.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::new(address));
        let mut server = JoinSet::new();
        server.spawn(server::serve(listener, Arc::clone(&shared)));
        Self { address, shared, _server: server }
    }

    /// Whether GitHub's description is here, so that calls are held against it.
    pub fn is_strict() -> bool {
        description::description().is_some()
    }

    /// Where it is: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The repository as it is now, to look at or to change.
    pub fn repository(&self) -> MutexGuard<'_, Repository> {
        lock(&self.shared.repository)
    }

    /// The next call of this method whose path ends so meets this fault.
    pub fn fault(&self, method: &'static str, path_end: &'static str, fault: Fault) {
        lock(&self.shared.faults).push((method, path_end, fault));
    }

    /// The calls so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The calls so far that were to change something, as `METHOD /path`, without the repository's own part of it.
    pub fn changes(&self) -> Vec<String> {
        let own = "/repos/acme/shop";
        let changing = self.seen().into_iter().filter(|seen| seen.method != "GET" && seen.path != CHAT_PATH);
        changing.map(|seen| format!("{} {}", seen.method, seen.path.strip_prefix(own).unwrap_or(&seen.path))).collect()
    }

    /// What was said in the team's chat.
    pub fn notices(&self) -> Vec<String> {
        let said = self.seen().into_iter().filter(|seen| seen.path == CHAT_PATH && seen.status == Some(200));
        said.map(|seen| seen.body["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The calls GitHub would not have understood, and why; those taken are not told again.
    pub fn take_problems(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.shared.problems))
    }
}

impl Fault {
    /// An answer without headers.
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: serde_json::json!({"message": format!("a fault of {status}")}) }
    }

    /// The primary rate limit is used up until `wait` from now.
    pub fn primary_limit(now: Duration, wait: Duration) -> Self {
        let headers = vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", (now + wait).as_secs().to_string())];
        Self::Answer { status: 403, headers, body: serde_json::json!({"message": "API rate limit exceeded for installation ID 678."}) }
    }

    /// A secondary rate limit with the wait GitHub asks for.
    pub fn secondary_limit(seconds: u64) -> Self {
        let body = serde_json::json!({"message": "You have exceeded a secondary rate limit."});
        Self::Answer { status: 429, headers: vec![("retry-after", seconds.to_string())], body }
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let problems = self.take_problems();
            assert!(problems.is_empty(), "GitHub would not have understood: {problems:#?}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}
