//! Forgetting what is old: bounded batches between other work, and only what nobody can need any more.
//!
//! Eligible is a delivery of which this host has no leg to run (one that RabbitMQ keeps comes with its document), whose last settlement is older
//! than `retain_settled`, whose dead legs, where it has any, died longer ago than `retain_dead`, and which no stream that is followed still has
//! before it: for those it waits `retain_unstreamed` more, and what goes unread even then is counted as that stream's gap. The committer checks
//! each one again in the transaction that deletes it. While wall and monotonic time
//! have drifted apart since the start, nothing is deleted: a clock set a year ahead would make everything look old.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::{
    LedgerError, Shared,
    committer::Tx,
    cursors, kv, offer,
    readers::READ_MAX,
    rows,
    schedule::{Change, Place},
};
use crate::delivery::{LegState, Timestamp};

/// Deliveries found in one read.
const BATCH: i64 = 200;
/// Deliveries deleted at once. Each costs the committer more than a tenth of a millisecond, and whoever offers meanwhile waits.
const DELETED_MAX: usize = 25;
/// Deliveries looked at in one read.
const WINDOW: i64 = 2000;
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
    dead: Timestamp,
    unstreamed: Timestamp,
}

/// What a look at the next deliveries found.
#[derive(Debug)]
struct Window {
    last: Option<i64>,
    eligible: Vec<i64>,
}

const ELIGIBLE: &str = "d.received_ms < ?2 AND NOT EXISTS (SELECT 1 FROM legs l WHERE l.seq = d.seq AND (l.state BETWEEN 0 AND 3
     OR (l.state = 6 AND l.settled_ms >= ?3) OR (l.state <> 6 AND l.settled_ms >= ?2)))
     AND (d.received_ms < ?4 OR NOT EXISTS (SELECT 1 FROM streams s WHERE s.held = 1 AND (
       (s.followed = 0 AND s.position < d.seq)
       OR (s.followed = 1 AND EXISTS (SELECT 1 FROM emits e WHERE e.seq = d.seq AND e.mark > s.position)))))";

/// One round; how many deliveries were deleted.
pub(super) async fn retain(shared: &std::sync::Arc<Shared>) -> Result<usize, LedgerError> {
    let now = shared.clock.now();
    let elapsed = shared.clock.instant().saturating_duration_since(shared.opened.1);
    if !agree(shared.opened.0, now, elapsed) {
        tracing::warn!("retention_held_clocks_disagree");
        return Ok(0);
    }
    let settled = now.before(shared.settings.retain_settled);
    let unstreamed = settled.before(shared.settings.retain_unstreamed);
    let cutoff = Cutoff { settled, dead: now.before(shared.settings.retain_dead), unstreamed };
    let (mut deleted, mut missed) = (0, 0);
    let mut after = 0;
    loop {
        let window = shared.read(READ_MAX, move |conn| look(conn, after, cutoff)).await?;
        let Some(last) = window.last else { break };
        after = last;
        for some in window.eligible.chunks(DELETED_MAX) {
            let some = some.to_vec();
            let (gone, unread) = shared.write(0, move |tx| delete(tx, &some, cutoff)).await?;
            deleted += gone;
            missed += unread;
        }
    }
    if missed > 0 {
        tracing::warn!(missed, "stream_gap");
    }
    while shared.write(0, sweep).await? == SWEPT_MAX {}
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
            "SELECT seq FROM (SELECT seq, received_ms FROM deliveries WHERE seq > ?1 ORDER BY seq LIMIT ?5) d WHERE {ELIGIBLE} LIMIT ?6"
        ))?
        .query_map(params![after, cutoff.settled.unix_ms(), cutoff.dead.unix_ms(), cutoff.unstreamed.unix_ms(), WINDOW, BATCH], |row| {
            row.get(0)
        })?
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

/// How many were deleted, and how often a stream had not come to one of them.
fn delete(tx: &mut Tx<'_>, seqs: &[i64], cutoff: Cutoff) -> rusqlite::Result<(usize, usize)> {
    let (mut deleted, mut missed) = (0, 0);
    for &seq in seqs {
        let still: bool =
            tx.conn
                .prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = ?1 AND {ELIGIBLE})"))?
                .query_row(params![seq, cutoff.settled.unix_ms(), cutoff.dead.unix_ms(), cutoff.unstreamed.unix_ms()], |row| row.get(0))?;
        if still && !is_here(tx, seq)? {
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
    let expires_ms = tx.now.after(tx.shared.settings.retain_dedup.max(Duration::from_hours(72))).unix_ms();
    tx.execute("UPDATE dedup SET expires_ms = ?2 WHERE id = (SELECT id FROM deliveries WHERE seq = ?1)", params![seq, expires_ms])?;
    let (tenant, body_sha256): (String, [u8; 32]) = tx
        .conn
        .prepare_cached("SELECT tenant, body_sha256 FROM deliveries WHERE seq = ?1")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    tx.execute(
        "UPDATE seen_bodies SET expires_ms = ?2 WHERE body = ?1 AND seq = ?3",
        params![offer::body_key(&tenant, &body_sha256), expires_ms, seq],
    )?;
    for table in ["legs", "attempts", "bodies", "once", "emits", "adopted", "deliveries"] {
        tx.execute(&format!("DELETE FROM {table} WHERE seq = ?1"), [seq])?;
    }
    Ok(())
}

/// Forgets some ids and values that expired: of each kind so many at most, [`SWEPT_MAX`] where there may be more.
fn sweep(tx: &mut Tx<'_>) -> rusqlite::Result<usize> {
    let params = params![tx.now.unix_ms(), SWEPT_MAX.cast_signed()];
    let ids = tx.execute(
        "DELETE FROM dedup WHERE id IN (SELECT id FROM dedup WHERE expires_ms IS NOT NULL AND expires_ms <= ?1 LIMIT ?2)",
        params,
    )?;
    let bodies = tx.execute(
        "DELETE FROM seen_bodies WHERE body IN (SELECT body FROM seen_bodies WHERE expires_ms IS NOT NULL AND expires_ms <= ?1 LIMIT ?2)",
        params,
    )?;
    Ok(ids.max(bodies).max(kv::sweep(tx, SWEPT_MAX)?))
}

fn give_pages_back(tx: &mut Tx<'_>) -> rusqlite::Result<()> {
    // Moving pages is no change of a row, and a group without changes is not committed.
    tx.execute("UPDATE counters SET commits = commits WHERE id = 1", [])?;
    tx.conn.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))
}
