//! A stand-in for GitHub's API, for a demo without an account: it knows issues and one pull request, and tells what it was asked to change.
//!
//! The plugins, their calls and the host's way out are the real ones; only the other end is ours. The tests have a stricter one.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use anyhow::Context as _;
use serde_json::{Value, json};

/// Largest request that is read.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// The running stand-in; it ends with the script.
pub(super) struct GitHub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    token: String,
    labels: Vec<String>,
    changes: Vec<String>,
}

struct Request {
    method: String,
    path: String,
    authorization: String,
    body: Value,
}

impl GitHub {
    /// Listens on a free port of this machine, for callers with this token.
    pub(super) fn start(token: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { token: token.to_owned(), ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                // A call that breaks off is the caller's to try again.
                let _ = serve(stream, &shared);
            }
        });
        Ok(Self { address, state })
    }

    /// `127.0.0.1:PORT`.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked to change so far: method, path and body.
    pub(super) fn changes(&self) -> Vec<String> {
        self.state.lock().map(|state| state.changes.clone()).unwrap_or_default()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> anyhow::Result<()> {
    let request = read(&stream)?;
    let (status, body) = state.lock().map_or((500, Value::Null), |mut state| state.answer(&request));
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    Ok(stream.write_all(body.as_bytes())?)
}

fn read(stream: &TcpStream) -> anyhow::Result<Request> {
    let mut lines = BufReader::new(stream.take(REQUEST_BYTES_MAX));
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let (method, rest) = line.split_once(' ').context("a request line")?;
    let (method, path) = (method.to_owned(), rest.split([' ', '?']).next().unwrap_or_default().to_owned());
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        line.clear();
        lines.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.trim().clone_into(&mut authorization),
            "content-length" => length = value.trim().parse()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body)?;
    Ok(Request { method, path, authorization, body: serde_json::from_slice(&body).unwrap_or_default() })
}

impl State {
    fn answer(&mut self, request: &Request) -> (u16, Value) {
        if request.authorization != format!("Bearer {}", self.token) {
            return (401, json!({"message": "Bad credentials"}));
        }
        if request.method != "GET" {
            let body = if request.body.is_null() { String::new() } else { request.body.to_string() };
            self.changes.push(format!("{} {} {body}", request.method, request.path));
        }
        let parts: Vec<&str> = request.path.trim_start_matches("/repos/acme/shop/").split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["deployments"] | ["issues", _, "comments"]) => (200, json!([])),
            ("POST", ["deployments"]) => (201, json!({"id": 1, "sha": "9d3f", "ref": request.body["ref"]})),
            ("GET", ["issues", number]) => {
                (200, json!({"id": 1, "number": number.parse::<u64>().ok(), "title": "An issue", "state": "open"}))
            }
            ("GET", ["pulls", number]) => (200, self.pull(number)),
            ("POST", ["issues", _, "labels"]) => {
                let labels = request.body["labels"].as_array().into_iter().flatten().filter_map(Value::as_str);
                self.labels.extend(labels.map(str::to_owned));
                (200, json!([]))
            }
            ("DELETE", ["issues", _, "labels", label]) => {
                self.labels.retain(|known| known.replace('/', "%2F") != *label);
                (200, json!([]))
            }
            ("POST", _) => (201, json!({"id": 1})),
            ("PATCH", _) => (200, json!({})),
            _ => (404, json!({"message": "Not Found"})),
        }
    }

    fn pull(&self, number: &str) -> Value {
        let labels: Vec<Value> = self.labels.iter().map(|name| json!({"id": 1, "name": name})).collect();
        let side = |name: &str| json!({"ref": name, "sha": "9d3f", "repo": null});
        json!({
            "id": 1, "number": number.parse::<u64>().ok(), "title": "A change", "state": "open", "additions": 31, "deletions": 4,
            "labels": labels, "head": side("cart"), "base": side("main"),
        })
    }
}
