//! What people are shown of what came of deliveries: dead letters, emitted events.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    DeadLetterFilter,
    queries::{PAGE_MAX, attempts, page, position},
    rows::{self, parsed},
    seal,
};
use crate::delivery::{
    DeliveryId, LegId, PluginName, TenantId, Timestamp,
    view::{AttemptView, DeadLetterView, EmitView, Page},
};

const DEAD: &str =
    "SELECT l.mark, l.seq, l.queue, d.id, d.provider_id, d.tenant, d.source, d.event, d.action, q.plugin, l.reason, l.attempts,
     l.generation, l.settled_ms, l.sound FROM legs l JOIN deliveries d ON d.seq = l.seq JOIN queues q ON q.id = l.queue WHERE l.state = 6";

/// A dead letter and where it stands.
struct Dead {
    mark: i64,
    seq: i64,
    queue: i64,
    is_sound: bool,
    view: DeadLetterView,
}

impl Dead {
    /// What is said of it in words: by its last attempt, or that its row cannot be trusted.
    fn detail(&self, attempts: &[AttemptView]) -> String {
        if self.is_sound { attempts.last().map(|last| last.detail.clone()).unwrap_or_default() } else { seal::DAMAGED.to_owned() }
    }
}

fn dead(row: &Row<'_>) -> rusqlite::Result<Dead> {
    let (delivery_id, plugin): (DeliveryId, PluginName) = (DeliveryId::from_bytes(row.get(3)?), parsed(row, 9)?);
    let view = DeadLetterView {
        id: LegId { delivery: delivery_id, plugin: plugin.clone() }.to_string(),
        delivery_id,
        provider_delivery_id: row.get(4)?,
        tenant: parsed(row, 5)?,
        source: parsed(row, 6)?,
        event: row.get(7)?,
        action: row.get(8)?,
        plugin,
        reason: row.get::<_, Option<String>>(10)?.unwrap_or_default(),
        detail: String::new(),
        attempts: row.get(11)?,
        generation: row.get(12)?,
        died_at: Timestamp::from_unix_ms(row.get::<_, Option<i64>>(13)?.unwrap_or_default()),
        history: Vec::new(),
    };
    Ok(Dead { mark: row.get(0)?, seq: row.get(1)?, queue: row.get(2)?, is_sound: row.get(14)?, view })
}

/// A page of dead letters, by when they died in the ledger's own order.
pub(super) fn dead_letters(
    conn: &Connection,
    filter: &DeadLetterFilter,
    cursor: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Page<DeadLetterView>> {
    let limit = limit.clamp(1, PAGE_MAX);
    let snapshot = conn.unchecked_transaction()?;
    let sql =
        format!("{DEAD} AND l.mark < ?1 AND (?2 IS NULL OR q.tenant = ?2) AND (?3 IS NULL OR q.plugin = ?3) ORDER BY l.mark DESC LIMIT ?4");
    let tenant = filter.tenant.as_ref().map(TenantId::as_str);
    let plugin = filter.plugin.as_ref().map(PluginName::as_str);
    let found: Vec<Dead> = conn
        .prepare_cached(&sql)?
        .query_map(params![position(cursor), tenant, plugin, (limit + 1).cast_signed()], dead)?
        .collect::<Result<_, _>>()?;
    let mut rows = Vec::with_capacity(found.len());
    for mut dead in found {
        dead.view.detail = dead.detail(&attempts(conn, dead.seq, dead.queue, 1)?);
        rows.push((dead.mark, dead.view));
    }
    snapshot.finish()?;
    Ok(page(rows, limit))
}

/// One dead letter with its history.
pub(super) fn dead_letter(conn: &Connection, leg: &LegId) -> rusqlite::Result<Option<DeadLetterView>> {
    let snapshot = conn.unchecked_transaction()?;
    let Some((seq, tenant)) = rows::find(conn, leg.delivery)? else { return Ok(None) };
    let Some(queue) = rows::queue(conn, &tenant, &leg.plugin)? else { return Ok(None) };
    let found = conn.prepare_cached(&format!("{DEAD} AND l.seq = ?1 AND l.queue = ?2"))?.query_row([seq, queue], dead).optional()?;
    let Some(mut dead) = found else { return Ok(None) };
    dead.view.history = attempts(conn, seq, queue, -1)?;
    dead.view.detail = dead.detail(&dead.view.history);
    snapshot.finish()?;
    Ok(Some(dead.view))
}

/// A page of emitted events.
pub(super) fn emits(
    conn: &Connection,
    tenant: Option<&TenantId>,
    plugin: Option<&PluginName>,
    cursor: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Page<EmitView>> {
    let limit = limit.clamp(1, PAGE_MAX);
    let rows = conn
        .prepare_cached(
            "SELECT e.mark, d.id, q.tenant, q.plugin, e.generation, e.position, e.name, e.content_type, e.body, e.emitted_ms,
             e.sound FROM emits e JOIN deliveries d ON d.seq = e.seq JOIN queues q ON q.id = e.queue
             WHERE e.mark < ?1 AND (?2 IS NULL OR q.tenant = ?2) AND (?3 IS NULL OR q.plugin = ?3) ORDER BY e.mark DESC LIMIT ?4",
        )?
        .query_map(
            params![position(cursor), tenant.map(TenantId::as_str), plugin.map(PluginName::as_str), (limit + 1).cast_signed()],
            emit,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(page(rows, limit))
}

fn emit(row: &Row<'_>) -> rusqlite::Result<(i64, EmitView)> {
    let (delivery_id, plugin): (DeliveryId, PluginName) = (DeliveryId::from_bytes(row.get(1)?), parsed(row, 3)?);
    let (generation, position): (u32, u32) = (row.get(4)?, row.get(5)?);
    let view = EmitView {
        id: emit_id(&LegId { delivery: delivery_id, plugin: plugin.clone() }, generation, position),
        tenant: parsed(row, 2)?,
        plugin,
        delivery_id,
        name: row.get(6)?,
        content_type: row.get(7)?,
        body: if row.get(10)? { String::from_utf8_lossy(row.get_ref(8)?.as_blob()?).into_owned() } else { seal::DAMAGED.to_owned() },
        emitted_at: Timestamp::from_unix_ms(row.get(9)?),
    };
    Ok((row.get(0)?, view))
}

/// The same for a run that is repeated, another one for a re-run somebody decided on.
pub(super) fn emit_id(leg: &LegId, generation: u32, position: u32) -> String {
    if generation == 0 { format!("{leg}.{position}") } else { format!("{leg}.g{generation}.{position}") }
}
