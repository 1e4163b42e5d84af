//! The books: what the counters say, what the rows say, what memory says. Three ways of counting that share no code, and one difference.
//!
//! Memory is compared at the very commit the rows were read at: the schedule remembers its counts of the last commits.

use rusqlite::Connection;

use super::{Books, LedgerError, Shared, counters::Counters, rows};
use crate::delivery::LegState;

/// How long the counting may take; it reads every leg's row.
pub(super) const BOOKS_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// Snapshots tried until memory knows the same commit.
const TRIES: usize = 20;

/// What the database says at one commit.
#[derive(Debug)]
pub(super) struct Rows {
    counters: Counters,
    by_state: [u64; 9],
    routed: u64,
    unrouted: u64,
    /// Deliveries whose stored number of legs is not the number of their legs.
    miscounted: u64,
}

impl Rows {
    fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let snapshot = conn.unchecked_transaction()?;
        let count = |sql: &str| snapshot.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned);
        let mut by_state = [0; 9];
        let mut states = snapshot.prepare_cached("SELECT state, count(*) FROM legs GROUP BY state")?;
        let mut found = states.query([])?;
        while let Some(row) = found.next()? {
            let state = rows::state(row.get(0)?)?;
            let at = LegState::ALL.iter().position(|each| *each == state).unwrap_or_default();
            by_state[at] = row.get::<_, i64>(1)?.cast_unsigned();
        }
        drop(found);
        Ok(Self {
            counters: Counters::read(&snapshot)?,
            by_state,
            routed: count("SELECT count(*) FROM deliveries WHERE leg_count > 0")?,
            unrouted: count("SELECT count(*) FROM deliveries WHERE leg_count = 0")?,
            miscounted: count("SELECT count(*) FROM deliveries d WHERE leg_count <> (SELECT count(*) FROM legs l WHERE l.seq = d.seq)")?,
        })
    }

    fn balance(&self, open: [u64; 5], dead_in_memory: u64) -> Books {
        let Counters { accepted, adopted, routed, unrouted, legs, gone, gone_legs, .. } = self.counters;
        let [waiting, leased, retry, parked, relayed] = open;
        let mut by_state = self.by_state;
        by_state[..4].copy_from_slice(&[waiting, leased, retry, parked]);
        by_state[8] = relayed;
        for (at, gone) in gone_legs.into_iter().enumerate() {
            by_state[4 + at] += gone;
        }
        let [rows_waiting, rows_leased, rows_retry, rows_parked, _, _, dead, _, rows_relayed] = self.by_state;
        let open_rows = rows_waiting + rows_leased + rows_retry + rows_parked + rows_relayed;
        let gap = accepted.abs_diff(routed + unrouted)
            + (accepted + adopted).abs_diff(self.routed + self.unrouted + gone)
            + legs.abs_diff(open_rows + by_state[4..8].iter().sum::<u64>() + gone_legs[4])
            + open_rows.abs_diff(open.iter().sum())
            + dead.abs_diff(dead_in_memory)
            + self.miscounted;
        Books { accepted, adopted, routed, unrouted, legs, by_state, gap, leased }
    }
}

/// Counts everything.
pub(super) async fn books(shared: &std::sync::Arc<Shared>) -> Result<Books, LedgerError> {
    for _ in 0..TRIES {
        let rows = shared.read(BOOKS_MAX, Rows::read).await?;
        if let Some((open, dead)) = shared.schedule.counts_at(rows.counters.commits) {
            return Ok(rows.balance(open, dead));
        }
        tokio::task::yield_now().await;
    }
    Err(LedgerError::Failed("the books could not be read at one commit; try again when there is less to do".to_owned()))
}
