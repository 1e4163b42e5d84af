//! Moving every open leg of this ledger to RabbitMQ or back, while no host runs.
//!
//! To RabbitMQ, all lanes empty into the relay's, those that wait for a time included. Back, each message becomes a waiting row before it is
//! acknowledged: a leg is recalled once, because from then on its row is no longer `relayed`, and every further copy is dropped.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{
    Arrival, Ledger, LedgerError, RelayScope,
    adopt::{self, Standing},
    committer::Tx,
    open::DUE_MAX,
    readers::READ_MAX,
    rows,
    schedule::Change,
};
use crate::delivery::{LegState, PluginName, TenantId, Timestamp};

/// Legs changed in one group.
const PAGE: i64 = 256;

/// What is to become of legs that RabbitMQ has confirmed and does not have any more: another host may have settled them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unaccounted {
    /// They run again, those included that another host has settled.
    Run,
    /// They are given up, those included that nobody has settled.
    Discard,
}

impl Ledger {
    /// Gives everything that is open to the relay, whatever it waits for, as long as it is called: a leg that is refused goes back to its lane.
    pub fn give_all(&self) {
        let schedule = &self.shared().schedule;
        schedule.relay(RelayScope { all: true, outcomes_elsewhere: false });
        schedule.hand_all();
    }

    /// Open legs that RabbitMQ does not have: those it is to get, and those it cannot have, because they are too large or damaged.
    pub fn not_given(&self) -> (u64, u64) {
        self.shared().schedule.not_given()
    }

    /// Legs of the relay's scope that RabbitMQ is to get and has not confirmed; none without a relay.
    pub fn relay_lag(&self) -> u64 {
        self.shared().schedule.relay_lag()
    }

    /// Takes a leg from RabbitMQ back, to wait here until `due_at`. False where its message is of no more use: the leg waits here already, has
    /// gone on or is settled.
    pub async fn recall(&self, arrival: Arrival, due_at: Option<Timestamp>) -> Result<bool, LedgerError> {
        let bytes = arrival.compressed.len();
        self.shared().write(bytes, move |tx| recall(tx, arrival, due_at)).await
    }

    /// The legs of each queue that are in RabbitMQ's keeping; queues without any are there too.
    pub async fn in_keeping(&self) -> Result<BTreeMap<(TenantId, PluginName), u64>, LedgerError> {
        let queues = self.queues().await?;
        Ok(queues.into_iter().map(|queue| ((queue.tenant, queue.plugin), queue.relayed)).collect())
    }

    /// Settles what RabbitMQ should have and does not have, by an operator's word. How many there were.
    pub async fn account_for(&self, unaccounted: Unaccounted) -> Result<u64, LedgerError> {
        let mut done = 0;
        loop {
            let page = self.shared().read(READ_MAX, relayed).await?;
            if page.is_empty() {
                return Ok(done);
            }
            done += page.len() as u64;
            self.shared().write(0, move |tx| page.into_iter().try_for_each(|leg| account_for(tx, leg, unaccounted))).await?;
        }
    }
}

fn recall(tx: &mut Tx<'_>, arrival: Arrival, due_at: Option<Timestamp>) -> rusqlite::Result<bool> {
    let queue = tx.queue(&arrival.delivery.tenant, &arrival.leg.plugin)?;
    let known = rows::find(tx.conn, arrival.leg.delivery)?;
    if known.as_ref().is_some_and(|(_, tenant)| *tenant != arrival.delivery.tenant) {
        return Ok(false);
    }
    let row = match &known {
        Some((seq, _)) => rows::one_leg(tx.conn, *seq, queue)?,
        None => None,
    };
    if let (Some((seq, _)), Some(row)) = (&known, &row) {
        let leg = (seq.cast_unsigned(), queue);
        let standing = adopt::standing(row, arrival.position);
        match (standing, row.state) {
            (Standing::Older, _) => return Ok(false),
            (_, LegState::Relayed) => tx.changes.push(Change::Relayed { queue, by: -1 }),
            (Standing::Same, _) => return Ok(false),
            (Standing::Newer, LegState::Dead) => tx.changes.push(Change::Dead { queue, by: -1 }),
            (Standing::Newer, state) if state.is_open() => tx.changes.push(Change::Withdrawn { leg }),
            (Standing::Newer, _) => {}
        }
        if standing == Standing::Newer {
            adopt::catch_up(tx, leg, arrival.position)?;
        }
    }
    let bytes = arrival.delivery.document.len() as u64;
    let (seq, _) = adopt::adopt(tx, arrival, known.map(|(seq, _)| seq), row.is_none(), queue)?;
    let due_at = due_at.filter(|due_at| *due_at > tx.now);
    let state = rows::code(if due_at.is_some() { LegState::Retry } else { LegState::Waiting });
    tx.execute(
        "UPDATE legs SET state = ?3, due_ms = ?4 WHERE seq = ?1 AND queue = ?2",
        params![seq.cast_signed(), queue, state, due_at.map(Timestamp::unix_ms)],
    )?;
    let due = due_at.map(|due_at| tx.instant + due_at.since(tx.now).min(DUE_MAX));
    tx.changes.push(Change::Opened { leg: (seq, queue), bytes, due, fresh: None });
    Ok(true)
}

/// Legs in RabbitMQ's keeping, a page of them.
fn relayed(conn: &rusqlite::Connection) -> rusqlite::Result<Vec<(i64, i64)>> {
    conn.prepare_cached("SELECT seq, queue FROM legs WHERE state = -1 LIMIT ?1")?
        .query_map([PAGE], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn account_for(tx: &mut Tx<'_>, (seq, queue): (i64, i64), unaccounted: Unaccounted) -> rusqlite::Result<()> {
    tx.changes.push(Change::Relayed { queue, by: -1 });
    match unaccounted {
        Unaccounted::Run => {
            // A new generation, so that a message that turns up after all is older.
            let bytes: i64 = tx
                .conn
                .prepare_cached(
                    "UPDATE legs SET state = 0, generation = min(generation, 4294967294) + 1, attempts = 0, crashes = 0,
                     due_ms = NULL
                     WHERE seq = ?1 AND queue = ?2 RETURNING body_bytes",
                )?
                .query_row([seq, queue], |row| row.get(0))?;
            tx.changes.push(Change::Opened { leg: (seq.cast_unsigned(), queue), bytes: bytes.cast_unsigned(), due: None, fresh: None });
        }
        Unaccounted::Discard => {
            let mark = tx.counters.next_mark();
            tx.execute(
                "UPDATE legs SET state = ?3, settled_ms = ?4, mark = ?5 WHERE seq = ?1 AND queue = ?2",
                params![seq, queue, rows::code(LegState::Discarded), tx.now.unix_ms(), mark],
            )?;
        }
    }
    Ok(())
}
