//! An operator's word about legs: each a compare-and-swap on the leg's state, so that of many callers one succeeds.

use rusqlite::params;

use super::{LegChange, committer::Tx, offer, rows, schedule::Change};
use crate::delivery::{DeliveryId, LegId, LegState, PluginName, TenantId};

/// Runs a leg again.
pub(super) fn rerun(tx: &mut Tx<'_>, tenant: &TenantId, leg: &LegId, any_settled: bool) -> rusqlite::Result<LegChange> {
    let Some((seq, queue, state)) = settled(tx, tenant, leg)? else { return Ok(LegChange::NotFound) };
    if state != LegState::Dead && !any_settled {
        return Ok(LegChange::NotFound);
    }
    let revived = offer::revive(tx, tenant, (seq.cast_unsigned(), queue))?;
    Ok(if revived { LegChange::Done } else { LegChange::NotFound })
}

/// Runs a delivery again; how many legs run.
pub(super) fn rerun_delivery(tx: &mut Tx<'_>, id: DeliveryId, matching: &[PluginName]) -> rusqlite::Result<usize> {
    let Some((seq, tenant)) = rows::find(tx.conn, id)? else { return Ok(0) };
    let legs = rows::legs(tx.conn, seq)?;
    let mut run = 0;
    for leg in &legs {
        run += usize::from(offer::revive(tx, &tenant, (seq.cast_unsigned(), leg.queue))?);
    }
    for plugin in matching.iter().filter(|plugin| legs.iter().all(|leg| leg.plugin != **plugin)) {
        offer::create(tx, id, seq, plugin)?;
        run += 1;
    }
    Ok(run)
}

/// Gives a dead letter up.
pub(super) fn discard(tx: &mut Tx<'_>, tenant: &TenantId, leg: &LegId) -> rusqlite::Result<LegChange> {
    let Some((seq, queue, LegState::Dead)) = settled(tx, tenant, leg)? else { return Ok(LegChange::NotFound) };
    tx.execute(
        "UPDATE legs SET state = ?3, settled_ms = ?4 WHERE seq = ?1 AND queue = ?2",
        params![seq, queue, rows::code(LegState::Discarded), tx.now.unix_ms()],
    )?;
    tx.changes.push(Change::Dead { queue, by: -1 });
    Ok(LegChange::Done)
}

/// A leg of this tenant that is settled.
fn settled(tx: &Tx<'_>, tenant: &TenantId, leg: &LegId) -> rusqlite::Result<Option<(i64, i64, LegState)>> {
    let Some((seq, _)) = rows::find(tx.conn, leg.delivery)?.filter(|(_, owner)| owner == tenant) else { return Ok(None) };
    let Some(queue) = rows::queue(tx.conn, tenant, &leg.plugin)? else { return Ok(None) };
    Ok(rows::one_leg(tx.conn, seq, queue)?.filter(|row| !row.state.is_open()).map(|row| (seq, queue, row.state)))
}
