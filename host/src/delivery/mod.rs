//! The vocabulary: what a delivery is, who it is for, how a run of it may end.
//!
//! Every word here is used with one meaning in types, metric labels, JSON fields, log fields and documents. This module knows nothing of
//! HTTP, SQL, WebAssembly or time sources; it holds values and pure decisions, so that every other floor can speak to every other in it.

mod attempt;
mod dedup;
mod event;
mod id;
mod leg;
mod outcome;
mod refusal;
pub mod report;
mod retry;
mod settlement;
mod timestamp;
mod upstream;
pub mod view;

pub use attempt::{AttemptRecord, Effects, Emit, KvRead, KvWrite};
pub use dedup::{Dedup, LegDecision, decide};
pub use event::{ACTION_BYTES_MAX, EVENT_BYTES_MAX, PUBLISHED_EVENTS, is_action, is_event, pattern_problem};
pub use id::{DeliveryId, DeliveryKey, Digest, IdPrefix, LegId, ParseIdError, PluginName, SourceId, StreamName, TenantId};
pub use leg::LegState;
pub use outcome::{Fault, FaultKind, Outcome, Verdict};
pub use refusal::Refusal;
pub use retry::{GivenUp, RetryError, RetryPolicy, Tries, parse_time};
pub use settlement::{DeadReason, Settlement};
pub use timestamp::{ParseTimestampError, Timestamp};
pub use upstream::{Destination, Upstream};

use bytes::Bytes;

/// How the sender encoded the body. The plugin gets the JSON document in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoding {
    /// `application/json`: the document is the body.
    Json,
    /// `application/x-www-form-urlencoded` with the document in the field `payload`.
    Form,
}

impl BodyEncoding {
    /// The content type the sender declared, without parameters.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
        }
    }
}

/// A request header kept with a delivery: an allow-listed lower-case name and its value, never a signature or a credential.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Header {
    /// Lower-case header name.
    pub name: String,
    /// Header value, bounded by the listener's header cap.
    pub value: String,
}

/// One authentic, immutable, accepted call. The only thing that crosses the queue.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Derived from (tenant, source, hook id, provider's id, body hash): the same call always has the same id.
    pub id: DeliveryId,
    /// Whose delivery it is.
    pub tenant: TenantId,
    /// Which of the tenant's sources sent it.
    pub source: SourceId,
    /// The provider's own id (`X-GitHub-Delivery`), unsigned, at most 128 bytes.
    pub provider_id: String,
    /// The provider's hook id (`X-GitHub-Hook-ID`), unsigned, at most 64 bytes.
    pub hook_id: Option<String>,
    /// Event name (`X-GitHub-Event`), unsigned, at most 64 bytes of `[a-z0-9_]`.
    pub event: String,
    /// The document's top-level `action`, where it is a string of at most 64 bytes.
    pub action: Option<String>,
    /// `repository.full_name` of the document, where present.
    pub repository: Option<String>,
    /// `installation.id` of the document, where present.
    pub installation_id: Option<u64>,
    /// When the host had read and verified the whole body.
    pub received_at: Timestamp,
    /// Position among the accepted deliveries of this ledger, assigned by the commit; 0 before it.
    pub sequence: u64,
    /// How the sender encoded the body.
    pub encoding: BodyEncoding,
    /// Allow-listed headers for the plugin.
    pub headers: Vec<Header>,
    /// The exact JSON document.
    pub document: Bytes,
    /// The raw bytes the signature covers, where they differ from the document (form bodies).
    pub raw: Option<Bytes>,
    /// SHA-256 of the raw bytes.
    pub body_sha256: [u8; 32],
}

/// What the sender is told of an authentic delivery. Both are 2xx, both only after the ledger has synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// 202: stored; every matching plugin will run.
    Accepted {
        /// The delivery's id.
        id: DeliveryId,
        /// Its event name.
        event: String,
        /// How many legs will run because of this call; 0 means it is kept as unrouted.
        legs: usize,
    },
    /// 200: this very delivery is already in hand or done; nothing runs because of this call.
    Duplicate {
        /// The id of the delivery that is already here.
        id: DeliveryId,
    },
}
