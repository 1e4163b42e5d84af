//! What the sender is told. One table maps every refusal to its status and words; nothing else chooses a status.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    delivery::{Receipt, Refusal},
    text::escaped,
};

/// When to try again where the refusal itself does not know.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// An answer with its whole body.
pub(super) type Answer = Response<Full<Bytes>>;

/// The answer to an authentic delivery.
pub(super) fn receipt(receipt: &Receipt) -> Answer {
    match receipt {
        Receipt::Accepted { id, event, .. } => {
            json_answer(StatusCode::ACCEPTED, &json!({"status": "accepted", "delivery_id": id.to_string(), "event_type": event}))
        }
        Receipt::Duplicate { id } => {
            let message = "this delivery is already in hand or done; nothing runs because of this call";
            json_answer(StatusCode::OK, &json!({"status": "duplicate", "delivery_id": id.to_string(), "message": message}))
        }
    }
}

/// A refusal as `application/problem+json` (RFC 9457), `Retry-After` on every 429 and 503.
pub(super) fn refusal(refusal: &Refusal) -> Answer {
    let (status, detail) = words(refusal);
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
        "code": refusal.slug(),
    });
    let mut answer = json_answer(status, &body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Refusal::MethodNotAllowed(allow) = refusal {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(after) = retry_after(refusal, status) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs() + u64::from(after.subsec_nanos() > 0)));
    }
    answer
}

/// An answer with a JSON body.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(escaped(&body.to_string()).into_owned())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn retry_after(refusal: &Refusal, status: StatusCode) -> Option<Duration> {
    match refusal {
        Refusal::TooManyFailures { retry_after } | Refusal::RateLimited { retry_after } => Some((*retry_after).max(Duration::from_secs(1))),
        _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER),
    }
}

fn words(refusal: &Refusal) -> (StatusCode, String) {
    use StatusCode as S;
    let (status, detail) = match refusal {
        Refusal::RouteNotFound => (S::NOT_FOUND, "nothing is here; deliveries go to /webhooks/{source} or /t/{tenant}/webhooks/{source}"),
        Refusal::MethodNotAllowed(_) => (S::METHOD_NOT_ALLOWED, "the path does not take this method; see Allow"),
        Refusal::HttpsRequired => (S::BAD_REQUEST, "this source takes deliveries over https only"),
        Refusal::UnsupportedMediaType => {
            (S::UNSUPPORTED_MEDIA_TYPE, "send application/json or application/x-www-form-urlencoded with a field `payload`")
        }
        Refusal::ContentEncodingUnsupported => (S::UNSUPPORTED_MEDIA_TYPE, "the body came compressed; send it as it is"),
        Refusal::BodyTooLarge { bytes_max } => return (S::PAYLOAD_TOO_LARGE, format!("the body has more than {bytes_max} bytes")),
        Refusal::SignatureMissing => (S::UNAUTHORIZED, "X-Hub-Signature-256 is absent; set a secret on the webhook"),
        Refusal::SignatureSha1Only => (
            S::UNAUTHORIZED,
            "only X-Hub-Signature (SHA-1) is there, which is not taken; have the sender sign with SHA-256 (X-Hub-Signature-256)",
        ),
        Refusal::SignatureMalformed => (S::UNAUTHORIZED, "X-Hub-Signature-256 is not, exactly once, `sha256=` and 64 hexadecimal digits"),
        Refusal::SignatureMismatch => (S::UNAUTHORIZED, "no secret known here gives this signature over the body"),
        Refusal::HeaderInvalid(name) => return (S::BAD_REQUEST, format!("the header {name} is absent, repeated or not well formed")),
        Refusal::TooManyFailures { .. } => (S::TOO_MANY_REQUESTS, "too many calls of this address failed lately"),
        Refusal::RateLimited { .. } => (S::TOO_MANY_REQUESTS, "more calls than the rate allows"),
        Refusal::BodyTimeout => (S::REQUEST_TIMEOUT, "the body did not arrive in time"),
        Refusal::BodyIncomplete => (S::BAD_REQUEST, "the connection ended, or broke the protocol, before the body was whole"),
        Refusal::BodyNotJson => {
            (S::BAD_REQUEST, "the signature is right, but the document is not one JSON value in UTF-8, or is nested deeper than 128")
        }
        Refusal::FormPayloadInvalid => (S::BAD_REQUEST, "the form does not have exactly one well-formed field `payload`"),
        Refusal::EventMismatch => (S::BAD_REQUEST, "the document is one of another event than X-GitHub-Event names"),
        Refusal::BodyReplayed => (S::BAD_REQUEST, "the same body came before under another id or event, and this source refuses that"),
        Refusal::BodyBudgetExhausted => (S::SERVICE_UNAVAILABLE, "no memory left for more bodies now"),
        Refusal::ConnectionsExhausted => (S::SERVICE_UNAVAILABLE, "all connections are at work now; try again"),
        Refusal::TenantQuotaExceeded => (S::SERVICE_UNAVAILABLE, "too much is waiting here already; nothing was kept"),
        Refusal::TenantStorageFull => (S::SERVICE_UNAVAILABLE, "as much is stored here already as may be; nothing was kept"),
        Refusal::NotReady => (S::SERVICE_UNAVAILABLE, "the host is starting or stopping"),
        Refusal::StorageFull => (S::SERVICE_UNAVAILABLE, "no room to keep more; nothing was kept"),
        Refusal::AcceptTimeout => (S::SERVICE_UNAVAILABLE, "it could not be made durable in time; nothing was kept"),
        Refusal::OutcomeUnknown => (S::SERVICE_UNAVAILABLE, "whether it was kept is unknown; sending it again is safe"),
        Refusal::QueueUnavailable => (S::SERVICE_UNAVAILABLE, "the queue is not available; nothing was kept"),
    };
    (status, detail.to_owned())
}
