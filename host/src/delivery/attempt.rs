//! What one run leaves behind: its record, and the effects that are committed with its settlement.

use std::time::Duration;

use super::{
    Digest, Outcome, Settlement, Timestamp,
    view::{HostCall, LogLine},
};

/// The record of one run, kept with the leg.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// 1-based within the leg's generation.
    pub attempt: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// What became of the leg.
    pub settlement: Settlement,
    /// Fuel used; the whole budget where the run trapped.
    pub fuel: u64,
    /// Largest sum of linear memories, in bytes.
    pub memory_peak_bytes: u64,
    /// Which plugin version ran; none where none did.
    pub digest: Option<Digest>,
    /// What the plugin logged, capped by the runtime.
    pub logs: Vec<LogLine>,
    /// What it asked of the host, capped by the runtime.
    pub host_calls: Vec<HostCall>,
}

/// A value written by a run, `None` for a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvWrite {
    /// The key, at most 512 bytes.
    pub key: String,
    /// The value, at most 64 KiB; `None` removes the key.
    pub value: Option<Vec<u8>>,
    /// When it ceases to be, where it does.
    pub expires_at: Option<Timestamp>,
}

/// A value a run has read: the settlement is refused if it has another version by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvRead {
    /// The key.
    pub key: String,
    /// The version that was read; 0 where the key was absent.
    pub version: u64,
}

/// An event emitted by a run. Its id is `<delivery_id>.<plugin>.<index>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit {
    /// The last part of the routing key.
    pub name: String,
    /// Media type of the body.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What a run wants changed: all of it together with its settlement, or none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Versions read.
    pub kv_reads: Vec<KvRead>,
    /// Values written, one a key.
    pub kv_writes: Vec<KvWrite>,
    /// Events, in order.
    pub emits: Vec<Emit>,
}
