//! Whom the death of the host is charged to: decided once, at the start after it, from the runs that were under way.
//!
//! One run alone is the culprit. Of several nobody knows which, so that each is a suspect: nobody is charged, and they run again, never two of
//! them at once, while their plugins' other legs stand still and everybody else's go on. Where the host dies again during the run of a
//! suspect, that one is the culprit, whatever else ran beside it: its plugin is parked, and all others are free of suspicion. So a plugin that
//! kills the host does so twice, and costs the others two restarts.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    inflight::Run,
    rows,
    schedule::Key,
    stored::{RECORD_BYTES, weight},
};
use crate::{
    clock::Clock,
    delivery::{Digest, FaultKind, Timestamp},
};

/// A plugin whose queue is parked because the host died twice in its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The version that served; none where none was kept.
    pub digest: Option<Digest>,
    /// What happened and what to do, in words.
    pub detail: String,
    /// When it was found, at the start after the second death.
    pub at: Timestamp,
}

/// Charges whom there is to charge; gives the legs that are suspects from now on.
pub(super) fn charge(conn: &Connection, runs: &[Run], clock: &Clock) -> rusqlite::Result<Vec<Key>> {
    let mut under_way = Vec::new();
    for run in runs {
        let leg = rows::one_leg(conn, run.seq.cast_signed(), run.queue)?;
        if leg.is_some_and(|leg| leg.state.is_open() && leg.runs == run.runs_before) {
            under_way.push(*run);
        }
    }
    let again: Vec<Run> = under_way.iter().copied().filter(|run| run.is_suspect).collect();
    let suspects = if again.is_empty() { under_way } else { again };
    match suspects[..] {
        [run] => {
            charge_attempt(conn, run, clock)?;
            if run.is_suspect {
                park(conn, run.leg(), clock)?;
            }
        }
        _ => suspects.iter().try_for_each(|run| keep_here(conn, run.leg()))?,
    }
    let mut legs: Vec<Key> = suspects.into_iter().map(Run::leg).collect();
    legs.extend(parked(conn)?.into_iter().filter(|leg| !legs.contains(leg)).collect::<Vec<_>>());
    Ok(legs)
}

/// A suspect that came from RabbitMQ runs here; the run counts as one, so that the message delivered again is known as older.
fn keep_here(conn: &Connection, (seq, queue): Key) -> rusqlite::Result<()> {
    conn.execute(
        "UPDATE legs SET state = 0, runs = min(runs, 9223372036854775806) + 1, due_ms = NULL WHERE seq = ?1 AND queue = ?2 AND state = -1",
        params![seq.cast_signed(), queue],
    )?;
    Ok(())
}

fn charge_attempt(conn: &Connection, run: Run, clock: &Clock) -> rusqlite::Result<()> {
    let (seq, queue) = run.leg();
    let place = params![seq.cast_signed(), queue];
    conn.execute(
        "UPDATE legs SET attempts = min(attempts, 4294967294) + 1, runs = min(runs, 9223372036854775806) + 1,
                crashes = min(crashes, 4294967294) + 1, state = 0, due_ms = NULL
         WHERE seq = ?1 AND queue = ?2",
        place,
    )?;
    let detail = if run.is_suspect {
        "the host died again while this run was under way, and no other that was under way the time before; found at the next start"
    } else {
        "the host died while this run, and no other, was under way; found at the next start"
    };
    conn.execute(
        "UPDATE stored SET bytes = bytes + ?2 WHERE tenant = (SELECT tenant FROM queues WHERE id = ?1)",
        params![queue, weight(RECORD_BYTES + detail.len())],
    )?;
    conn.execute(
        "INSERT INTO attempts(seq, queue, run, generation, attempt, started_ms, duration_us, outcome, settlement, detail, fuel, memory_bytes)
         SELECT seq, queue, runs, generation, attempts, ?3, 0, ?4, 'retry', ?5, 0, 0 FROM legs WHERE seq = ?1 AND queue = ?2",
        params![seq.cast_signed(), queue, clock.now().unix_ms(), FaultKind::HostCrashed.slug(), detail],
    )?;
    Ok(())
}

/// Notes that the plugin of this leg is not to run any more.
fn park(conn: &Connection, (seq, queue): Key, clock: &Clock) -> rusqlite::Result<()> {
    let (Some((delivery, _)), Some((tenant, plugin))) = (rows::delivery(conn, seq.cast_signed())?, name(conn, queue)?) else {
        return Ok(());
    };
    let detail = format!(
        "the host died twice while its run of delivery {} was under way; deploy another version, or let it run again with `hookyard plugins \
         resume {plugin}`",
        delivery.id
    );
    tracing::error!(%tenant, %plugin, delivery_id = %delivery.id, detail, "plugin_ends_host");
    conn.execute(
        "INSERT OR REPLACE INTO crashed_plugins(tenant, name, digest, seq, detail, at_ms) VALUES (?1, ?2,
         (SELECT digest FROM kept_plugins WHERE tenant = ?1 AND name = ?2 ORDER BY mark DESC LIMIT 1), ?3, ?4, ?5)",
        params![tenant, plugin, seq.cast_signed(), detail, clock.now().unix_ms()],
    )?;
    Ok(())
}

fn name(conn: &Connection, queue: i64) -> rusqlite::Result<Option<(String, String)>> {
    conn.query_row("SELECT tenant, plugin FROM queues WHERE id = ?1", [queue], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// The legs whose runs have parked their plugins, as long as those are parked: they stay suspects, whatever became of the host meanwhile.
fn parked(conn: &Connection) -> rusqlite::Result<Vec<Key>> {
    conn.prepare(
        "SELECT c.seq, q.id FROM crashed_plugins c JOIN queues q ON q.tenant = c.tenant AND q.plugin = c.name
         JOIN legs l ON l.seq = c.seq AND l.queue = q.id WHERE l.state BETWEEN 0 AND 3",
    )?
    .query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))?
    .collect()
}
