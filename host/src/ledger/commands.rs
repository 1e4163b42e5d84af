//! An operator's word about legs: each a compare-and-swap on the leg's state, so that of many callers one succeeds.

use rusqlite::params;

use super::{
    LegChange, Rerun, RunNow,
    committer::Tx,
    offer, rows,
    schedule::{Change, Place},
};
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

/// Runs a leg now that waits for its time.
pub(super) fn run_now(tx: &mut Tx<'_>, leg: &LegId) -> rusqlite::Result<RunNow> {
    let Some((seq, tenant)) = rows::find(tx.conn, leg.delivery)? else { return Ok(RunNow::NotFound) };
    let Some(queue) = rows::queue(tx.conn, &tenant, &leg.plugin)? else { return Ok(RunNow::NotFound) };
    let Some(row) = rows::one_leg(tx.conn, seq, queue)? else { return Ok(RunNow::NotFound) };
    let key = (seq.cast_unsigned(), queue);
    if row.state != LegState::Retry || tx.shared.schedule.place(key, row.state) != Place::Due {
        return Ok(RunNow::Elsewhere(tx.shared.schedule.open_state(key, row.state)));
    }
    let sql = "UPDATE legs SET state = ?3, due_ms = NULL WHERE seq = ?1 AND queue = ?2";
    tx.execute(sql, params![seq, queue, rows::code(LegState::Waiting)])?;
    tx.changes.push(Change::Hurried { leg: key });
    Ok(RunNow::Done)
}

/// Runs a delivery again; how many legs run.
pub(super) fn rerun_delivery(tx: &mut Tx<'_>, id: DeliveryId, which: &Rerun) -> rusqlite::Result<usize> {
    let Some((seq, tenant)) = rows::find(tx.conn, id)? else { return Ok(0) };
    let legs = rows::legs(tx.conn, seq)?;
    let mut run = 0;
    for leg in legs.iter().filter(|leg| which.means(&leg.plugin, leg.state)) {
        run += usize::from(offer::revive(tx, &tenant, (seq.cast_unsigned(), leg.queue))?);
    }
    let has_none = |plugin: &&PluginName| legs.iter().all(|leg| leg.plugin != **plugin);
    let is_meant = |plugin: &&PluginName| which.plugin.as_ref().is_none_or(|named| named == *plugin);
    for plugin in which.matching.iter().filter(has_none).filter(is_meant) {
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
