//! From a connection to an answer: the same steps for every call.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    CHAT_PATH, Fault, Repository, Seen, TOKEN,
    description::{Call, description},
    lock,
    repository::NOW,
    routes,
};

/// What the server and the test share.
#[derive(Debug)]
pub(super) struct Shared {
    address: SocketAddr,
    pub(super) repository: Mutex<Repository>,
    pub(super) faults: Mutex<Vec<(&'static str, &'static str, Fault)>>,
    pub(super) seen: Mutex<Vec<Seen>>,
    pub(super) problems: Mutex<Vec<String>>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Value,
}

impl Shared {
    pub(super) fn new(address: SocketAddr) -> Self {
        let repository = Mutex::new(Repository::default());
        Self { address, repository, faults: Mutex::default(), seen: Mutex::default(), problems: Mutex::default() }
    }
}

impl Answer {
    pub(super) fn new(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body }
    }
}

/// Serves until it is aborted.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(&shared, request).await) }
            });
            // A caller that gives up is part of the tests.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (method, path) = (head.method.as_str(), head.uri.path());
    let query = head.uri.query().map(pairs).unwrap_or_default();
    let body = if bytes.is_empty() { None } else { Some(serde_json::from_slice(&bytes).unwrap_or(Value::Null)) };
    let call = Call { method, path, query: &query, body: body.as_ref() };
    let index = note(shared, &call);
    let fault = take_fault(shared, method, path);
    let answer = match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Answer { status, headers, body }) => Answer { status, headers, body },
        Some(Fault::DoneBut(status)) => {
            handle(shared, &call, &head.headers);
            Answer::new(status, json!({"message": "an outage after the fact"}))
        }
        None => handle(shared, &call, &head.headers),
    };
    lock(&shared.seen)[index].status = Some(answer.status);
    let mut response = Response::builder().status(answer.status).header("content-type", "application/json; charset=utf-8");
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = if answer.body.is_null() { Bytes::new() } else { answer.body.to_string().into() };
    response.body(Full::new(body)).expect("an answer")
}

fn note(shared: &Shared, call: &Call<'_>) -> usize {
    let mut seen = lock(&shared.seen);
    let body = call.body.cloned().unwrap_or_default();
    seen.push(Seen { method: call.method.to_owned(), path: call.path.to_owned(), body, status: None });
    seen.len() - 1
}

fn take_fault(shared: &Shared, method: &str, path: &str) -> Option<Fault> {
    let mut faults = lock(&shared.faults);
    let index = faults.iter().position(|(of, end, _)| *of == method && path.ends_with(end))?;
    Some(faults.remove(index).2)
}

fn handle(shared: &Shared, call: &Call<'_>, headers: &HeaderMap) -> Answer {
    if call.path == CHAT_PATH {
        return chat(shared, call, headers);
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text("user-agent").is_empty() {
        problem(shared, call, "GitHub refuses calls without a user agent");
    }
    if call.method == "POST" && call.path.starts_with("/app/installations/") {
        return installation_token(shared, call, text("authorization"));
    }
    if text("authorization") != format!("Bearer {TOKEN}") {
        return Answer::new(401, json!({"message": "Bad credentials", "status": "401"}));
    }
    let description = description();
    if let Some(found) = description.as_ref().and_then(|description| description.problem(call)) {
        problem(shared, call, &found);
    }
    let operation = description.as_ref().and_then(|description| description.operation(call.method, call.path));
    let example = operation.and_then(|operation| operation.example()).unwrap_or_default();
    routes::answer(&mut lock(&shared.repository), call, &example, &format!("http://{}", shared.address))
}

/// A token for an installation, for who brings a signed JWT; that its signature holds is for the host's own tests.
fn installation_token(shared: &Shared, call: &Call<'_>, authorization: &str) -> Answer {
    if let Some(found) = description().and_then(|description| description.problem(call)) {
        problem(shared, call, &found);
    }
    let is_jwt = authorization.strip_prefix("Bearer ").is_some_and(|jwt| jwt.split('.').filter(|part| !part.is_empty()).count() == 3);
    if is_jwt {
        Answer::new(201, json!({"token": TOKEN, "expires_at": NOW}))
    } else {
        Answer::new(401, json!({"message": "A JWT is missing"}))
    }
}

/// The team's chat: Slack's incoming webhooks, as far as they go.
fn chat(shared: &Shared, call: &Call<'_>, headers: &HeaderMap) -> Answer {
    if headers.contains_key("authorization") {
        problem(shared, call, "GitHub's token was sent to the chat");
    }
    match call.body.map(|body| &body["text"]) {
        Some(Value::String(text)) if call.method == "POST" && !text.is_empty() => Answer::new(200, json!("ok")),
        _ => {
            problem(shared, call, "the chat wants a text");
            Answer::new(400, json!("no_text"))
        }
    }
}

fn problem(shared: &Shared, call: &Call<'_>, what: &str) {
    let body = call.body.map(Value::to_string).unwrap_or_default();
    lock(&shared.problems).push(format!("{} {} {body}: {what}", call.method, call.path));
}

/// The names and values of a query. A value that is not decoded the same way by everybody is none of ours.
fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect()
}

/// Percent-decodes a part of a path or query.
pub(super) fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        rest = others;
        let mut byte = *first;
        if let (b'%', [high, low, others @ ..]) = (first, others) {
            let hex = [*high, *low];
            let hex = std::str::from_utf8(&hex).expect("percent-encoding is ASCII");
            byte = u8::from_str_radix(hex, 16).expect("two hexadecimal digits follow a percent sign");
            rest = others;
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).expect("UTF-8")
}
