//! Reading rows into the vocabulary. Text in the database was written from well-formed values; where it is not well formed any more, the
//! row is reported as unreadable instead of being guessed at.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use super::{body, body::StoredBody};
use crate::delivery::{BodyEncoding, Delivery, DeliveryId, LegState, PluginName, TenantId, Timestamp};

/// A leg's row.
#[derive(Clone, Debug)]
pub(super) struct LegRow {
    pub(super) queue: i64,
    pub(super) plugin: PluginName,
    pub(super) state: LegState,
    pub(super) generation: u32,
    pub(super) attempts: u32,
    pub(super) runs: u64,
    pub(super) crashes: u32,
    pub(super) due_at: Option<Timestamp>,
    pub(super) settled_at: Option<Timestamp>,
    pub(super) reason: Option<String>,
    /// When the first counted attempt of this generation began.
    pub(super) tried_at: Option<Timestamp>,
    /// False where the row is not the one that was written.
    pub(super) is_sound: bool,
}

const LEG: &str = "SELECT l.queue, q.plugin, l.state, l.generation, l.attempts, l.runs, l.crashes, l.due_ms, l.settled_ms, l.reason,
     l.sound, (SELECT t.began_ms FROM tried t WHERE t.seq = l.seq AND t.queue = l.queue AND t.generation = l.generation AND t.sound)
     FROM legs l JOIN queues q ON q.id = l.queue WHERE l.seq = ?1";

fn leg(row: &Row<'_>) -> rusqlite::Result<LegRow> {
    Ok(LegRow {
        queue: row.get(0)?,
        plugin: parsed(row, 1)?,
        state: state(row.get(2)?)?,
        generation: row.get(3)?,
        attempts: row.get(4)?,
        runs: row.get::<_, i64>(5)?.cast_unsigned(),
        crashes: row.get(6)?,
        due_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_unix_ms),
        settled_at: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_unix_ms),
        reason: row.get(9)?,
        is_sound: row.get(10)?,
        tried_at: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_unix_ms),
    })
}

/// A column of text as one of our names.
pub(super) fn parsed<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text = row.get_ref(at)?.as_str()?;
    text.parse().map_err(|error: T::Err| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

/// The stored number of `relayed`.
pub(super) const RELAYED: i64 = -1;

/// The stored number of a state.
pub(super) fn code(state: LegState) -> i64 {
    match state {
        // Came later than the others, and is open: open states stand below `acked`.
        LegState::Relayed => RELAYED,
        state => LegState::ALL.iter().position(|each| *each == state).map_or(0, usize::cast_signed) as i64,
    }
}

/// The state of a stored number.
pub(super) fn state(code: i64) -> rusqlite::Result<LegState> {
    let found = LegState::ALL.into_iter().find(|state| self::code(*state) == code);
    found.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, code))
}

/// The legs of a delivery.
pub(super) fn legs(conn: &Connection, seq: i64) -> rusqlite::Result<Vec<LegRow>> {
    conn.prepare_cached(LEG)?.query_map([seq], leg)?.collect()
}

/// One leg.
pub(super) fn one_leg(conn: &Connection, seq: i64, queue: i64) -> rusqlite::Result<Option<LegRow>> {
    conn.prepare_cached(&format!("{LEG} AND l.queue = ?2"))?.query_row(params![seq, queue], leg).optional()
}

/// Notes when the first counted attempt of a leg's generation began, where that is not known yet.
pub(super) fn note_tried(conn: &Connection, (seq, queue): (i64, i64), generation: u32, began_at: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT INTO tried(seq, queue, generation, began_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
               SET generation = excluded.generation, began_ms = excluded.began_ms WHERE NOT sound OR generation < excluded.generation";
    conn.prepare_cached(sql)?.execute(params![seq, queue, generation, began_at.unix_ms()]).map(drop)
}

/// Whether the delivery lies there. What else lies there, where a bit has flipped in the way to it, is not it.
pub(super) fn delivery_exists(conn: &Connection, seq: i64, id: DeliveryId) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM deliveries WHERE seq = ?1 AND id = ?2)")?
        .query_row(params![seq, id.as_bytes()], |row| row.get(0))
}

/// Whether any delivery lies there.
pub(super) fn is_taken(conn: &Connection, seq: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM deliveries WHERE seq = ?1)")?.query_row([seq], |row| row.get(0))
}

/// A delivery's sequence and tenant, by id; both rows must say that it is this one.
pub(super) fn find(conn: &Connection, id: DeliveryId) -> rusqlite::Result<Option<(i64, TenantId)>> {
    conn.prepare_cached("SELECT d.seq, d.tenant FROM dedup u JOIN deliveries d ON d.seq = u.seq AND d.id = u.id WHERE u.id = ?1")?
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, parsed(row, 1)?)))
        .optional()
}

/// The number of a queue.
pub(super) fn queue(conn: &Connection, tenant: &TenantId, plugin: &PluginName) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM queues WHERE tenant = ?1 AND plugin = ?2")?
        .query_row([tenant.as_str(), plugin.as_str()], |row| row.get(0))
        .optional()
}

/// A delivery as it was accepted, and whether it or its body is damaged; the document is empty then.
pub(super) fn delivery(conn: &Connection, seq: i64) -> rusqlite::Result<Option<(Delivery, bool)>> {
    conn.prepare_cached(
        "SELECT d.id, d.tenant, d.source, d.provider_id, d.hook_id, d.event, d.action, d.repository, d.installation_id, d.received_ms,
         d.form, d.headers, d.body_sha256, d.body_bytes, b.checksum, b.document, b.raw, d.sound
         FROM deliveries d LEFT JOIN bodies b ON b.seq = d.seq WHERE d.seq = ?1",
    )?
    .query_row([seq], |row| {
        let mut delivery = Delivery {
            id: DeliveryId::from_bytes(row.get(0)?),
            tenant: parsed(row, 1)?,
            source: parsed(row, 2)?,
            provider_id: row.get(3)?,
            hook_id: row.get(4)?,
            event: row.get(5)?,
            action: row.get(6)?,
            repository: row.get(7)?,
            installation_id: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
            received_at: Timestamp::from_unix_ms(row.get(9)?),
            sequence: seq.cast_unsigned(),
            encoding: if row.get(10)? { BodyEncoding::Form } else { BodyEncoding::Json },
            headers: serde_json::from_str(row.get_ref(11)?.as_str()?).unwrap_or_default(),
            document: Bytes::new(),
            raw: None,
            body_sha256: row.get(12)?,
        };
        let body = stored_body(row).and_then(|stored| body::open(&delivery, &stored, usize::try_from(row.get::<_, i64>(13).ok()?).ok()?));
        let body = body.filter(|_| row.get(17).unwrap_or(false));
        let is_corrupt = body.is_none();
        (delivery.document, delivery.raw) = body.unwrap_or_default();
        Ok((delivery, is_corrupt))
    })
    .optional()
}

/// The body's columns; none where the row is missing or has another shape, which is damage too.
fn stored_body(row: &Row<'_>) -> Option<StoredBody> {
    Some(StoredBody { checksum: row.get(14).ok()?, document: row.get(15).ok()?, raw: row.get(16).ok()? })
}
