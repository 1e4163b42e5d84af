//! What comes after a cursor: deliveries and emits in the order they were committed, a bounded portion at a time.
//!
//! Positions are given by the committer within its transactions and never go back, so what is read after a cursor is all there will ever be
//! between it and the end of the portion. A reader sees what is synced, so nothing is told to others that a power cut could take back.

use bytes::Bytes;
use rusqlite::{Connection, Row, params, types::ValueRef};

use super::{Ledger, LedgerError, counters::Counters, readers::READ_MAX, results, rows, rows::parsed};
use crate::delivery::{Delivery, DeliveryId, LegId, PluginName, TenantId, Timestamp};

/// Rows looked at in one read, wanted or not.
const ROWS_MAX: usize = 2000;

/// An event a plugin emitted, as it is sent on.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The same for a run that is repeated: `<delivery_id>.<plugin>.<index>`, with the generation where somebody decided on a re-run.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// By which plugin.
    pub plugin: PluginName,
    /// Because of which delivery.
    pub delivery_id: DeliveryId,
    /// Its name.
    pub name: String,
    /// Media type of the body.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// When it was committed.
    pub emitted_at: Timestamp,
    /// Its position.
    pub mark: u64,
}

/// How much one read brings at most; the first that is wanted always comes, however big.
#[derive(Clone, Copy, Debug)]
pub struct PortionMax {
    /// Items.
    pub items: usize,
    /// Bytes of bodies.
    pub bytes: usize,
}

/// What comes next after a cursor.
#[derive(Clone, Debug)]
pub struct Portion<T> {
    /// What is wanted of it, in order.
    pub items: Vec<T>,
    /// The position after the portion: unwanted and unreadable ones are passed over.
    pub end: u64,
    /// How many rows it read, wanted or not.
    pub rows: usize,
    /// How many cannot be read any more: they do not match their checksums.
    pub unreadable: u64,
}

impl<T> Portion<T> {
    /// The same portion of something made from each item.
    pub fn map<U>(self, make: impl Fn(T) -> U) -> Portion<U> {
        let Self { items, end, rows, unreadable } = self;
        Portion { items: items.into_iter().map(make).collect(), end, rows, unreadable }
    }
}

/// A portion that is being read.
struct Filling<T> {
    portion: Portion<T>,
    most: PortionMax,
    bytes: usize,
}

impl<T> Filling<T> {
    fn after(position: u64, most: PortionMax) -> Self {
        Self { portion: Portion { items: Vec::new(), end: position, rows: 0, unreadable: 0 }, most, bytes: 0 }
    }

    /// Whether one more of this size may come.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.portion.items.is_empty() || (self.portion.items.len() < self.most.items && self.bytes <= self.most.bytes)
    }

    fn passed(&mut self, position: u64) {
        self.portion.rows += 1;
        self.portion.end = position;
    }

    /// The portion, where the rows came to their end: then there is nothing up to the head of the same snapshot.
    fn read_until(mut self, head: u64) -> Portion<T> {
        if self.portion.rows < ROWS_MAX {
            self.portion.end = self.portion.end.max(head);
        }
        self.portion
    }
}

impl Ledger {
    /// The deliveries after `position` that are `wanted` (by tenant, event and action), oldest first.
    pub async fn deliveries_after(
        &self,
        position: u64,
        most: PortionMax,
        wanted: impl Fn(&TenantId, &str, Option<&str>) -> bool + Send + 'static,
    ) -> Result<Portion<Delivery>, LedgerError> {
        self.shared().read(READ_MAX, move |conn| deliveries_after(conn, position, most, wanted)).await
    }

    /// The emits after `position` that are `wanted` (by tenant), oldest first.
    pub async fn emits_after(
        &self,
        position: u64,
        most: PortionMax,
        wanted: impl Fn(&TenantId) -> bool + Send + 'static,
    ) -> Result<Portion<Emitted>, LedgerError> {
        self.shared().read(READ_MAX, move |conn| emits_after(conn, position, most, wanted)).await
    }
}

fn deliveries_after(
    conn: &Connection,
    position: u64,
    most: PortionMax,
    wanted: impl Fn(&TenantId, &str, Option<&str>) -> bool,
) -> rusqlite::Result<Portion<Delivery>> {
    let snapshot = conn.unchecked_transaction()?;
    let head = Counters::read(&snapshot)?.seq;
    let mut next = snapshot.prepare_cached(
        "SELECT seq, tenant, event, action, body_bytes, EXISTS (SELECT 1 FROM adopted a WHERE a.seq = d.seq) FROM deliveries d
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut found = next.query(params![position.cast_signed(), ROWS_MAX.cast_signed()])?;
    let mut filling = Filling::after(position, most);
    while let Some(row) = found.next()? {
        let seq: i64 = row.get(0)?;
        let action: Option<String> = row.get(3)?;
        // What came from another host with a leg was accepted there, and is streamed from there.
        let is_wanted = !row.get::<_, bool>(5)? && wanted(&parsed(row, 1)?, row.get_ref(2)?.as_str()?, action.as_deref());
        if is_wanted && !filling.has_room(usize::try_from(row.get::<_, i64>(4)?).unwrap_or(usize::MAX)) {
            return Ok(filling.portion);
        }
        match is_wanted.then(|| rows::delivery(&snapshot, seq)).transpose()? {
            Some(Some((delivery, false))) => filling.portion.items.push(delivery),
            Some(_) => filling.portion.unreadable += 1,
            None => {}
        }
        filling.passed(seq.cast_unsigned());
    }
    Ok(filling.read_until(head))
}

fn emits_after(
    conn: &Connection,
    position: u64,
    most: PortionMax,
    wanted: impl Fn(&TenantId) -> bool,
) -> rusqlite::Result<Portion<Emitted>> {
    let snapshot = conn.unchecked_transaction()?;
    let head = Counters::read(&snapshot)?.mark;
    let mut next = snapshot.prepare_cached(
        "SELECT e.mark, d.id, q.tenant, q.plugin, e.generation, e.position, e.name, e.content_type, e.body, e.emitted_ms, e.sound
         FROM emits e LEFT JOIN deliveries d ON d.seq = e.seq LEFT JOIN queues q ON q.id = e.queue
         WHERE e.mark > ?1 ORDER BY e.mark LIMIT ?2",
    )?;
    let mut found = next.query(params![position.cast_signed(), ROWS_MAX.cast_signed()])?;
    let mut filling = Filling::after(position, most);
    while let Some(row) = found.next()? {
        // Whose a damaged one was is not known: it is missing for everybody. The delivery of a sound one can be damaged.
        let is_readable = row.get(10)? && row.get_ref(1)? != ValueRef::Null;
        let is_wanted = is_readable && wanted(&parsed(row, 2)?);
        if is_wanted && !filling.has_room(row.get_ref(8)?.as_blob()?.len()) {
            return Ok(filling.portion);
        }
        if is_wanted {
            filling.portion.items.push(emitted(row)?);
        }
        filling.portion.unreadable += u64::from(!is_readable);
        filling.passed(row.get::<_, i64>(0)?.cast_unsigned());
    }
    Ok(filling.read_until(head))
}

fn emitted(row: &Row<'_>) -> rusqlite::Result<Emitted> {
    let (delivery_id, plugin): (DeliveryId, PluginName) = (DeliveryId::from_bytes(row.get(1)?), parsed(row, 3)?);
    Ok(Emitted {
        id: results::emit_id(&LegId { delivery: delivery_id, plugin: plugin.clone() }, row.get(4)?, row.get(5)?),
        tenant: parsed(row, 2)?,
        plugin,
        delivery_id,
        name: row.get(6)?,
        content_type: row.get(7)?,
        body: row.get::<_, Vec<u8>>(8)?.into(),
        emitted_at: Timestamp::from_unix_ms(row.get(9)?),
        mark: row.get::<_, i64>(0)?.cast_unsigned(),
    })
}
