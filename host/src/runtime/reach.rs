//! What a run does outside while it runs: requests and operations with secrets. Both are answered at once and cannot be taken back, so they are
//! bounded, and a gate without a way out answers them with words.

use std::time::Duration;

use tokio::time::Instant;

use super::{Gate, gate::Overlay};
use crate::egress::{Egress, Reach, Request, Response, SendError};

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
const NO_WAY_OUT: &str = "this run has no way out: it is a trial, and no request leaves the host";

/// What a run has used of what it may send.
#[derive(Debug)]
pub(super) struct Requests {
    /// When the run's own time is over.
    ends: Instant,
    sent: u32,
    answered_bytes: usize,
}

impl Requests {
    /// Nothing sent yet, in a run of at most `wall` from now.
    pub(super) fn within(wall: Duration) -> Self {
        let now = Instant::now();
        // An endless run: the self-test's.
        let ends = now.checked_add(wall).unwrap_or(now);
        Self { ends, sent: 0, answered_bytes: 0 }
    }

    fn count(&mut self) -> Result<(), SendError> {
        self.sent += 1;
        if self.sent > REQUESTS_MAX || self.answered_bytes >= ANSWERED_BYTES_MAX {
            let why = format!("the run has sent {REQUESTS_MAX} requests or got {ANSWERED_BYTES_MAX} bytes of answers, and may no more");
            return Err(SendError::Denied(why));
        }
        Ok(())
    }

    fn deadline(&self, timeout: Option<Duration>) -> Instant {
        let asked = Instant::now() + timeout.unwrap_or(TIMEOUT_DEFAULT).min(TIMEOUT_MAX);
        asked.min(self.ends.checked_sub(LEFT_TO_DECIDE).unwrap_or(self.ends))
    }
}

impl Overlay {
    /// Sends a request and waits for the answer.
    pub(super) async fn send(&mut self, request: Request, timeout: Option<Duration>) -> Result<Response, SendError> {
        self.requests.count()?;
        let answer = match &self.gate {
            Gate::Live(outside) => outside.egress.send(&outside.reach, request, self.requests.deadline(timeout)).await,
            Gate::Dry => Err(SendError::Unavailable(NO_WAY_OUT.to_owned())),
        };
        if let Ok(answer) = &answer {
            self.requests.answered_bytes += answer.body.len();
        }
        answer
    }

    /// HMAC-SHA256 under a named key.
    pub(super) fn sign(&self, name: &str, data: &[u8]) -> Result<Vec<u8>, SendError> {
        Egress::sign(self.reach()?, name, data)
    }

    /// Whether a tag is the one.
    pub(super) fn verify(&self, name: &str, data: &[u8], tag: &[u8]) -> Result<bool, SendError> {
        Egress::verify(self.reach()?, name, data, tag)
    }

    fn reach(&self) -> Result<&Reach, SendError> {
        match &self.gate {
            Gate::Live(outside) => Ok(&outside.reach),
            Gate::Dry => Err(SendError::Denied("this run is a trial and holds no secrets".to_owned())),
        }
    }
}

/// How a request is shown: never its body, and of a URL that is a secret only the credential's name.
pub(super) fn shown(request: &Request) -> String {
    let url = if request.url.is_empty() { "(the credential's URL)" } else { &request.url };
    let credential = request.credential.as_ref().map_or_else(String::new, |name| format!(" as {name}"));
    let body = if request.body.is_empty() { String::new() } else { format!(" ({} bytes)", request.body.len()) };
    format!("{} {url}{credential}{body}", request.method)
}

/// How an answer is shown.
pub(super) fn shown_answer(answer: &Result<Response, SendError>) -> String {
    match answer {
        Ok(answer) => {
            let cut = if answer.truncated { ", cut" } else { "" };
            format!("{} ({} bytes{cut})", answer.status, answer.body.len())
        }
        Err(SendError::Denied(why)) => format!("Denied: {why}"),
        Err(SendError::Timeout) => "Timeout".to_owned(),
        Err(SendError::TooLarge) => "TooLarge".to_owned(),
        Err(SendError::Unavailable(why)) => format!("Unavailable: {why}"),
    }
}
