//! What a request head says, checked before a byte of the body is asked for.

use http::{HeaderMap, Method, header, request::Parts};

use super::Settings;
use crate::{
    delivery::{BodyEncoding, Header, Refusal, is_event},
    signature::SignatureHeader,
};

/// Headers a plugin may see. An allow-list, so that no signature or credential is ever kept by mistake.
const KEPT: [&str; 9] = [
    "user-agent",
    "content-type",
    "x-github-event",
    "x-github-delivery",
    "x-github-hook-id",
    "x-github-hook-installation-target-type",
    "x-github-hook-installation-target-id",
    "x-github-enterprise-host",
    "x-github-enterprise-version",
];

/// Where GitHub says its own id of a delivery.
pub(super) const PROVIDER_ID: &str = "X-GitHub-Delivery";

/// The names in a webhook's path, as they stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) source: &'a str,
}

/// The body as the head announces it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) encoding: BodyEncoding,
    pub(super) bytes_max: usize,
}

/// The provider's own words about a delivery; none of them is signed.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) event: String,
    pub(super) provider_id: String,
    pub(super) hook_id: Option<String>,
}

impl<'a> Path<'a> {
    /// The names in `/webhooks/{source}` or `/t/{tenant}/webhooks/{source}`. One slash at the end says nothing: proxies and people add it.
    pub(super) fn parse(path: &'a str) -> Result<Self, Refusal> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let (tenant, source) = match path.strip_prefix("/t/") {
            Some(rest) => {
                let (tenant, source) = rest.split_once("/webhooks/").ok_or(Refusal::RouteNotFound)?;
                (Some(tenant), source)
            }
            None => (None, path.strip_prefix("/webhooks/").ok_or(Refusal::RouteNotFound)?),
        };
        let whole = |name: &str| !name.is_empty() && !name.contains('/');
        if whole(source) && tenant.is_none_or(whole) { Ok(Self { tenant, source }) } else { Err(Refusal::RouteNotFound) }
    }
}

impl Shape {
    /// Checks method, content type, content encoding and the declared size, where there is one.
    pub(super) fn read(head: &Parts, declared_bytes: Option<u64>, settings: &Settings) -> Result<Self, Refusal> {
        if head.method != Method::POST {
            return Err(Refusal::MethodNotAllowed("POST"));
        }
        let (encoding, bytes_max) = match encoding(&head.headers)? {
            BodyEncoding::Json => (BodyEncoding::Json, settings.json_bytes_max),
            BodyEncoding::Form => (BodyEncoding::Form, settings.form_bytes_max),
        };
        if head.headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(Refusal::ContentEncodingUnsupported);
        }
        if declared_bytes.is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(Refusal::BodyTooLarge { bytes_max });
        }
        Ok(Self { encoding, bytes_max })
    }
}

impl Meta {
    /// Reads the headers a delivery must have, and the hook id it may have.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let id = |text: &str| text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        let hook = |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_digit());
        Ok(Self {
            event: only(headers, "X-GitHub-Event", is_event)?.ok_or(Refusal::HeaderInvalid("X-GitHub-Event"))?,
            provider_id: only(headers, PROVIDER_ID, id)?.ok_or(Refusal::HeaderInvalid(PROVIDER_ID))?,
            hook_id: only(headers, "X-GitHub-Hook-ID", hook)?,
        })
    }
}

/// The signature header: there once, and well formed.
pub(super) fn signature(headers: &HeaderMap) -> Result<SignatureHeader, Refusal> {
    let mut lines = headers.get_all("x-hub-signature-256").iter();
    let Some(line) = lines.next() else {
        // A sender that signs has a secret: to be told to set one would send its operator the wrong way.
        let signs_with_sha1 = headers.contains_key("x-hub-signature");
        return Err(if signs_with_sha1 { Refusal::SignatureSha1Only } else { Refusal::SignatureMissing });
    };
    if lines.next().is_some() {
        return Err(Refusal::SignatureMalformed);
    }
    SignatureHeader::parse(line.as_bytes()).map_err(|_| Refusal::SignatureMalformed)
}

/// The allow-listed headers of a call that are text.
pub(super) fn kept(headers: &HeaderMap) -> Vec<Header> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    KEPT.iter().filter_map(|name| Some(Header { name: (*name).to_owned(), value: value(name)? })).collect()
}

fn encoding(headers: &HeaderMap) -> Result<BodyEncoding, Refusal> {
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(Refusal::UnsupportedMediaType) };
    let essence = line.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    [BodyEncoding::Json, BodyEncoding::Form]
        .into_iter()
        .find(|encoding| essence.eq_ignore_ascii_case(encoding.content_type()))
        .ok_or(Refusal::UnsupportedMediaType)
}

/// The value of a header that may stand there once; not empty and of the form `is_valid` says.
fn only(headers: &HeaderMap, name: &'static str, is_valid: impl Fn(&str) -> bool) -> Result<Option<String>, Refusal> {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let text = line.to_str().map_err(|_| Refusal::HeaderInvalid(name))?;
    if text.is_empty() || !is_valid(text) || lines.next().is_some() {
        return Err(Refusal::HeaderInvalid(name));
    }
    Ok(Some(text.to_owned()))
}
