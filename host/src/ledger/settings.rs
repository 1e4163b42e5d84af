//! How the ledger keeps house: its settings, with their defaults.

use std::{path::PathBuf, time::Duration};

use crate::shares::Shares;

/// How the ledger keeps house.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the database, locked for this process.
    pub data_dir: PathBuf,
    /// Items one commit group takes at most.
    pub group_items_max: usize,
    /// Bytes one commit group takes at most.
    pub group_bytes_max: usize,
    /// Size of the write-ahead log from which the committer checkpoints between groups.
    pub wal_bytes_max: u64,
    /// Bytes a second that the runs of one tenant may write: records, values and emits.
    pub tenant_settled_bytes_per_s_max: u64,
    /// Below this much free space nothing is accepted or leased.
    pub free_bytes_min: u64,
    /// Bytes of fresh bodies kept in memory for the worker.
    pub body_cache_bytes_max: usize,
    /// How long settled deliveries are kept.
    pub retain_settled: Duration,
    /// How much longer than that a delivery waits for a stream that has not published it.
    pub retain_unstreamed: Duration,
    /// How long a delivery that no plugin wanted is kept; not longer than a settled one.
    pub retain_unrouted: Duration,
    /// How long dead letters are kept.
    pub retain_dead: Duration,
    /// How long the values of a plugin are kept that has been removed.
    pub retain_removed_plugin: Duration,
    /// How long a delivery's id is remembered, at least 72 h.
    pub retain_dedup: Duration,
    /// Go on although the newest commits are missing: the operator's word (`serve --accept-loss`).
    pub accept_loss: bool,
    /// What is shared, and how much of it one holder may have.
    pub shares: Shares,
}

impl Settings {
    /// The documented defaults for a ledger in `data_dir`: groups of 256 items or 8 MiB, a write-ahead log of 64 MiB, 16 MiB
    /// a second settled for each tenant, 256 MiB kept free, 64 MiB of fresh bodies in memory, settled deliveries kept 7 days and 7 more where a stream is behind, those no plugin
    /// wanted a day, dead letters and the values of removed plugins 30 days, ids 72 hours beyond their delivery, the shares of this machine.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        const MIB: u64 = 1024 * 1024;
        const DAY: Duration = Duration::from_hours(24);
        Self {
            data_dir: data_dir.into(),
            group_items_max: 256,
            group_bytes_max: 2 * 1024 * 1024,
            wal_bytes_max: 64 * MIB,
            tenant_settled_bytes_per_s_max: 16 * MIB,
            free_bytes_min: 256 * MIB,
            body_cache_bytes_max: 64 * 1024 * 1024,
            retain_settled: DAY * 7,
            retain_unstreamed: DAY * 7,
            retain_unrouted: DAY,
            retain_dead: DAY * 30,
            retain_removed_plugin: DAY * 30,
            retain_dedup: DAY * 3,
            accept_loss: false,
            shares: Shares::default(),
        }
    }
}
