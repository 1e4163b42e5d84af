//! Steps that must not run twice: a durable intent before the call, a durable answer after it.
//!
//! The key is (delivery, plugin, key) and outlives generations and plugin versions: a redelivery that re-ran a dead leg must still find that
//! the mail was sent.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    OnceStep,
    committer::Tx,
    rows,
    stored::{STEP_BYTES, weight},
};
use crate::delivery::{LegId, TenantId};

/// Steps of one delivery and plugin.
const STEPS_MAX: i64 = 64;

/// Where the steps of a leg are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) tenant: TenantId,
    leg: LegId,
    seq: i64,
    queue: i64,
}

/// Finds the steps of a leg; `None` where there is no such leg.
pub(super) fn place(conn: &Connection, leg: &LegId) -> rusqlite::Result<Option<Place>> {
    let Some((seq, tenant)) = rows::find(conn, leg.delivery)? else { return Ok(None) };
    let Some(queue) = rows::queue(conn, &tenant, &leg.plugin)? else { return Ok(None) };
    Ok(rows::one_leg(conn, seq, queue)?.map(|_| Place { tenant, leg: leg.clone(), seq, queue }))
}

/// What becomes of a step that is to begin, where that takes no write.
pub(super) fn look(conn: &Connection, place: &Place, key: &str) -> rusqlite::Result<Option<OnceStep>> {
    let Place { leg, seq, queue, .. } = place;
    let (steps, damaged): (i64, i64) = conn
        .prepare_cached("SELECT count(*), count(*) FILTER (WHERE NOT sound) FROM once WHERE seq = ?1 AND queue = ?2")?
        .query_row([seq, queue], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if damaged > 0 {
        // Which step it was, and how it ended, is not known any more.
        tracing::error!(leg_id = %leg, "once_row_damaged");
        return Ok(Some(OnceStep::Unknown));
    }
    let known: Option<Option<Vec<u8>>> = conn
        .prepare_cached("SELECT answer FROM once WHERE seq = ?1 AND queue = ?2 AND key = ?3")?
        .query_row(params![seq, queue, key], |row| row.get(0))
        .optional()?;
    Ok(match known {
        Some(Some(answer)) => Some(OnceStep::Done(answer)),
        Some(None) => Some(OnceStep::Unknown),
        None if steps >= STEPS_MAX => Some(OnceStep::QuotaExceeded),
        None => None,
    })
}

/// Begins a step.
pub(super) fn begin(tx: &mut Tx<'_>, place: &Place, key: &str) -> rusqlite::Result<OnceStep> {
    if let Some(step) = look(tx.conn, place, key)? {
        return Ok(step);
    }
    let bytes = weight(STEP_BYTES + key.len());
    if !tx.may_store(&place.tenant, bytes) {
        return Ok(OnceStep::QuotaExceeded);
    }
    tx.execute("INSERT INTO once(seq, queue, key) VALUES (?1, ?2, ?3)", params![place.seq, place.queue, key])?;
    tx.store(&place.tenant, bytes);
    Ok(OnceStep::Begun)
}

/// Finishes a step that was begun; false where it was not, or is finished already. A tenant's quota does not stop it: what was done outside is
/// done, and not to know it would do it again.
pub(super) fn finish(tx: &mut Tx<'_>, place: &Place, key: &str, answer: &[u8]) -> rusqlite::Result<bool> {
    let updated = tx.execute(
        "UPDATE once SET answer = ?4 WHERE seq = ?1 AND queue = ?2 AND key = ?3 AND answer IS NULL",
        params![place.seq, place.queue, key, answer],
    )?;
    if updated == 1 {
        tx.store(&place.tenant, weight(answer.len()));
    }
    Ok(updated == 1)
}
