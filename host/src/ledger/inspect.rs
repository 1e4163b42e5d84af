//! Looking for damage nobody has met yet: every sealed row once, some at a time.
//!
//! A flipped bit in a row that nobody reads would stay unknown until it is too late for a backup. Who reads a row learns of its damage anyway
//! (`seal`), so this is no condition of a start; it runs behind it and takes no more than half a processor. Rows that a page has lost carry no
//! seal that could fail: `SQLite` itself looks for those, where the database is not too large for it.

use std::{collections::BTreeMap, time::Duration};

use rusqlite::{Connection, params};

use super::{
    Ledger, LedgerError,
    books::BOOKS_MAX,
    pages::{self, Pages},
    readers::READ_MAX,
};
use crate::clock::Clock;

/// The tables whose rows belong to deliveries.
const OF_DELIVERIES: [&str; 5] = ["deliveries", "legs", "attempts", "emits", "once"];
/// Deliveries looked at in one read.
const WINDOW: i64 = 100;

/// How many rows of which table are damaged; tables without any are not there. `pages` stands for what holds the rows.
pub type Damage = BTreeMap<&'static str, u64>;

/// The damaged rows of one read.
type Found = Vec<(&'static str, u64)>;

impl Ledger {
    /// Counts the damaged rows; an error where the database cannot be read.
    pub async fn damaged_rows(&self) -> Result<Damage, LedgerError> {
        let (shared, clock) = (self.shared(), &self.shared().clock);
        let mut damage = Damage::new();
        match shared.read(BOOKS_MAX, of_pages).await {
            Ok(found) => add(&mut damage, found),
            Err(LedgerError::Interrupted(bound)) => tracing::warn!(bound_s = bound.as_secs_f64(), "pages_not_inspected"),
            Err(error) => return Err(error),
        }
        let mut after = Some(i64::MIN);
        while let Some(from) = after {
            let began = clock.instant();
            let (last, found) = shared.read(READ_MAX, move |conn| of_deliveries(conn, from)).await?;
            add(&mut damage, found);
            after = last;
            rest(clock, clock.instant().saturating_duration_since(began)).await;
        }
        for queue in shared.read(READ_MAX, queues).await? {
            let began = clock.instant();
            add(&mut damage, shared.read(READ_MAX, move |conn| of_queue(conn, queue)).await?);
            rest(clock, clock.instant().saturating_duration_since(began)).await;
        }
        add(&mut damage, shared.read(READ_MAX, of_streams).await?);
        match self.recount_stored_bytes().await {
            Ok(0) => {}
            Ok(wrong) => tracing::error!(bytes = wrong, "stored_bytes_miscounted"),
            Err(LedgerError::Interrupted(bound)) => tracing::warn!(bound_s = bound.as_secs_f64(), "stored_bytes_not_counted"),
            Err(error) => tracing::warn!(%error, "stored_bytes_not_counted"),
        }
        Ok(damage)
    }
}

/// As long as the work before it took.
async fn rest(clock: &Clock, took: Duration) {
    if !took.is_zero() {
        clock.sleep(took).await;
    }
}

fn add(damage: &mut Damage, found: Found) {
    for (table, rows) in found.into_iter().filter(|(_, rows)| *rows > 0) {
        *damage.entry(table).or_default() += rows;
    }
}

fn of_pages(conn: &Connection) -> rusqlite::Result<Found> {
    Ok(vec![("pages", matches!(pages::check(conn)?, Pages::Damaged(_)).into())])
}

/// The damage of the next deliveries, and where the ones after them begin.
fn of_deliveries(conn: &Connection, after: i64) -> rusqlite::Result<(Option<i64>, Found)> {
    let snapshot = conn.unchecked_transaction()?;
    let window = snapshot
        .prepare_cached("SELECT count(*), max(seq) FROM (SELECT seq FROM deliveries WHERE seq > ?1 ORDER BY seq LIMIT ?2)")?
        .query_row(params![after, WINDOW], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    // What lies behind the last delivery lies there because of damage, and is looked at, too.
    let last = window.1.filter(|_| window.0 == WINDOW);
    let mut found = Vec::with_capacity(OF_DELIVERIES.len());
    for table in OF_DELIVERIES {
        let rows: i64 = snapshot
            .prepare_cached(&format!("SELECT count(*) FROM {table} WHERE seq > ?1 AND seq <= ?2 AND NOT sound"))?
            .query_row([after, last.unwrap_or(i64::MAX)], |row| row.get(0))?;
        found.push((table, rows.cast_unsigned()));
    }
    Ok((last, found))
}

fn queues(conn: &Connection) -> rusqlite::Result<Vec<i64>> {
    conn.prepare_cached("SELECT id FROM queues")?.query_map([], |row| row.get(0))?.collect()
}

fn of_queue(conn: &Connection, queue: i64) -> rusqlite::Result<Found> {
    let mut values = conn.prepare_cached("SELECT count(*) FROM kv WHERE queue = ?1 AND NOT sound")?;
    Ok(vec![("kv", values.query_row([queue], |row| row.get::<_, i64>(0))?.cast_unsigned())])
}

fn of_streams(conn: &Connection) -> rusqlite::Result<Found> {
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0).map(i64::cast_unsigned);
    Ok(vec![("streams", conn.query_row("SELECT count(*) FROM streams WHERE NOT sound", [], count)?)])
}
