//! Why there is no delivery. Nothing is kept of a refused call; `docs/failures.md` has an entry for every slug.

use std::{fmt, time::Duration};

/// Why a call was refused at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No route has this path.
    RouteNotFound,
    /// The route exists, the method does not; the value is the `Allow` header.
    MethodNotAllowed(&'static str),
    /// The source takes deliveries over TLS only.
    HttpsRequired,
    /// Neither `application/json` nor a form.
    UnsupportedMediaType,
    /// The body came compressed; GitHub never does this.
    ContentEncodingUnsupported,
    /// The body is, or says it is, larger than the cap for its encoding.
    BodyTooLarge {
        /// The cap in bytes.
        bytes_max: usize,
    },
    /// The signature header is absent.
    SignatureMissing,
    /// The signature header is absent, and the older one with SHA-1 is there.
    SignatureSha1Only,
    /// The signature header is not `sha256=` and 64 hexadecimal digits, or stands there twice.
    SignatureMalformed,
    /// No active secret of the source gives this signature; also the answer for an unknown tenant or source.
    SignatureMismatch,
    /// A header the scheme needs is absent, empty, repeated or not well formed.
    HeaderInvalid(&'static str),
    /// This address failed too often lately.
    TooManyFailures {
        /// When to try again.
        retry_after: Duration,
    },
    /// The address, source or installation sends more than its rate.
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// The body did not arrive in time.
    BodyTimeout,
    /// The connection ended before the body did.
    BodyIncomplete,
    /// No memory left for more bodies at this moment.
    BodyBudgetExhausted,
    /// All connections are at work; this one has one of the places for probes.
    ConnectionsExhausted,
    /// Authentic, but not JSON.
    BodyNotJson,
    /// A form without exactly one field `payload`.
    FormPayloadInvalid,
    /// The document is one of another event than the header names.
    EventMismatch,
    /// The same body came before under another id, and the source refuses such replays.
    BodyReplayed,
    /// The tenant has more waiting bytes than its quota.
    TenantQuotaExceeded,
    /// The tenant has stored as many bytes as it may.
    TenantStorageFull,
    /// The host is starting, or stopping.
    NotReady,
    /// The data disk is nearly full.
    StorageFull,
    /// The queue did not take it before the deadline; it is certain that nothing was kept.
    AcceptTimeout,
    /// The queue had taken it when the deadline passed; whether it is kept is unknown, and sending it again is safe.
    OutcomeUnknown,
    /// The queue is not there.
    QueueUnavailable,
}

impl Refusal {
    /// Every slug, in the order of the enum; the documents are checked against it.
    pub const SLUGS: [&'static str; 28] = [
        "route_not_found",
        "method_not_allowed",
        "https_required",
        "unsupported_media_type",
        "content_encoding_unsupported",
        "body_too_large",
        "signature_missing",
        "signature_sha1_only",
        "signature_malformed",
        "signature_mismatch",
        "header_invalid",
        "too_many_failures",
        "rate_limited",
        "body_timeout",
        "body_incomplete",
        "body_budget_exhausted",
        "connections_exhausted",
        "body_not_json",
        "form_payload_invalid",
        "event_mismatch",
        "body_replayed",
        "tenant_quota_exceeded",
        "tenant_storage_full",
        "not_ready",
        "storage_full",
        "accept_timeout",
        "outcome_unknown",
        "queue_unavailable",
    ];

    /// The refusal's one name: the `code` of the answer and the label of the metric.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        match self {
            Self::RouteNotFound => "route_not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::HttpsRequired => "https_required",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::ContentEncodingUnsupported => "content_encoding_unsupported",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureSha1Only => "signature_sha1_only",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignatureMismatch => "signature_mismatch",
            Self::HeaderInvalid(_) => "header_invalid",
            Self::TooManyFailures { .. } => "too_many_failures",
            Self::RateLimited { .. } => "rate_limited",
            Self::BodyTimeout => "body_timeout",
            Self::BodyIncomplete => "body_incomplete",
            Self::BodyBudgetExhausted => "body_budget_exhausted",
            Self::ConnectionsExhausted => "connections_exhausted",
            Self::BodyNotJson => "body_not_json",
            Self::FormPayloadInvalid => "form_payload_invalid",
            Self::EventMismatch => "event_mismatch",
            Self::BodyReplayed => "body_replayed",
            Self::TenantQuotaExceeded => "tenant_quota_exceeded",
            Self::TenantStorageFull => "tenant_storage_full",
            Self::NotReady => "not_ready",
            Self::StorageFull => "storage_full",
            Self::AcceptTimeout => "accept_timeout",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::QueueUnavailable => "queue_unavailable",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}
