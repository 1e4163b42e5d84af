//! What people and scripts are shown: the JSON objects of the admin API, which `--json` prints unchanged.
//!
//! These types are a promise to the outside (`docs` and scripts rely on the names), so they stand apart from the values the pipeline uses.
//! Times are RFC 3339 in UTC, durations end in `_ms`, sizes in `_bytes`.

mod host_call;
mod plugin;
mod retry;

use serde::{Deserialize, Serialize};

pub use self::{
    host_call::{Blob, HostCall, Recorded},
    plugin::{PassedOverView, PluginRefusalView, PluginVersionView},
    retry::{CircuitView, RetryView},
};
use super::{DeliveryId, LegState, PluginName, SourceId, StreamName, TenantId, Timestamp, report::AdmissionReport};

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, newest first where time orders them.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// The state of a delivery as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// A leg is still open.
    Waiting,
    /// Every leg is acked, skipped or discarded.
    Settled,
    /// No leg is open and one is dead.
    Dead,
    /// No plugin subscribed to it.
    Unrouted,
}

impl DeliveryStatus {
    /// The status's one name.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Settled => "settled",
            Self::Dead => "dead",
            Self::Unrouted => "unrouted",
        }
    }

    /// The status that follows from the legs' states.
    #[must_use]
    pub fn of(states: &[LegState]) -> Self {
        if states.is_empty() {
            Self::Unrouted
        } else if states.iter().any(|state| state.is_open()) {
            Self::Waiting
        } else if states.contains(&LegState::Dead) {
            Self::Dead
        } else {
            Self::Settled
        }
    }
}

/// A delivery and its legs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Hookyard's id.
    pub delivery_id: DeliveryId,
    /// The provider's id (`X-GitHub-Delivery`).
    pub provider_delivery_id: String,
    /// Whose.
    pub tenant: TenantId,
    /// From which source.
    pub source: SourceId,
    /// Event name.
    pub event: String,
    /// The document's `action`.
    pub action: Option<String>,
    /// The document's `repository.full_name`.
    pub repository: Option<String>,
    /// When it was received.
    pub received_at: Timestamp,
    /// Position in this ledger.
    pub sequence: u64,
    /// Size of the document.
    pub body_bytes: u64,
    /// The same id came before with another body.
    pub id_reused: bool,
    /// The same body came before under another id or event.
    pub body_seen_before: bool,
    /// Follows from the legs.
    pub status: DeliveryStatus,
    /// One a plugin.
    pub legs: Vec<LegView>,
    /// The document, as text; only where one delivery is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// How the sender encoded the body; only where one delivery is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The kept request headers, which the plugins see; only where one delivery is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// One leg.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LegView {
    /// Which plugin.
    pub plugin: PluginName,
    /// Where it stands.
    pub state: LegState,
    /// Counted attempts of this generation.
    pub attempts: u32,
    /// Raised by every decided re-run.
    pub generation: u32,
    /// The last attempt's outcome slug.
    pub outcome: Option<String>,
    /// The last attempt's detail, or the dead-letter reason in words.
    pub reason: Option<String>,
    /// The plugin version of the last attempt.
    pub digest: Option<String>,
    /// When it runs again, where it waits for a time.
    pub due_at: Option<Timestamp>,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
    /// Attempts with logs; only where one delivery or dead letter is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptView>,
}

/// One attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptView {
    /// 1-based within its generation.
    pub attempt: u32,
    /// Which generation.
    pub generation: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: f64,
    /// Verdict or fault slug.
    pub outcome: String,
    /// Settlement slug.
    pub settlement: String,
    /// In words.
    pub detail: String,
    /// Fuel used; the whole budget where the run trapped.
    pub fuel: u64,
    /// Largest linear memory in all.
    pub memory_peak_bytes: u64,
    /// The plugin version.
    pub digest: Option<String>,
    /// What the plugin logged.
    pub logs: Vec<LogLine>,
    /// What it asked of the host, in order.
    pub host_calls: Vec<HostCall>,
    /// The delay its `retry` asked for, where it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// One line a plugin logged, cut to the cap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The message.
    pub message: String,
    /// Structured fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

/// A dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetterView {
    /// `<delivery_id>.<plugin>`.
    pub id: String,
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The provider's id.
    pub provider_delivery_id: String,
    /// Whose.
    pub tenant: TenantId,
    /// From which source.
    pub source: SourceId,
    /// Event name.
    pub event: String,
    /// The document's `action`.
    pub action: Option<String>,
    /// Which plugin.
    pub plugin: PluginName,
    /// The dead-letter reason's slug.
    pub reason: String,
    /// In words.
    pub detail: String,
    /// Counted attempts.
    pub attempts: u32,
    /// Generation that died.
    pub generation: u32,
    /// When it died.
    pub died_at: Timestamp,
    /// Attempts with logs; only where one dead letter is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptView>,
}

/// An event a plugin emitted, visible once its settlement is synced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EmitView {
    /// `<delivery_id>.<plugin>.<index>`: the same for the same decision, so consumers can drop repeats.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// Which plugin.
    pub plugin: PluginName,
    /// The delivery it came of.
    pub delivery_id: DeliveryId,
    /// The plugin's name for it, the last part of the routing key `emit.<tenant>.<plugin>.<name>`.
    pub name: String,
    /// Media type of the body.
    pub content_type: String,
    /// The body as text.
    pub body: String,
    /// When it was committed.
    pub emitted_at: Timestamp,
}

/// A loaded or refused plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginView {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: PluginName,
    /// `active`, `compiling` (the first version is on its way), `refused` (no version serves), `paused`, `broken` (its breaker, or two
    /// deaths of the host, have parked its queue) or `slowed` (a server it calls is away).
    pub status: String,
    /// The version that serves.
    pub digest: Option<String>,
    /// Since when it serves.
    pub since: Option<Timestamp>,
    /// Since when a newer version is on its way: waits for its turn, is compiled, is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiling_since: Option<Timestamp>,
    /// Sources it subscribes to.
    pub sources: Vec<SourceId>,
    /// Events it subscribes to.
    pub events: Vec<String>,
    /// The world it was built for.
    pub world: Option<String>,
    /// The host interfaces it imports.
    pub imports: Vec<String>,
    /// Size of the component.
    pub component_bytes: Option<u64>,
    /// The last refusal, where the newest files on disk do not serve.
    pub refusal: Option<PluginRefusalView>,
    /// Its breaker; none where no version serves.
    #[serde(default)]
    pub breaker: Option<BreakerView>,
    /// Why its queue is parked, where the host has died twice in its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<String>,
    /// Servers it calls that are away, or have come back just now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub circuits: Vec<CircuitView>,
    /// When its legs run again after a failure; none where no version serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryView>,
    /// While it is compared with the version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchView>,
    /// What the examination of the version that serves found; only where one plugin is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<AdmissionReport>,
    /// What the version that serves names and nobody has, most likely misspelt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The versions that are kept, the one that served last first; only where one plugin is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<PluginVersionView>,
    /// What whoever rolled back should know of the version that serves now; only in that answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// The breaker of the version that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerView {
    /// `closed`, `open` (the queue is parked), `half_open` (one run at a time, to see) or `crashed` (parked: the host has died in its runs).
    pub state: String,
    /// Deliveries that faulted in a row, as far as is counted.
    pub faults: usize,
    /// When it is tried again, where it is open.
    pub until: Option<Timestamp>,
}

/// A version that is compared with the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchView {
    /// Until when.
    pub until: Timestamp,
    /// Deliveries it has handled.
    pub handled: usize,
    /// Deliveries it has failed on.
    pub failed: usize,
    /// Of them given to both versions, without effects.
    pub tried: usize,
    /// Of those tried, on how many the version before did better.
    pub better_before: usize,
}

/// The legs of one plugin by state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueView {
    /// Whose.
    pub tenant: TenantId,
    /// Which plugin.
    pub plugin: PluginName,
    /// Ready to run.
    pub waiting: u64,
    /// Running.
    pub leased: u64,
    /// Waiting for a time.
    pub retry: u64,
    /// Waiting for the plugin.
    pub parked: u64,
    /// In the keeping of RabbitMQ.
    #[serde(default)]
    pub relayed: u64,
    /// Dead letters.
    pub dead: u64,
}

/// A stream and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamView {
    /// Its name.
    pub name: StreamName,
    /// Where it goes: `redis`; none where it is configured no more and only its cursor is kept.
    pub kind: Option<String>,
    /// `deliveries` or `emits`.
    pub follows: String,
    /// Whether it has a connection.
    pub connected: bool,
    /// Why it has none, in words.
    pub failure: Option<String>,
    /// The last position that was published or passed over.
    pub position: u64,
    /// Positions between it and the newest.
    pub lag: u64,
    /// Published since the host started.
    pub published: u64,
    /// How many it will never publish: deleted by retention before it came to them, or unreadable.
    pub gap: u64,
}

impl Serialize for DeliveryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeliveryId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
