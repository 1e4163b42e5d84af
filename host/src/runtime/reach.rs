//! What a run does outside while it runs: requests and operations with secrets. Both are answered at once and cannot be taken back, so they are
//! bounded, and a gate without a way out answers them with words.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    Gate,
    gate::Overlay,
    recording::{Question, error_of, failure},
};
use crate::{
    delivery::{
        Destination, Upstream,
        view::{Blob, Recorded},
    },
    egress::{Egress, Request, Response, SendError},
};

/// Requests of one run.
const REQUESTS_MAX: u32 = 100;
/// Bytes of answers of one run.
const ANSWERED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a request waits where the guest does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest a request may wait, whatever the guest says.
const TIMEOUT_MAX: Duration = Duration::from_mins(1);
/// What is left of the run's time when a request is given up, so that the guest can still decide what to do about it.
const LEFT_TO_DECIDE: Duration = Duration::from_millis(50);
/// The answer of a gate that has none.
pub(super) const NO_WAY_OUT: &str = "this run has no way out: it is a trial, and no request leaves the host";

const NO_SECRETS: &str = "this run is a trial and holds no secrets";

/// What a run has used of what it may send.
#[derive(Debug)]
pub(super) struct Requests {
    /// When the run's own time is over.
    ends: Instant,
    sent: u32,
    answered_bytes: usize,
    /// How the last request to each destination went; no more of them than requests.
    upstreams: BTreeMap<Destination, bool>,
}

impl Requests {
    /// Nothing sent yet, in a run of at most `wall` from now.
    pub(super) fn within(wall: Duration) -> Self {
        let now = Instant::now();
        // An endless run: the self-test's.
        let ends = now.checked_add(wall).unwrap_or(now);
        Self { ends, sent: 0, answered_bytes: 0, upstreams: BTreeMap::new() }
    }

    fn count(&mut self) -> Result<(), SendError> {
        self.sent += 1;
        if self.sent > REQUESTS_MAX || self.answered_bytes >= ANSWERED_BYTES_MAX {
            let why = format!("the run has sent {REQUESTS_MAX} requests or got {ANSWERED_BYTES_MAX} bytes of answers, and may no more");
            return Err(SendError::Denied(why));
        }
        Ok(())
    }

    /// How the run found what it called.
    pub(super) fn upstreams(&self) -> Vec<Upstream> {
        self.upstreams.iter().map(|(destination, is_up)| Upstream { destination: destination.clone(), is_up: *is_up }).collect()
    }

    fn deadline(&self, timeout: Option<Duration>) -> Instant {
        let asked = Instant::now() + timeout.unwrap_or(TIMEOUT_DEFAULT).min(TIMEOUT_MAX);
        asked.min(self.ends.checked_sub(LEFT_TO_DECIDE).unwrap_or(self.ends))
    }
}

impl Overlay {
    /// Sends a request and waits for the answer.
    pub(super) async fn send(&mut self, request: Request, timeout: Option<Duration>, question: &Question) -> Result<Response, SendError> {
        self.requests.count()?;
        let answer = match &mut self.gate {
            Gate::Live(outside) => {
                let sent = outside.egress.send_watched(&outside.reach.now(), request, self.requests.deadline(timeout)).await;
                let (answer, upstream) = sent;
                self.requests.upstreams.extend(upstream.map(|Upstream { destination, is_up }| (destination, is_up)));
                answer
            }
            Gate::Dry => Err(SendError::Unavailable(NO_WAY_OUT.to_owned())),
            Gate::Scripted(script) => script.answer(request),
            Gate::Replay(recording) => match recording.next(question) {
                Some(Recorded::Response { status, headers, body, truncated }) => Ok(Response { status, headers, body: body.0, truncated }),
                other => Err(error_of(other)),
            },
        };
        if let Ok(answer) = &answer {
            self.requests.answered_bytes += answer.body.len();
        }
        answer
    }

    /// HMAC-SHA256 under a named key.
    pub(super) fn sign(&mut self, name: &str, data: &[u8], question: &Question) -> Result<Vec<u8>, SendError> {
        match &mut self.gate {
            Gate::Live(outside) => Egress::sign(&outside.reach.now(), name, data),
            Gate::Dry => Err(SendError::Denied(NO_SECRETS.to_owned())),
            Gate::Scripted(script) => Egress::sign(&script.reach, name, data),
            Gate::Replay(recording) => match recording.next(question) {
                Some(Recorded::Tag(tag)) => Ok(tag.0),
                other => Err(error_of(other)),
            },
        }
    }

    /// Whether a tag is the one.
    pub(super) fn verify(&mut self, (name, data, tag): (&str, &[u8], &[u8]), question: &Question) -> Result<bool, SendError> {
        match &mut self.gate {
            Gate::Live(outside) => Egress::verify(&outside.reach.now(), name, data, tag),
            Gate::Dry => Err(SendError::Denied(NO_SECRETS.to_owned())),
            Gate::Scripted(script) => Egress::verify(&script.reach, name, data, tag),
            Gate::Replay(recording) => match recording.next(question) {
                Some(Recorded::Verified(truth)) => Ok(truth),
                other => Err(error_of(other)),
            },
        }
    }
}

/// A request as it is recorded: exactly in its digest, in short for people, and of a URL that is a secret only the credential's name.
pub(super) fn question(request: &Request) -> Question {
    let Request { method, url, headers, body, credential } = request;
    let target = if url.is_empty() { "(the credential's URL)" } else { url };
    let named = credential.as_ref().map_or_else(String::new, |name| format!(" as {name}"));
    let shown = format!("{method} {target}{named}{}", if body.is_empty() { String::new() } else { in_short(body) });
    let mut exact: Vec<&[u8]> = vec![method.as_bytes(), url.as_bytes(), body, credential.as_deref().unwrap_or_default().as_bytes()];
    exact.extend(headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
    Question::new("http.send", shown, &exact)
}

/// An answer in short and exactly.
pub(super) fn answered(answer: &Result<Response, SendError>) -> (String, Recorded) {
    match answer {
        Ok(Response { status, headers, body, truncated }) => {
            let cut = if *truncated { ", cut" } else { "" };
            let recorded =
                Recorded::Response { status: *status, headers: headers.clone(), body: Blob(body.clone()), truncated: *truncated };
            (format!("{status} ({} bytes{cut})", body.len()), recorded)
        }
        Err(error) => {
            let shown = match error {
                SendError::Denied(why) => format!("Denied: {why}"),
                SendError::Timeout => "Timeout".to_owned(),
                SendError::TooLarge => "TooLarge".to_owned(),
                SendError::Unavailable(why) | SendError::Unreachable(why) => format!("Unavailable: {why}"),
            };
            (shown, failure(error))
        }
    }
}

/// How many bytes, and their beginning where they are text.
pub(super) fn in_short(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 160;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX)]);
    let is_text = !shown.contains(|c: char| c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace()));
    let dots = if bytes.len() > SHOWN_MAX { "…" } else { "" };
    if is_text && !bytes.is_empty() { format!(" ({} bytes) {shown}{dots}", bytes.len()) } else { format!(" ({} bytes)", bytes.len()) }
}
