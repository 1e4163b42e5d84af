//! Requests out of the sandbox: only where manifest and operator both grant host, method and path.
//!
//! A plugin names a credential; the host adds it for the destination it is bound to and scrubs it from what comes back. **A request is sent at
//! least once**: a retried run sends it again, unless [`once`](crate::once()) guards it or the plugin looks before it acts.
//!
//! ```no_run
//! use hookyard_sdk::{Delivery, Verdict, github::PullRequestEvent, http::Request};
//! use serde_json::json;
//!
//! fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
//!     let event: PullRequestEvent = delivery.json()?;
//!     let url = format!("https://api.github.com/repos/{}/issues/{}/labels", event.repository.full_name, event.number);
//!     Request::post(url).credential("github").json(&json!({"labels": ["size/M"]})).send()?.success()?;
//!     Ok(Verdict::ack())
//! }
//! ```
//!
//! Every [`HttpError`] knows its [`Verdict`]: what may pass is retried, when the other side named a time not before it (GitHub's primary and
//! secondary rate limits among them), and what would end the same way again is rejected.

mod limits;
mod redirect;

use std::{fmt, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Verdict, bindings::hookyard::plugin::http as contract, host};

/// Bytes of an unwelcome answer's body that are quoted in the error.
const QUOTED_BYTES_MAX: usize = 300;

/// One request, until it is sent.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request(pub(crate) contract::Request);

/// One answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case, secrets scrubbed.
    pub headers: Vec<(String, String)>,
    /// The body, up to the host's cap.
    pub body: Vec<u8>,
    /// Whether the body was longer than the cap.
    pub truncated: bool,
}

/// Why there is no answer, or not the one that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// Not granted, and what is missing.
    Denied(String),
    /// No answer in time.
    Timeout,
    /// The request is longer than the host's cap.
    TooLarge,
    /// The other side could not be reached.
    Unavailable(String),
    /// There is an answer, and it is no success; from [`Answer::success`].
    Status {
        /// The answer.
        response: Response,
        /// Method and URL, for words.
        request: String,
    },
    /// The body is not what was expected; from [`Response::json`].
    Body(String),
}

/// A sent request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    response: Response,
    request: String,
}

impl Request {
    /// A request with any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self(contract::Request {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            credential: None,
            timeout_ms: None,
        })
    }

    /// A `GET` request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A `POST` request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// A `PUT` request.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// A `PATCH` request.
    pub fn patch(url: impl Into<String>) -> Self {
        Self::new("PATCH", url)
    }

    /// A `DELETE` request.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// A `POST` to a URL that is itself the secret, such as a Slack webhook's: a credential of kind `url`, which the plugin only names.
    pub fn post_to(credential: impl Into<String>) -> Self {
        Self::new("POST", "").credential(credential)
    }

    /// Adds a header. The standard ones (`accept`, `content-type`, `if-none-match`, `x-github-api-version`, …) may always be sent; any other must be
    /// named in the `headers` of both grants, and `authorization`, `cookie`, `host` and others that are the host's own are refused when the request
    /// is sent. `docs/capabilities.md` has the lists.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.headers.push((name.into(), value.into()));
        self
    }

    /// The credential the host adds, by name.
    pub fn credential(mut self, name: impl Into<String>) -> Self {
        self.0.credential = Some(name.into());
        self
    }

    /// The body, as it is.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.0.body = Some(body.into());
        self
    }

    /// The body as JSON, with its content type. A value that cannot be JSON (a map with keys that are no texts) is sent as `null`.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
        self.header("content-type", "application/json").body(body)
    }

    /// How long to wait for the whole answer. The host's own limit holds in any case, and so does the run's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout_ms = Some(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Sends it and waits for the answer. An answer of any status is an answer; [`Answer::success`] tells the good ones apart.
    ///
    /// A `GET` that is answered with another place (301, 302, 303, 307, 308) is asked again there, five times at most, where the grants allow it.
    pub fn send(self) -> Result<Answer, HttpError> {
        let answer = self.clone().send_once()?;
        redirect::follow(self, answer)
    }

    /// Sends it and follows nowhere.
    pub fn send_once(self) -> Result<Answer, HttpError> {
        let target = if self.0.url.is_empty() { self.0.credential.as_deref().unwrap_or_default() } else { &self.0.url };
        let request = format!("{} {target}", self.0.method);
        let answer = host::http::send(&self.0).map_err(HttpError::from)?;
        let contract::Response { status, headers, body, truncated } = answer;
        Ok(Answer { response: Response { status, headers, body, truncated }, request })
    }
}

impl Answer {
    /// The answer if its status is 2xx.
    pub fn success(self) -> Result<Response, HttpError> {
        if self.response.is_success() {
            return Ok(self.response);
        }
        Err(HttpError::Status { response: self.response, request: self.request })
    }

    /// The answer if its status is 2xx, `None` if it is one of `absent` (such as 404 for "not there"), else the error.
    pub fn success_or(self, absent: &[u16]) -> Result<Option<Response>, HttpError> {
        if absent.contains(&self.response.status) {
            return Ok(None);
        }
        self.success().map(Some)
    }

    /// The answer, whatever its status.
    pub fn into_response(self) -> Response {
        self.response
    }
}

impl std::ops::Deref for Answer {
    type Target = Response;

    fn deref(&self) -> &Response {
        &self.response
    }
}

impl Response {
    /// An answer without headers and body; for tests.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), truncated: false }
    }

    /// The same with one header more; for tests.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The same with a JSON body; for tests.
    #[must_use]
    pub fn with_json(mut self, value: &serde_json::Value) -> Self {
        self.body = value.to_string().into_bytes();
        self.with_header("content-type", "application/json")
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first value of a header, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        if self.truncated {
            return Err(HttpError::Body(format!("the answer is longer than the {} bytes the host passes on", self.body.len())));
        }
        serde_json::from_slice(&self.body).map_err(|error| HttpError::Body(format!("the answer has another shape than expected: {error}")))
    }
}

impl HttpError {
    /// The status, where there is an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { response, .. } => Some(response.status),
            _ => None,
        }
    }
}

impl From<contract::Error> for HttpError {
    fn from(error: contract::Error) -> Self {
        match error {
            contract::Error::Denied(why) => Self::Denied(why),
            contract::Error::Timeout => Self::Timeout,
            contract::Error::TooLarge => Self::TooLarge,
            contract::Error::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// What may pass is retried, with the time the other side asked for; a missing grant, a request that is too large, a body of another shape and
/// any 4xx that is not about time or authorisation would be the same again and is rejected. 401 and 403 are retried: the operator can mend them.
impl From<HttpError> for Verdict {
    fn from(error: HttpError) -> Self {
        let words = error.to_string();
        match &error {
            HttpError::Timeout | HttpError::Unavailable(_) => Self::retry(words),
            HttpError::Denied(_) | HttpError::TooLarge | HttpError::Body(_) => Self::reject(words),
            HttpError::Status { response, .. } => match (response.rate_limited(), response.status) {
                (Some(wait), _) => Self::retry_after(wait, words),
                (None, 401 | 403 | 408 | 409 | 423 | 425 | 429 | 500..) => Self::retry(words),
                (None, _) => Self::reject(words),
            },
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "the request was denied: {why}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::TooLarge => f.write_str("the request is longer than the host sends"),
            Self::Unavailable(why) => write!(f, "no answer: {why}"),
            Self::Status { response, request } => {
                let body = String::from_utf8_lossy(&response.body[..response.body.len().min(QUOTED_BYTES_MAX)]).into_owned();
                write!(f, "{request} was answered with {}", response.status)?;
                if let Some(place) = response.moved_to() {
                    return write!(
                        f,
                        ": it has moved to {place}; only a GET is followed there, and five times at most: send it to that place"
                    );
                }
                if body.is_empty() { Ok(()) } else { write!(f, ": {body}") }
            }
            Self::Body(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for HttpError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(response: Response) -> Verdict {
        HttpError::Status { response, request: "GET x".into() }.into()
    }

    fn after(response: Response) -> Option<u64> {
        match status(response) {
            Verdict::Retry { after, .. } => after.map(|after| after.as_secs()),
            other => panic!("no retry: {other:?}"),
        }
    }

    #[test]
    fn githubs_rate_limits_become_a_retry_at_the_time_it_asked_for() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let primary =
            Response::new(403).with_header("X-RateLimit-Remaining", "0").with_header("x-ratelimit-reset", (784_111_777 + 90).to_string());
        assert_eq!(after(primary.clone().with_header("date", date)), Some(91));
        assert_eq!(after(primary), Some(60), "without a clock the advice for the unknown");
        assert_eq!(after(Response::new(429).with_header("Retry-After", "30").with_header("x-ratelimit-remaining", "0")), Some(30));
        let message = serde_json::json!({"message": "You have exceeded a secondary rate limit"});
        assert_eq!(after(Response::new(403).with_json(&message)), Some(60));
        assert_eq!(after(Response::new(403)), None, "a missing permission is not a limit");
        assert_eq!(after(Response::new(401)), None);
        assert_eq!(after(Response::new(502)), None);
    }

    #[test]
    fn what_would_be_the_same_again_is_rejected() {
        assert!(matches!(status(Response::new(404)), Verdict::Reject(why) if why.contains("404")));
        assert!(matches!(status(Response::new(422)), Verdict::Reject(_)));
        assert!(matches!(Verdict::from(HttpError::Denied("no grant".into())), Verdict::Reject(_)));
        assert!(matches!(Verdict::from(HttpError::Timeout), Verdict::Retry { after: None, .. }));
    }
}
