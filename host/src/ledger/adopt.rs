//! Legs that come from RabbitMQ: known ones go on where they are, those of other hosts are taken in, older ones are dropped.
//!
//! Decided inside the committer's transaction, because rows and lanes agree only there. One rule keeps it simple: a leg is RabbitMQ's only
//! after a confirm, so whatever this ledger holds or has settled is never lost by dropping a message that is older.

use rusqlite::params;

use super::{
    Arrival, Arrived, Death, Offer,
    body::StoredBody,
    committer::Tx,
    lend::Loaded,
    offer::{Prepared, insert_leg},
    rows,
    rows::LegRow,
    schedule::{Change, From, Key, Place},
    stored::{RECORD_BYTES, weight},
    types::Position,
};
use crate::delivery::LegState;

/// What a message of a leg is, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Of a leg that is not known here, or further on than what is known here.
    Newer,
    /// Of a leg that stands at the same place.
    Same,
    /// Of a leg that has gone on.
    Older,
}

pub(super) fn standing(row: &LegRow, position: Position) -> Standing {
    match (position.generation, position.runs).cmp(&(row.generation, row.runs)) {
        std::cmp::Ordering::Greater => Standing::Newer,
        std::cmp::Ordering::Equal => Standing::Same,
        std::cmp::Ordering::Less => Standing::Older,
    }
}

/// Whether a delivery came from another host.
pub(super) fn is_adopted(tx: &Tx<'_>, seq: i64) -> rusqlite::Result<bool> {
    tx.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM adopted WHERE seq = ?1)")?.query_row([seq], |row| row.get(0))
}

/// Whether a leg may have been settled by a host whose ledger is not this one.
pub(super) fn is_out_of_sight(tx: &Tx<'_>, leg: Key, state: LegState) -> bool {
    let schedule = &tx.shared.schedule;
    state == LegState::Relayed && schedule.outcomes_elsewhere() && schedule.place(leg, state) == Place::Nowhere
}

/// Takes a leg in, to be run here.
pub(super) fn arrive(tx: &mut Tx<'_>, arrival: Arrival) -> rusqlite::Result<Arrived> {
    let queue = tx.queue(&arrival.delivery.tenant, &arrival.leg.plugin)?;
    let known = rows::find(tx.conn, arrival.leg.delivery)?;
    if known.as_ref().is_some_and(|(_, tenant)| *tenant != arrival.delivery.tenant) {
        return Ok(Arrived::Stale);
    }
    let row = match &known {
        Some((seq, _)) => rows::one_leg(tx.conn, *seq, queue)?,
        None => None,
    };
    let position = arrival.position;
    let from = match (&known, &row) {
        (Some((seq, _)), Some(row)) => {
            let leg = (seq.cast_unsigned(), queue);
            let in_group = tx.changes.iter().any(|change| matches!(change, Change::Arrived { leg: arrived, .. } if *arrived == leg));
            let place = if in_group { Place::Arrived } else { tx.shared.schedule.place(leg, row.state) };
            match (standing(row, position), place) {
                (Standing::Same, Place::Loan | Place::Arrived) => return Ok(Arrived::AlreadyHere),
                // A suspect and what waits for its time are on this disk and will be given out from here.
                (Standing::Older, _) | (Standing::Same, Place::Suspected | Place::Due) => return Ok(Arrived::Stale),
                (Standing::Same, _) if !row.state.is_open() => return Ok(Arrived::Stale),
                (Standing::Newer, Place::Loan | Place::Arrived) => return Ok(Arrived::Busy),
                (standing, _) => {
                    if standing == Standing::Newer {
                        catch_up(tx, leg, position)?;
                    }
                    match row.state {
                        LegState::Relayed => From::Relayed,
                        // It had come before its confirm was marked, and the connection it came on was lost: RabbitMQ's keeping since.
                        state if state.is_open() && place == Place::Nowhere => From::Relayed,
                        state if state.is_open() => From::Lane,
                        LegState::Dead => {
                            tx.changes.push(Change::Dead { queue, by: -1 });
                            From::Nowhere
                        }
                        _ => From::Nowhere,
                    }
                }
            }
        }
        _ => From::Nowhere,
    };
    let crashes = row.as_ref().filter(|row| standing(row, position) == Standing::Same).map_or(position.crashes, |row| row.crashes);
    let (seq, delivery) = adopt(tx, arrival, known.map(|(seq, _)| seq), row.is_none(), queue)?;
    let Position { generation, runs, attempts, tried_at, .. } = position;
    let loaded = Loaded { delivery: delivery.into(), runs, attempts, generation, crashes, tried_at, body_corrupt: false };
    tx.changes.push(Change::Arrived { leg: (seq, queue), loaded: Box::new(loaded), from });
    Ok(Arrived::Ready)
}

/// A leg known here has been re-run or retried by another host: its row follows.
pub(super) fn catch_up(tx: &Tx<'_>, leg: Key, position: Position) -> rusqlite::Result<()> {
    let Position { generation, runs, attempts, crashes, tried_at } = position;
    tx.execute(
        "UPDATE legs SET state = -1, generation = ?3, runs = ?4, attempts = ?5, crashes = ?6, due_ms = NULL, settled_ms = NULL, mark = NULL,
         reason = NULL WHERE seq = ?1 AND queue = ?2",
        params![leg.0.cast_signed(), leg.1, generation, runs.cast_signed(), attempts, crashes],
    )?;
    tried_at.map_or(Ok(()), |began_at| rows::note_tried(tx.conn, (leg.0.cast_signed(), leg.1), generation, began_at))
}

/// Writes what is missing of a delivery and its leg, and gives the delivery with its sequence here.
pub(super) fn adopt(
    tx: &mut Tx<'_>,
    arrival: Arrival,
    known: Option<i64>,
    leg_is_new: bool,
    queue: i64,
) -> rusqlite::Result<(u64, crate::delivery::Delivery)> {
    let Arrival { leg, mut delivery, compressed, position, .. } = arrival;
    let bytes = delivery.document.len() as u64;
    let seq = known.map_or(tx.counters.seq + 1, i64::cast_unsigned);
    tx.counters.seq = tx.counters.seq.max(seq);
    delivery.sequence = seq;
    if known.is_none() {
        let body = StoredBody::seal(&delivery, compressed.to_vec());
        let offer = Offer { delivery: delivery.clone(), legs: vec![leg.plugin], refuse_replays: false, waiting_bytes_max: u64::MAX };
        Prepared::new(offer, body).insert_adopted(tx, seq.cast_signed())?;
        tx.counters.adopted += 1;
    } else if leg_is_new {
        let leg_count: i64 = tx
            .conn
            .prepare_cached("UPDATE deliveries SET leg_count = leg_count + 1 WHERE seq = ?1 RETURNING leg_count")?
            .query_row([seq.cast_signed()], |row| row.get(0))?;
        if leg_count == 1 && !is_adopted(tx, seq.cast_signed())? {
            tx.counters.unrouted -= 1;
            tx.counters.routed += 1;
        }
    }
    if leg_is_new {
        insert_leg(tx, &delivery.tenant, (seq, queue), bytes)?;
        catch_up(tx, (seq, queue), position)?;
    }
    Ok((seq, delivery))
}

/// Takes a dead letter of another host in. False where its leg is under way here and the message must come again later.
pub(super) fn archive(tx: &mut Tx<'_>, arrival: Arrival, death: &Death) -> rusqlite::Result<bool> {
    let queue = tx.queue(&arrival.delivery.tenant, &arrival.leg.plugin)?;
    let known = rows::find(tx.conn, arrival.leg.delivery)?;
    if known.as_ref().is_some_and(|(_, tenant)| *tenant != arrival.delivery.tenant) {
        return Ok(true);
    }
    let row = match &known {
        Some((seq, _)) => rows::one_leg(tx.conn, *seq, queue)?,
        None => None,
    };
    let position = arrival.position;
    if let (Some((seq, _)), Some(row)) = (&known, &row) {
        let leg = (seq.cast_unsigned(), queue);
        let place = tx.shared.schedule.place(leg, row.state);
        match standing(row, position) {
            Standing::Older => return Ok(true),
            Standing::Same if !row.state.is_open() => return Ok(true),
            _ if matches!(place, Place::Loan | Place::Arrived) => return Ok(false),
            _ => {}
        }
        match row.state {
            LegState::Relayed => tx.changes.push(Change::Relayed { queue, by: -1 }),
            LegState::Dead => tx.changes.push(Change::Dead { queue, by: -1 }),
            state if state.is_open() => tx.changes.push(Change::Withdrawn { leg }),
            _ => {}
        }
        catch_up(tx, leg, position)?;
    }
    let (seq, _) = adopt(tx, arrival, known.map(|(seq, _)| seq), row.is_none(), queue)?;
    bury(tx, (seq, queue), position, death)?;
    tx.changes.push(Change::Dead { queue, by: 1 });
    Ok(true)
}

fn bury(tx: &mut Tx<'_>, (seq, queue): Key, position: Position, death: &Death) -> rusqlite::Result<()> {
    let (mark, now_ms) = (tx.counters.next_mark(), tx.now.unix_ms());
    tx.execute(
        "UPDATE legs SET state = 6, settled_ms = ?3, mark = ?4, reason = ?5 WHERE seq = ?1 AND queue = ?2",
        params![seq.cast_signed(), queue, now_ms, mark, death.reason],
    )?;
    tx.execute(
        "INSERT INTO attempts(seq, queue, run, generation, attempt, started_ms, duration_us, outcome, settlement, detail, fuel, memory_bytes)
         VALUES (?1, ?2, max(?3, (SELECT ifnull(max(run), 0) + 1 FROM attempts WHERE seq = ?1 AND queue = ?2)), ?4, ?5, ?6, 0, ?7, 'dead_letter', ?8, 0, 0)",
        params![
            seq.cast_signed(),
            queue,
            position.runs.cast_signed(),
            position.generation,
            position.attempts,
            now_ms,
            death.outcome,
            death.detail
        ],
    )?;
    tx.store_of_queue(queue, weight(RECORD_BYTES + death.detail.len()));
    Ok(())
}
