//! Steps that must not run twice: a durable intent before the call, a durable answer after it.
//!
//! The key is (delivery, plugin, key) and outlives generations and plugin versions: a redelivery that re-ran a dead leg must still find that
//! the mail was sent.

use rusqlite::{OptionalExtension, params};

use super::{OnceStep, committer::Tx, rows};
use crate::delivery::LegId;

/// Steps of one delivery and plugin.
const STEPS_MAX: i64 = 64;

/// Begins a step; `None` where there is no such leg.
pub(super) fn begin(tx: &Tx<'_>, leg: &LegId, key: &str) -> rusqlite::Result<Option<OnceStep>> {
    let Some((seq, queue)) = place(tx, leg)? else { return Ok(None) };
    let (steps, damaged): (i64, i64) = tx
        .conn
        .prepare_cached("SELECT count(*), count(*) FILTER (WHERE NOT sound) FROM once WHERE seq = ?1 AND queue = ?2")?
        .query_row([seq, queue], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if damaged > 0 {
        // Which step it was, and how it ended, is not known any more.
        tracing::error!(%leg, "once_row_damaged");
        return Ok(Some(OnceStep::Unknown));
    }
    let known: Option<Option<Vec<u8>>> = tx
        .conn
        .prepare_cached("SELECT answer FROM once WHERE seq = ?1 AND queue = ?2 AND key = ?3")?
        .query_row(params![seq, queue, key], |row| row.get(0))
        .optional()?;
    match known {
        Some(Some(answer)) => return Ok(Some(OnceStep::Done(answer))),
        Some(None) => return Ok(Some(OnceStep::Unknown)),
        None => {}
    }
    if steps >= STEPS_MAX {
        return Ok(Some(OnceStep::QuotaExceeded));
    }
    tx.execute("INSERT INTO once(seq, queue, key) VALUES (?1, ?2, ?3)", params![seq, queue, key])?;
    Ok(Some(OnceStep::Begun))
}

/// Finishes a step that was begun; false where it was not, or is finished already.
pub(super) fn finish(tx: &Tx<'_>, leg: &LegId, key: &str, answer: &[u8]) -> rusqlite::Result<bool> {
    let Some((seq, queue)) = place(tx, leg)? else { return Ok(false) };
    let updated = tx.execute(
        "UPDATE once SET answer = ?4 WHERE seq = ?1 AND queue = ?2 AND key = ?3 AND answer IS NULL",
        params![seq, queue, key, answer],
    )?;
    Ok(updated == 1)
}

fn place(tx: &Tx<'_>, leg: &LegId) -> rusqlite::Result<Option<(i64, i64)>> {
    let Some((seq, tenant)) = rows::find(tx.conn, leg.delivery)? else { return Ok(None) };
    let Some(queue) = rows::queue(tx.conn, &tenant, &leg.plugin)? else { return Ok(None) };
    Ok(rows::one_leg(tx.conn, seq, queue)?.map(|_| (seq, queue)))
}
