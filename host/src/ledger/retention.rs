//! Forgetting what is old: bounded batches between other work, and only what nobody can need any more.
//!
//! Eligible is a delivery of which this host has no leg to run (one that RabbitMQ keeps comes with its document), whose last settlement is older
//! than `retain_settled`, whose dead legs, where it has any, died longer ago than `retain_dead`, and which no stream that is followed still has
//! before it: for those it waits `retain_unstreamed` more, and what goes unread even then is counted as that stream's gap. A delivery that no
//! plugin wanted goes after `retain_unrouted`, and its id with it: nothing ran, so when it is sent again it is a new one. The committer checks
//! each one again in the transaction that deletes it. While wall and monotonic time
//! have drifted apart since the start, nothing is deleted: a clock set a year ahead would make everything look old.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Mutex;

use super::{
    LedgerError, Shared,
    committer::Tx,
    cursors, kv, offer,
    quota::AtStoredBytesMax,
    readers::READ_MAX,
    removed, rows,
    schedule::{Change, Place},
    stored::{self, ID_BYTES, weight},
};
use crate::delivery::{LegState, TenantId, Timestamp};

/// Deliveries found in one read.
const BATCH: i64 = 200;
/// Deliveries deleted at once. Each costs the committer more than a tenth of a millisecond, and whoever offers meanwhile waits.
const DELETED_MAX: usize = 25;
/// Deliveries looked at in one read.
const WINDOW: i64 = 2000;
/// After all of a tenant's deliveries were looked at and too few could go: when to look again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How far wall and monotonic time may drift apart.
const DRIFT_MAX: Duration = Duration::from_mins(1);
/// Ids, and values, forgotten at once.
const SWEPT_MAX: usize = 250;
/// Pages given back to the file system at once, and how often in a round.
const VACUUM_PAGES: u32 = 32;
const VACUUM_STEPS: usize = 8;

/// Before when something must have ended to be deleted.
#[derive(Clone, Copy, Debug)]
struct Cutoff {
    settled: Timestamp,
    unrouted: Timestamp,
    dead: Timestamp,
    unstreamed: Timestamp,
}

/// What a look at the next deliveries found.
#[derive(Debug)]
struct Window {
    last: Option<i64>,
    eligible: Vec<i64>,
}

/// Who drops its oldest deliveries: of each tenant one caller at a time.
#[derive(Debug, Default)]
pub(super) struct Dropping(std::sync::Mutex<HashMap<TenantId, Arc<Mutex<Looks>>>>);

/// How far a tenant's deliveries have been looked at, and when that makes sense again.
#[derive(Debug, Default)]
struct Looks {
    after: i64,
    not_before: Option<Instant>,
}

impl Dropping {
    fn of(&self, tenant: &TenantId) -> Arc<Mutex<Looks>> {
        let mut looks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(looks.entry(tenant.clone()).or_default())
    }
}

const ELIGIBLE: &str = "(d.received_ms < ?2 OR (d.leg_count = 0 AND d.received_ms < ?5)) AND NOT EXISTS (SELECT 1 FROM legs l WHERE l.seq = d.seq AND (l.state BETWEEN 0 AND 3
     OR (l.state = 6 AND l.settled_ms >= ?3) OR (l.state <> 6 AND l.settled_ms >= ?2)))
     AND (d.received_ms < ?4 OR NOT EXISTS (SELECT 1 FROM streams s WHERE s.held = 1 AND (
       (s.followed = 0 AND s.position < d.seq)
       OR (s.followed = 1 AND EXISTS (SELECT 1 FROM emits e WHERE e.seq = d.seq AND e.mark > s.position)))))";

/// One round; how many deliveries were deleted.
pub(super) async fn retain(shared: &Arc<Shared>) -> Result<usize, LedgerError> {
    let now = shared.clock.now();
    let elapsed = shared.clock.instant().saturating_duration_since(shared.opened.1);
    if !agree(shared.opened.0, now, elapsed) {
        tracing::warn!("retention_held_clocks_disagree");
        return Ok(0);
    }
    let settled = now.before(shared.settings.retain_settled);
    let unstreamed = settled.before(shared.settings.retain_unstreamed);
    let unrouted = settled.max(now.before(shared.settings.retain_unrouted));
    let cutoff = Cutoff { settled, unrouted, dead: now.before(shared.settings.retain_dead), unstreamed };
    let (mut deleted, mut missed) = (0, 0);
    let mut after = 0;
    loop {
        let window = shared.read(READ_MAX, move |conn| look(conn, after, cutoff)).await?;
        let Some(last) = window.last else { break };
        after = last;
        for some in window.eligible.chunks(DELETED_MAX) {
            let some = some.to_vec();
            let (gone, unread) = shared.write(0, move |tx| delete(tx, &some, |tx, seq| cutoff.holds(tx.conn, seq))).await?;
            deleted += gone;
            missed += unread;
        }
    }
    if missed > 0 {
        tracing::warn!(missed, "stream_gap");
    }
    while shared.write(0, sweep).await? == SWEPT_MAX {}
    removed::retain(shared).await?;
    for _ in 0..VACUUM_STEPS {
        shared.write(0, give_pages_back).await?;
    }
    Ok(deleted)
}

/// Whether the wall clock moved as far as the monotonic one since the start, give or take [`DRIFT_MAX`].
fn agree(opened: Timestamp, now: Timestamp, elapsed: Duration) -> bool {
    let expected = opened.after(elapsed);
    now.since(expected).max(expected.since(now)) <= DRIFT_MAX
}

fn look(conn: &Connection, after: i64, cutoff: Cutoff) -> rusqlite::Result<Window> {
    let snapshot = conn.unchecked_transaction()?;
    let eligible: Vec<i64> = snapshot
        .prepare_cached(&format!(
            "SELECT seq FROM (SELECT seq, received_ms, leg_count FROM deliveries WHERE seq > ?1 ORDER BY seq LIMIT ?6) d
             WHERE {ELIGIBLE} LIMIT ?7"
        ))?
        .query_map(cutoff.params(after, (WINDOW, BATCH)), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let last: Option<i64> = snapshot.query_row(
        "SELECT max(seq) FROM (SELECT seq FROM deliveries WHERE seq > ?1 ORDER BY seq LIMIT ?2)",
        params![after, WINDOW],
        |row| row.get(0),
    )?;
    // A full batch may have more behind it in the same window.
    let last = if eligible.len() == usize::try_from(BATCH).unwrap_or(0) { eligible.last().copied() } else { last };
    Ok(Window { last, eligible })
}

impl Cutoff {
    fn holds(self, conn: &Connection, seq: i64) -> rusqlite::Result<bool> {
        conn.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = ?1 AND {ELIGIBLE})"))?
            .query_row(rusqlite::params_from_iter(&self.params(seq, (0, 0))[..5]), |row| row.get(0))
    }

    /// The parameters of [`ELIGIBLE`], between what comes before and after them.
    fn params(self, first: i64, (sixth, seventh): (i64, i64)) -> [i64; 7] {
        let Self { settled, unrouted, dead, unstreamed } = self;
        [first, settled.unix_ms(), dead.unix_ms(), unstreamed.unix_ms(), unrouted.unix_ms(), sixth, seventh]
    }
}

/// Deletes those that still may go. How many were deleted, and how often a stream had not come to one of them.
fn delete(tx: &mut Tx<'_>, seqs: &[i64], may_go: impl Fn(&Tx<'_>, i64) -> rusqlite::Result<bool>) -> rusqlite::Result<(usize, usize)> {
    let (mut deleted, mut missed) = (0, 0);
    for &seq in seqs {
        if may_go(tx, seq)? && !is_here(tx, seq)? {
            missed += cursors::miss(tx, seq)?;
            delete_one(tx, seq)?;
            deleted += 1;
        }
    }
    Ok((deleted, missed))
}

/// Whether a leg of it that is RabbitMQ's has just come here to be run.
fn is_here(tx: &Tx<'_>, seq: i64) -> rusqlite::Result<bool> {
    let legs = rows::legs(tx.conn, seq)?;
    Ok(legs.iter().any(|leg| tx.shared.schedule.place((seq.cast_unsigned(), leg.queue), leg.state) != Place::Nowhere))
}

fn delete_one(tx: &mut Tx<'_>, seq: i64) -> rusqlite::Result<()> {
    for leg in rows::legs(tx.conn, seq)? {
        match leg.state {
            LegState::Acked => tx.counters.gone_legs[0] += 1,
            LegState::Skipped => tx.counters.gone_legs[1] += 1,
            LegState::Dead => {
                tx.counters.gone_legs[2] += 1;
                tx.changes.push(Change::Dead { queue: leg.queue, by: -1 });
            }
            LegState::Discarded => tx.counters.gone_legs[3] += 1,
            LegState::Relayed => {
                tx.counters.gone_legs[4] += 1;
                tx.changes.push(Change::Relayed { queue: leg.queue, by: -1 });
            }
            LegState::Waiting | LegState::Leased | LegState::Retry | LegState::Parked => {}
        }
    }
    tx.counters.gone += 1;
    let (tenant, body_sha256, leg_count): (TenantId, [u8; 32], i64) = tx
        .conn
        .prepare_cached("SELECT tenant, body_sha256, leg_count FROM deliveries WHERE seq = ?1")?
        .query_row([seq], |row| Ok((rows::parsed(row, 0)?, row.get(1)?, row.get(2)?)))?;
    let mut bytes = -stored::of_delivery(tx.conn, seq)?;
    let expires_ms = tx.now.after(tx.shared.settings.retain_dedup.max(Duration::from_hours(72))).unix_ms();
    let id = "(SELECT id FROM deliveries WHERE seq = ?1)";
    if leg_count == 0 {
        tx.execute(&format!("DELETE FROM dedup WHERE id = {id} AND seq = ?1"), [seq])?;
    } else {
        let sql = format!("UPDATE dedup SET expires_ms = ?2, tenant = ?3 WHERE id = {id} AND tenant IS NULL");
        bytes += weight(ID_BYTES * tx.execute(&sql, params![seq, expires_ms, tenant.as_str()])?);
    }
    let outlive = tx.execute(
        "UPDATE seen_bodies SET expires_ms = ?2, tenant = ?4 WHERE body = ?1 AND seq = ?3 AND tenant IS NULL",
        params![offer::body_key(tenant.as_str(), &body_sha256), expires_ms, seq, tenant.as_str()],
    )?;
    tx.store(&tenant, bytes + weight(ID_BYTES * outlive));
    for table in ["legs", "tried", "attempts", "bodies", "once", "emits", "adopted", "deliveries"] {
        tx.execute(&format!("DELETE FROM {table} WHERE seq = ?1"), [seq])?;
    }
    Ok(())
}

/// Forgets some ids and values that expired: of each kind so many at most, [`SWEPT_MAX`] where there may be more.
fn sweep(tx: &mut Tx<'_>) -> rusqlite::Result<usize> {
    let mut swept = kv::sweep(tx, SWEPT_MAX)?;
    for (table, key) in [("dedup", "id"), ("seen_bodies", "body")] {
        let gone: Vec<Option<String>> = tx
            .conn
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE expires_ms IS NOT NULL AND expires_ms <= ?1 LIMIT ?2)
                 RETURNING tenant"
            ))?
            .query_map(params![tx.now.unix_ms(), SWEPT_MAX.cast_signed()], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for tenant in gone.iter().flatten().filter_map(|tenant| tenant.parse().ok()) {
            tx.store(&tenant, -weight(ID_BYTES));
        }
        swept = swept.max(gone.len());
    }
    Ok(swept)
}

/// Where a tenant's stored bytes are nearly used up and its operator wants the oldest to go: deletes some of them, until there is room for the
/// `bytes` that are about to come. Each caller does a little more than that, until an eighth is free. What a stream has not come to is its gap.
pub(super) async fn make_room(shared: &Arc<Shared>, tenant: &TenantId, bytes: usize) {
    // Once: what is dropped is free for what comes, but not for the file system, so that a short disk looks shorter with each.
    let share = shared.stored_most_now(tenant);
    // How much too much there is where that part of the share is to be free.
    let over = |part: u64| {
        let used = shared.stored.of(tenant).0.saturating_add(weight(bytes));
        if bytes as u64 > share { 0 } else { used.saturating_sub_unsigned(share - share / part).max(0) }
    };
    let nothing = u64::MAX;
    if shared.quotas.of(tenant).at_stored_bytes_max != AtStoredBytesMax::DropOldest || over(16) == 0 {
        return;
    }
    let looks = shared.dropping.of(tenant);
    let mut looks = looks.lock().await;
    if looks.not_before.is_some_and(|instant| shared.clock.instant() < instant) {
        return;
    }
    let mut dropped = 0;
    while over(nothing) > 0 || (dropped == 0 && over(8) > 0) {
        match drop_some(shared, tenant, (looks.after, over(8))).await {
            Ok((_, None)) => {
                // There is nothing more to drop. What was passed over may be settled by now, but nobody looks for that at every delivery.
                *looks = Looks { after: 0, not_before: Some(shared.clock.instant() + LOOK_AGAIN) };
                break;
            }
            Ok((gone, Some(last))) => {
                dropped += gone;
                looks.after = last;
            }
            Err(error) => {
                tracing::warn!(%tenant, %error, "oldest_not_dropped");
                break;
            }
        }
    }
    drop(looks);
    if dropped > 0 {
        tracing::warn!(%tenant, dropped, "oldest_dropped");
    }
}

/// Drops the next that may go, until so many bytes are gone or a few of them: how many they were, and up to where they were looked at; none
/// at the end.
async fn drop_some(shared: &Arc<Shared>, tenant: &TenantId, (after, enough): (i64, i64)) -> Result<(usize, Option<i64>), LedgerError> {
    let owner = tenant.clone();
    let Window { last, eligible } = shared.read(READ_MAX, move |conn| look_of_tenant(conn, after, &owner)).await?;
    let (found, last_found, owner) = (eligible.len(), eligible.last().copied(), tenant.clone());
    let may_go = move |tx: &Tx<'_>, seq| Ok(tx.tally.of(&owner).stored > -enough && is_droppable(tx.conn, seq)?);
    let (gone, missed) = shared.write(0, move |tx| delete(tx, &eligible, may_go)).await?;
    if missed > 0 {
        tracing::warn!(missed, "stream_gap");
    }
    // Those that need not go yet are looked at again.
    let last = if gone > 0 && gone < found {
        Some(after)
    } else if found == DELETED_MAX {
        last_found
    } else {
        last
    };
    Ok((gone, last))
}

/// What may go before its time: what is settled or had no leg. A dead letter waits for a person.
const DROPPABLE: &str = "NOT EXISTS (SELECT 1 FROM legs l WHERE l.seq = d.seq AND (l.state BETWEEN 0 AND 3 OR l.state = 6))";

fn is_droppable(conn: &Connection, seq: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = ?1 AND {DROPPABLE})"))?
        .query_row([seq], |row| row.get(0))
}

fn look_of_tenant(conn: &Connection, after: i64, tenant: &TenantId) -> rusqlite::Result<Window> {
    let snapshot = conn.unchecked_transaction()?;
    let last: Option<i64> = snapshot
        .prepare_cached("SELECT max(seq) FROM (SELECT seq FROM deliveries WHERE seq > ?1 ORDER BY seq LIMIT ?2)")?
        .query_row(params![after, WINDOW], |row| row.get(0))
        .optional()?
        .flatten();
    let eligible = snapshot
        .prepare_cached(&format!(
            "SELECT seq FROM deliveries d WHERE seq > ?1 AND seq <= ?2 AND tenant = ?3 AND {DROPPABLE} ORDER BY seq LIMIT ?4"
        ))?
        .query_map(params![after, last.unwrap_or(after), tenant.as_str(), DELETED_MAX.cast_signed()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(Window { last, eligible })
}

fn give_pages_back(tx: &mut Tx<'_>) -> rusqlite::Result<()> {
    // Moving pages is no change of a row, and a group without changes is not committed.
    tx.execute("UPDATE counters SET commits = commits WHERE id = 1", [])?;
    tx.conn.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))
}
