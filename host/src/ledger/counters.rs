//! The one row of running numbers: positions that never go back, and the first of the two counts in the books.

use rusqlite::{Connection, params};

use super::seal;

/// The row, as of the last commit or within a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Commits since the ledger began.
    pub(super) commits: u64,
    /// Last delivery sequence given.
    pub(super) seq: u64,
    /// Last mark given: the order of settlements, emits, plugin versions and kv versions.
    pub(super) mark: u64,
    /// Deliveries accepted.
    pub(super) accepted: u64,
    /// Of them with a leg.
    pub(super) routed: u64,
    /// Of them without.
    pub(super) unrouted: u64,
    /// Legs created.
    pub(super) legs: u64,
    /// Deliveries deleted by retention.
    pub(super) gone: u64,
    /// Legs deleted by retention that were acked, skipped, dead, discarded, relayed.
    pub(super) gone_legs: [u64; 5],
    /// Deliveries that came from another host with one of their legs.
    pub(super) adopted: u64,
}

impl Counters {
    /// Reads the row.
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached(
            "SELECT commits, seq, mark, accepted, routed, unrouted, legs, gone, gone_acked, gone_skipped, gone_dead, gone_discarded,
             gone_relayed, adopted, sound FROM counters WHERE id = 1",
        )?
        .query_row([], |row| {
            seal::check(row, 14, "the row of counters")?;
            let number = |at: usize| row.get::<_, i64>(at).map(i64::cast_unsigned);
            Ok(Self {
                commits: number(0)?,
                seq: number(1)?,
                mark: number(2)?,
                accepted: number(3)?,
                routed: number(4)?,
                unrouted: number(5)?,
                legs: number(6)?,
                gone: number(7)?,
                gone_legs: [number(8)?, number(9)?, number(10)?, number(11)?, number(12)?],
                adopted: number(13)?,
            })
        })
    }

    /// Writes the row.
    pub(super) fn write(&self, conn: &Connection) -> rusqlite::Result<()> {
        let [acked, skipped, dead, discarded, relayed] = self.gone_legs.map(u64::cast_signed);
        conn.prepare_cached(
            "UPDATE counters SET commits = ?1, seq = ?2, mark = ?3, accepted = ?4, routed = ?5, unrouted = ?6, legs = ?7, gone = ?8,
             gone_acked = ?9, gone_skipped = ?10, gone_dead = ?11, gone_discarded = ?12, gone_relayed = ?13, adopted = ?14 WHERE id = 1",
        )?
        .execute(params![
            self.commits.cast_signed(),
            self.seq.cast_signed(),
            self.mark.cast_signed(),
            self.accepted.cast_signed(),
            self.routed.cast_signed(),
            self.unrouted.cast_signed(),
            self.legs.cast_signed(),
            self.gone.cast_signed(),
            acked,
            skipped,
            dead,
            discarded,
            relayed,
            self.adopted.cast_signed(),
        ])?;
        Ok(())
    }

    /// The next mark.
    pub(super) fn next_mark(&mut self) -> i64 {
        self.mark += 1;
        self.mark.cast_signed()
    }
}
