//! A sender that signs the way GitHub does.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use hookyard::{
    delivery::DeliveryId,
    signature::{Secret, sign},
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// One provider with one secret, posting to one source.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    secret: Secret,
}

/// What the door said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// `Retry-After`, where there is one.
    pub retry_after: Option<String>,
    /// The JSON body, null where there is none.
    pub body: Value,
}

/// One delivery to be sent.
#[derive(Clone, Debug)]
pub struct Post {
    /// `X-GitHub-Event`.
    pub event: String,
    /// `X-GitHub-Delivery`.
    pub guid: String,
    /// The raw body.
    pub body: Bytes,
    /// `application/json` or a form.
    pub content_type: &'static str,
}

impl Post {
    /// A JSON delivery under a fresh id.
    pub fn json(event: &str, document: impl Into<Bytes>) -> Self {
        Self { event: event.to_owned(), guid: fresh_guid(), body: document.into(), content_type: "application/json" }
    }

    /// The same document as GitHub sends it form-encoded, under a fresh id.
    pub fn form(event: &str, document: &[u8]) -> Self {
        let body = form_encoded(document);
        Self { event: event.to_owned(), guid: fresh_guid(), body, content_type: "application/x-www-form-urlencoded" }
    }

    /// Under this id.
    #[must_use]
    pub fn guid(mut self, guid: &str) -> Self {
        guid.clone_into(&mut self.guid);
        self
    }
}

impl Sender {
    /// A sender to `POST /t/{tenant}/webhooks/{source}`, or the short path for the tenant `default`.
    pub fn new(address: SocketAddr, tenant: &str, source: &str, secret: &str) -> Self {
        let path = if tenant == "default" { format!("/webhooks/{source}") } else { format!("/t/{tenant}/webhooks/{source}") };
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build_http();
        Self { client, url: format!("http://{address}{path}"), secret: Secret::new(secret).expect("a secret") }
    }

    /// Sends a signed JSON delivery under a fresh id.
    pub async fn post(&self, event: &str, document: impl Into<Bytes>) -> Answer {
        self.send(Post::json(event, document)).await
    }

    /// Sends a delivery, signed.
    pub async fn send(&self, post: Post) -> Answer {
        self.try_send(post).await.expect("the host answers")
    }

    /// Sends a delivery, signed; an error is a connection that failed or ended without an answer.
    pub async fn try_send(&self, post: Post) -> Result<Answer, String> {
        let signature = sign(&self.secret, &post.body);
        self.send_with_signature(post, &signature).await
    }

    /// Sends small pushes from eight connections until the host is gone; gives the ids that were answered 202.
    pub async fn load_until_the_host_dies(self) -> Vec<DeliveryId> {
        let mut lanes = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let sender = self.clone();
            lanes.spawn(async move {
                let mut ids = Vec::new();
                loop {
                    let document = format!("{{\"n\":\"{:032x}\"}}", fastrand::u128(..));
                    match sender.try_send(Post::json("push", document)).await {
                        Ok(answer) => ids.push(answer.accepted()),
                        Err(_) => return ids,
                    }
                }
            });
        }
        lanes.join_all().await.concat()
    }

    /// Sends a delivery under a signature of the caller's choice.
    pub async fn send_with_signature(&self, post: Post, signature: &str) -> Result<Answer, String> {
        let request = Request::post(&self.url)
            .header("content-type", post.content_type)
            .header("user-agent", "GitHub-Hookshot/044aadd")
            .header("x-github-event", post.event)
            .header("x-github-delivery", post.guid)
            .header("x-github-hook-id", "292430182")
            .header("x-hub-signature-256", signature)
            .body(Full::new(post.body))
            .expect("a request");
        let response = self.client.request(request).await.map_err(|error| with_causes(&error))?;
        let status = response.status();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { status, retry_after, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }
}

/// The error and what it came of.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

impl Answer {
    /// The id of a delivery that was accepted, which it must have been.
    #[track_caller]
    pub fn accepted(&self) -> DeliveryId {
        assert_eq!(self.status, StatusCode::ACCEPTED, "{}", self.body);
        assert_eq!(self.body["status"], "accepted");
        self.id()
    }

    /// The id of the delivery this one repeats, which it must.
    #[track_caller]
    pub fn duplicate(&self) -> DeliveryId {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        assert_eq!(self.body["status"], "duplicate");
        self.id()
    }

    /// Refused with this status and code, which it must have been.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
    }

    #[track_caller]
    fn id(&self) -> DeliveryId {
        self.body["delivery_id"].as_str().and_then(|id| id.parse().ok()).expect("a delivery id")
    }
}

/// A random id of the shape GitHub uses.
pub fn fresh_guid() -> String {
    let bits = fastrand::u128(..);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `payload=` and the document, percent-encoded as GitHub does: everything but unreserved characters, spaces as `+`.
pub fn form_encoded(document: &[u8]) -> Bytes {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut form = Vec::with_capacity(document.len() * 3 / 2 + 8);
    form.extend_from_slice(b"payload=");
    for &byte in document {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => form.push(byte),
            b' ' => form.push(b'+'),
            _ => form.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    form.into()
}
