//! What can be said about the pipeline. One type is one fact is one metric and one log line; nothing else in the pipeline logs or counts.
//!
//! A fact never holds a body, a secret or a signature. What its metric, its line and its live event are is in `telling`; what streams do is
//! in `streams`, whole, and what becomes of messages nobody believes in `rejected`.

mod rejected;
mod streams;
mod telling;

use std::time::Duration;

pub use rejected::MessageRejected;
pub use streams::{StreamConnected, StreamFailed, StreamPublished};

use crate::{
    delivery::{DeliveryId, Destination, Digest, LegId, PluginName, SourceId, TenantId},
    ledger::Refund,
};

/// An authentic delivery is on disk.
#[derive(Clone, Debug)]
pub struct DeliveryAccepted {
    /// Its id.
    pub id: DeliveryId,
    /// The provider's id.
    pub provider_id: String,
    /// Whose.
    pub tenant: TenantId,
    /// From which source.
    pub source: SourceId,
    /// Event name.
    pub event: String,
    /// How many plugins will run because of it; 0 is unrouted.
    pub legs: usize,
    /// From the first byte of the head to the answer.
    pub took: Duration,
}

/// An authentic delivery is already in hand or done.
#[derive(Clone, Debug)]
pub struct DeliveryDuplicate {
    /// Its id.
    pub id: DeliveryId,
    /// Whose.
    pub tenant: TenantId,
    /// From which source.
    pub source: SourceId,
    /// From the first byte of the head to the answer.
    pub took: Duration,
}

/// A call was refused at the door. Lines are sampled: a stranger must not be able to fill the log.
#[derive(Clone, Debug)]
pub struct DeliveryRefused {
    /// The refusal's slug.
    pub code: &'static str,
    /// Known tenant and source, where the path named such.
    pub tenant: Option<TenantId>,
    /// Known source.
    pub source: Option<SourceId>,
    /// The path that was asked for, without a query: a stranger's words, shortened and harmless.
    pub path: String,
    /// Who asked, as far as trusted proxies vouch for it; a v6 address is its /64.
    pub client: std::net::IpAddr,
    /// The provider's id of the delivery, where the call says one: a stranger's words, shortened and harmless.
    pub provider_id: Option<String>,
    /// From the first byte of the head to the answer.
    pub took: Duration,
}

/// A run ended and its leg is settled.
#[derive(Clone, Debug)]
pub struct AttemptFinished {
    /// Which leg.
    pub leg: LegId,
    /// Whose.
    pub tenant: TenantId,
    /// From which source.
    pub source: SourceId,
    /// Event name.
    pub event: String,
    /// 1-based.
    pub attempt: u32,
    /// Outcome slug.
    pub outcome: &'static str,
    /// In words.
    pub detail: String,
    /// Settlement slug.
    pub settlement: &'static str,
    /// Which version ran.
    pub digest: Option<Digest>,
    /// Fuel used.
    pub fuel: u64,
    /// Memory peak.
    pub memory_peak_bytes: u64,
    /// The run itself.
    pub took: Duration,
    /// From receipt to settlement, where the leg is settled now.
    pub age: Option<Duration>,
    /// What it asked of the host, summed up.
    pub host_calls: Vec<HostCallTally>,
}

/// How often a run made one host call with one kind of answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCallTally {
    /// `kv.get`, `once.begin`, …
    pub call: String,
    /// `ok` or `error`.
    pub result: &'static str,
    /// How often.
    pub count: u64,
}

/// A run ended and its settlement changed nothing; the leg is somebody else's, or runs again uncounted.
#[derive(Clone, Debug)]
pub struct SettlementVoid {
    /// Which leg.
    pub leg: LegId,
    /// Whose.
    pub tenant: TenantId,
    /// 1-based.
    pub attempt: u32,
    /// `conflict` (a value it read has changed), `stale` (the lease had passed on) or `unavailable` (the queue did not take it).
    pub cause: &'static str,
    /// In words.
    pub detail: String,
}

/// A plugin version serves from now on.
#[derive(Clone, Debug)]
pub struct PluginSwapped {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub plugin: PluginName,
    /// The version.
    pub digest: Digest,
    /// The one before.
    pub before: Option<Digest>,
    /// From the first sight of the files to the swap.
    pub took: Duration,
}

/// An earlier version of a plugin serves again.
#[derive(Clone, Debug)]
pub struct PluginRolledBack {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub plugin: PluginName,
    /// The version that was left.
    pub from: Option<Digest>,
    /// The version that serves again.
    pub to: Digest,
    /// `operator` or `watch`.
    pub cause: &'static str,
    /// In words.
    pub reason: String,
    /// What the version that was left has given back.
    pub refund: Refund,
}

/// The breaker of a version has moved.
#[derive(Clone, Debug)]
pub struct PluginBreaker {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub plugin: PluginName,
    /// The version.
    pub digest: Digest,
    /// `open`, `half_open`, `closed` or `crashed`.
    pub state: &'static str,
    /// Deliveries that faulted in a row, as far as is counted.
    pub faults: usize,
}

/// The circuit to a server that a tenant's plugins call has moved.
#[derive(Clone, Debug)]
pub struct UpstreamCircuit {
    /// Whose.
    pub tenant: TenantId,
    /// Which server.
    pub destination: Destination,
    /// `open`, `half_open`, `recovering` or `closed`.
    pub state: &'static str,
}

/// The files of a plugin were not taken; what served before still does.
#[derive(Clone, Debug)]
pub struct PluginRefused {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub plugin: PluginName,
    /// The refusal's slug.
    pub code: &'static str,
    /// In words.
    pub reason: String,
}

/// A plugin's files are gone; it routes no more and its open legs are parked.
#[derive(Clone, Debug)]
pub struct PluginRemoved {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub plugin: PluginName,
}

/// The settings files were read again and taken, or not.
#[derive(Clone, Debug, Default)]
pub struct SettingsReloaded {
    /// What counts now, and did not before.
    pub taken: Vec<String>,
    /// Problems found; what was before goes on.
    pub problems: Vec<String>,
    /// What counts after a restart only.
    pub restart: Vec<String>,
}

/// Somebody asks the admin listener with a wrong token, or none. Told once a minute of each address.
#[derive(Clone, Debug)]
pub struct AdminTokenRefused {
    /// The other end of the connection.
    pub address: std::net::IpAddr,
}
