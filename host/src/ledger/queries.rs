//! What people are shown of deliveries: pages, one delivery with its history.
//!
//! A cursor is the last sequence shown: sequences never go back, so a page neither repeats nor skips what was there when the first one was
//! asked for, whatever the wall clock does.

use rusqlite::{Connection, Row, params, params_from_iter, types::Value};

use super::{
    DeliveryFilter, rows,
    rows::{LegRow, parsed},
    schedule::Schedule,
    seal,
};
use crate::delivery::{
    DeliveryId, Digest, IdPrefix, Timestamp,
    view::{AttemptView, DeliveryStatus, DeliveryView, LegView, Page},
};

/// Items on one page, at most; whoever asks for more is refused before it comes here.
pub const PAGE_MAX: usize = 1000;

const DELIVERY: &str =
    "SELECT d.seq, d.id, d.provider_id, d.tenant, d.source, d.event, d.action, d.repository, d.received_ms, d.body_bytes,
     d.id_reused, d.body_seen FROM deliveries d";
const OPEN: &str = "EXISTS (SELECT 1 FROM legs l WHERE l.seq = d.seq AND l.state < 4)";
const DEAD: &str = "EXISTS (SELECT 1 FROM legs l WHERE l.seq = d.seq AND l.state = 6)";

/// The position in a list a cursor stands for. One that is not ours starts at the newest.
pub(super) fn position(cursor: Option<&str>) -> i64 {
    cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(i64::MAX)
}

/// Cuts a list that was read with one item too many, and says where the next page begins.
pub(super) fn page<T>(mut rows: Vec<(i64, T)>, limit: usize) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|(at, _)| at.to_string());
    Page { items: rows.into_iter().map(|(_, item)| item).collect(), next_cursor }
}

/// A page of deliveries.
pub(super) fn deliveries(
    conn: &Connection,
    schedule: &Schedule,
    filter: &DeliveryFilter,
    cursor: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Page<DeliveryView>> {
    let limit = limit.clamp(1, PAGE_MAX);
    let (conditions, mut values) = conditions(filter);
    values.push(Value::Integer(position(cursor)));
    values.push(Value::Integer(limit.cast_signed() as i64 + 1));
    let sql = format!("{DELIVERY} WHERE {conditions} d.seq < ? ORDER BY d.seq DESC LIMIT ?");
    let snapshot = conn.unchecked_transaction()?;
    let rows: Vec<(i64, DeliveryView)> = conn.prepare_cached(&sql)?.query_map(params_from_iter(values), view)?.collect::<Result<_, _>>()?;
    let mut page = page(rows.into_iter().map(|(seq, view)| (seq, (seq, view))).collect(), limit);
    for (seq, view) in &mut page.items {
        add_legs(conn, schedule, *seq, view, false)?;
    }
    snapshot.finish()?;
    Ok(Page { items: page.items.into_iter().map(|(_, view)| view).collect(), next_cursor: page.next_cursor })
}

fn conditions(filter: &DeliveryFilter) -> (String, Vec<Value>) {
    let mut sql = String::new();
    let mut values = Vec::new();
    let mut add = |condition: &str, given: Option<Value>, times: usize| {
        let Some(value) = given else { return };
        sql.push_str(condition);
        sql.push_str(" AND ");
        values.extend(std::iter::repeat_n(value, times));
    };
    let text = |value: &str| Some(Value::Text(value.to_owned()));
    add("d.tenant = ?", filter.tenant.as_ref().and_then(|tenant| text(tenant.as_str())), 1);
    add("d.source = ?", filter.source.as_ref().and_then(|source| text(source.as_str())), 1);
    add("d.event = ?", filter.event.as_deref().and_then(text), 1);
    add("d.action = ?", filter.action.as_deref().and_then(text), 1);
    add("d.received_ms >= ?", filter.since.map(|since| Value::Integer(since.unix_ms())), 1);
    add("d.received_ms < ?", filter.until.map(|until| Value::Integer(until.unix_ms())), 1);
    let of_plugin = "EXISTS (SELECT 1 FROM legs l JOIN queues q ON q.id = l.queue WHERE l.seq = d.seq AND q.plugin = ?)";
    add(of_plugin, filter.plugin.as_ref().and_then(|plugin| text(plugin.as_str())), 1);
    let part = "(instr(lower(d.provider_id), ?) OR instr(lower(hex(d.id)), ?) OR instr(lower(d.repository), ?))";
    add(part, filter.text.as_deref().and_then(|part| text(&part.to_lowercase())), 3);
    sql.push_str(&filter.status.map(of_status).unwrap_or_default());
    (sql, values)
}

fn of_status(status: DeliveryStatus) -> String {
    match status {
        DeliveryStatus::Unrouted => "d.leg_count = 0 AND ".to_owned(),
        DeliveryStatus::Waiting => format!("{OPEN} AND "),
        DeliveryStatus::Dead => format!("NOT {OPEN} AND {DEAD} AND "),
        DeliveryStatus::Settled => format!("d.leg_count > 0 AND NOT {OPEN} AND NOT {DEAD} AND "),
    }
}

fn view(row: &Row<'_>) -> rusqlite::Result<(i64, DeliveryView)> {
    let seq: i64 = row.get(0)?;
    let view = DeliveryView {
        delivery_id: DeliveryId::from_bytes(row.get(1)?),
        provider_delivery_id: row.get(2)?,
        tenant: parsed(row, 3)?,
        source: parsed(row, 4)?,
        event: row.get(5)?,
        action: row.get(6)?,
        repository: row.get(7)?,
        received_at: Timestamp::from_unix_ms(row.get(8)?),
        sequence: seq.cast_unsigned(),
        body_bytes: row.get::<_, i64>(9)?.cast_unsigned(),
        id_reused: row.get(10)?,
        body_seen_before: row.get(11)?,
        status: DeliveryStatus::Unrouted,
        legs: Vec::new(),
        document: None,
        content_type: None,
        headers: Vec::new(),
    };
    Ok((seq, view))
}

/// Adds the legs, and what follows from them.
fn add_legs(conn: &Connection, schedule: &Schedule, seq: i64, view: &mut DeliveryView, with_history: bool) -> rusqlite::Result<()> {
    for row in rows::legs(conn, seq)? {
        view.legs.push(leg(conn, schedule, seq, row, with_history)?);
    }
    let states: Vec<_> = view.legs.iter().map(|leg| leg.state).collect();
    view.status = DeliveryStatus::of(&states);
    Ok(())
}

fn leg(conn: &Connection, schedule: &Schedule, seq: i64, row: LegRow, with_history: bool) -> rusqlite::Result<LegView> {
    let history = attempts(conn, seq, row.queue, if with_history { -1 } else { 1 })?;
    let last = history.last().filter(|last| last.generation == row.generation);
    let detail = last.map(|last| last.detail.clone()).filter(|detail| !detail.is_empty());
    let reason = if row.is_sound { detail.or(row.reason) } else { Some(seal::DAMAGED.to_owned()) };
    Ok(LegView {
        state: schedule.open_state((seq.cast_unsigned(), row.queue), row.state),
        plugin: row.plugin,
        attempts: row.attempts,
        generation: row.generation,
        outcome: last.map(|last| last.outcome.clone()),
        reason,
        digest: last.and_then(|last| last.digest.clone()),
        due_at: row.due_at,
        settled_at: row.settled_at,
        history: if with_history { history } else { Vec::new() },
    })
}

/// The last `limit` attempts of a leg (all where negative), oldest first.
pub(super) fn attempts(conn: &Connection, seq: i64, queue: i64, limit: i64) -> rusqlite::Result<Vec<AttemptView>> {
    let mut attempts: Vec<AttemptView> = conn
        .prepare_cached(
            "SELECT attempt, generation, started_ms, duration_us, outcome, settlement, detail, fuel, memory_bytes, digest, logs, host_calls,
             retry_after_ms, sound
             FROM attempts WHERE seq = ?1 AND queue = ?2 ORDER BY run DESC LIMIT ?3",
        )?
        .query_map(params![seq, queue, limit], attempt)?
        .collect::<Result<_, _>>()?;
    attempts.reverse();
    Ok(attempts)
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptView> {
    let duration_us: u32 = u32::try_from(row.get::<_, i64>(3)?).unwrap_or(u32::MAX);
    let digest: Option<[u8; 32]> = row.get(9)?;
    let (logs, host_calls): (Option<String>, Option<String>) = (row.get(10)?, row.get(11)?);
    Ok(AttemptView {
        attempt: row.get(0)?,
        generation: row.get(1)?,
        started_at: Timestamp::from_unix_ms(row.get(2)?),
        duration_ms: f64::from(duration_us) / 1000.0,
        outcome: row.get(4)?,
        settlement: row.get(5)?,
        detail: if row.get(13)? { row.get(6)? } else { seal::DAMAGED.to_owned() },
        fuel: row.get::<_, i64>(7)?.cast_unsigned(),
        memory_peak_bytes: row.get::<_, i64>(8)?.cast_unsigned(),
        digest: digest.map(|digest| Digest::from_bytes(digest).to_string()),
        logs: logs.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default(),
        host_calls: host_calls.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default(),
        retry_after_ms: row.get::<_, Option<i64>>(12)?.map(i64::cast_unsigned),
    })
}

/// One delivery with everything.
pub(super) fn delivery(conn: &Connection, schedule: &Schedule, id: DeliveryId) -> rusqlite::Result<Option<DeliveryView>> {
    let snapshot = conn.unchecked_transaction()?;
    let Some((seq, _)) = rows::find(conn, id)? else { return Ok(None) };
    let (_, mut found) = conn.prepare_cached(&format!("{DELIVERY} WHERE d.seq = ?1"))?.query_row([seq], view)?;
    add_legs(conn, schedule, seq, &mut found, true)?;
    let stored = rows::delivery(conn, seq)?.filter(|(_, is_corrupt)| !is_corrupt);
    if let Some((delivery, _)) = stored {
        found.document = Some(String::from_utf8_lossy(&delivery.document).into_owned());
        found.content_type = Some(delivery.encoding.content_type().to_owned());
        found.headers = delivery.headers.into_iter().map(|header| (header.name, header.value)).collect();
    }
    snapshot.finish()?;
    Ok(Some(found))
}

/// The deliveries whose id begins so, at most `limit` of them.
pub(super) fn by_prefix(conn: &Connection, prefix: IdPrefix, limit: usize) -> rusqlite::Result<Vec<DeliveryId>> {
    let (lowest, highest) = prefix.range();
    conn.prepare_cached(
        "SELECT u.id FROM dedup u JOIN deliveries d ON d.seq = u.seq AND d.id = u.id WHERE u.id BETWEEN ?1 AND ?2 ORDER BY u.id LIMIT ?3",
    )?
    .query_map(params![lowest.as_bytes(), highest.as_bytes(), limit.cast_signed()], |row| row.get(0).map(DeliveryId::from_bytes))?
    .collect()
}

/// The deliveries with a provider's id, newest first.
pub(super) fn by_provider_id(conn: &Connection, schedule: &Schedule, provider_id: &str) -> rusqlite::Result<Vec<DeliveryView>> {
    let snapshot = conn.unchecked_transaction()?;
    let sql = format!("{DELIVERY} WHERE d.provider_id = ?1 ORDER BY d.seq DESC LIMIT ?2");
    let mut found: Vec<(i64, DeliveryView)> =
        conn.prepare_cached(&sql)?.query_map(params![provider_id, PAGE_MAX.cast_signed()], view)?.collect::<Result<_, _>>()?;
    for (seq, view) in &mut found {
        add_legs(conn, schedule, *seq, view, false)?;
    }
    snapshot.finish()?;
    Ok(found.into_iter().map(|(_, view)| view).collect())
}
