//! Giving legs to RabbitMQ: an outbox in the ledger itself.
//!
//! A leg stays this ledger's until RabbitMQ has confirmed it. The relay takes a leg under a token, publishes it and says what came of it; only
//! a confirm changes the row, and that change may be lost with the process: then the leg is published again, and whoever runs it drops the
//! copy, because it is older than what it knows. A retry and a dead letter take the same way as a new leg.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::{
    Arrival, Arrived, Death, Ledger, LedgerError, Mark, Outbound, Position, RelayScope, Settled, Shared, adopt,
    cache::Fresh,
    committer::Tx,
    lend::{self, Loaded},
    readers::READ_MAX,
    rows,
    schedule::{Change, Picked},
    settle,
    types::{Finished, Lease},
};
use crate::{
    delivery::{Delivery, DeliveryId, LegId, LegState},
    shares::Holder,
};

/// Dead letters handed over in one look.
const DEAD_MAX: i64 = 64;

impl Ledger {
    /// From now on legs of this scope are given to RabbitMQ, and those that come from there are lent.
    pub fn relay(&self, scope: RelayScope) {
        self.shared().schedule.relay(scope);
    }

    /// A number that tells this ledger from every other.
    pub async fn instance(&self) -> Result<u64, LedgerError> {
        let read = |conn: &Connection| conn.query_row("SELECT value FROM meta WHERE key = 'instance'", [], |row| row.get::<_, i64>(0));
        self.shared().read(READ_MAX, read).await.map(i64::cast_unsigned)
    }

    /// Waits for a leg to give to RabbitMQ; `None` when closed.
    pub async fn next_outbound(&self) -> Option<Outbound> {
        let shared = self.shared();
        loop {
            let changed = shared.schedule.changed.notified();
            if shared.schedule.is_closed() || shared.poison.reason().is_some() {
                return None;
            }
            if let Some(picked) = shared.schedule.pick_to_relay(shared.clock.instant()) {
                let (leg, token) = (picked.leg, picked.token);
                match outbound(shared, picked).await {
                    Ok(Some(outbound)) => return Some(outbound),
                    Ok(None) => tracing::error!("relayed_leg_has_no_row"),
                    Err(error) => {
                        tracing::warn!(%error, "relay_read_failed");
                        let again = shared.clock.instant() + super::room::SAMPLE_EVERY;
                        shared.schedule.take_back(leg, token, Some(again));
                    }
                }
                continue;
            }
            match shared.schedule.next_change() {
                Some(instant) => tokio::select! {
                    () = changed => {}
                    () = shared.clock.sleep_until(instant) => {}
                },
                None => changed.await,
            }
        }
    }

    /// RabbitMQ has confirmed them: all are marked in one commit, or none. Where the marks cannot be made, the legs stay with the relay until
    /// they are given back or the process ends, and are published again.
    pub async fn relayed(&self, marks: Vec<Mark>) -> Result<(), LedgerError> {
        self.shared().write(64 * marks.len(), move |tx| marks.iter().try_for_each(|mark| note(tx, *mark))).await
    }

    /// RabbitMQ did not take it: it waits on here. Where `back_off` is given, no other leg of its queue is tried before.
    pub fn not_relayed(&self, outbound: &Outbound, back_off: Option<Instant>) {
        if outbound.death.is_none() {
            self.shared().schedule.take_back(outbound.key, outbound.token, back_off);
        }
    }

    /// RabbitMQ cannot take it (it is too big, or damaged): it runs here, at its time.
    pub fn run_here(&self, outbound: &Outbound) {
        if outbound.death.is_none() {
            let shared = self.shared();
            shared.schedule.run_here(outbound.key, outbound.token, shared.clock.instant());
        }
    }

    /// Takes a leg in that came from RabbitMQ.
    pub async fn arrive(&self, arrival: Arrival) -> Result<Arrived, LedgerError> {
        let bytes = arrival.compressed.len();
        self.shared().write(bytes, move |tx| adopt::arrive(tx, arrival)).await
    }

    /// The message behind a leg that has arrived is gone, or is to go; false where the leg is on loan, or not here.
    pub async fn retract(&self, leg: &LegId) -> Result<bool, LedgerError> {
        let leg = leg.clone();
        let found = self
            .shared()
            .read(READ_MAX, move |conn| {
                let Some((seq, tenant)) = rows::find(conn, leg.delivery)? else { return Ok(None) };
                Ok(rows::queue(conn, &tenant, &leg.plugin)?.map(|queue| (seq.cast_unsigned(), queue)))
            })
            .await?;
        Ok(found.is_some_and(|leg| self.shared().schedule.retract(leg)))
    }

    /// Commits a settlement like [`Ledger::settle`]; a retry goes to the relay at once, with its due time.
    pub async fn settle_for_relay(&self, lease: Lease, finished: Finished) -> Result<Settled, LedgerError> {
        self.shared().settle(settle::Settling::new(lease, finished, true)).await
    }

    /// Dead letters that this ledger has and RabbitMQ has not, oldest first, at most 64.
    pub async fn outbound_dead(&self) -> Result<Vec<Outbound>, LedgerError> {
        let shared = self.shared();
        let mut found = shared.read(READ_MAX, dead).await?;
        for outbound in &mut found {
            outbound.compressed = compress(shared, &outbound.delivery).await?;
        }
        Ok(found)
    }

    /// Takes a dead letter of another host in; false where it must come again later.
    pub async fn archive(&self, arrival: Arrival, death: Death) -> Result<bool, LedgerError> {
        let bytes = arrival.compressed.len();
        self.shared().write(bytes, move |tx| adopt::archive(tx, arrival, &death)).await
    }

    /// How many legs of a delivery this ledger still has to give to RabbitMQ.
    pub async fn unconfirmed_legs(&self, id: DeliveryId) -> Result<usize, LedgerError> {
        let count = move |conn: &Connection| {
            let Some((seq, _)) = rows::find(conn, id)? else { return Ok(0) };
            Ok(rows::legs(conn, seq)?.iter().filter(|leg| leg.state.is_open() && leg.state != LegState::Relayed).count())
        };
        self.shared().read(READ_MAX, count).await
    }
}

fn note(tx: &mut Tx<'_>, Mark { key, token, position, is_dead }: Mark) -> rusqlite::Result<()> {
    let stored = if is_dead { rows::code(LegState::Dead)..=rows::code(LegState::Dead) } else { 0..=3 };
    let changed = tx.execute(
        "UPDATE legs SET state = -1, due_ms = NULL WHERE seq = ?1 AND queue = ?2 AND generation = ?3 AND runs = ?4
         AND state BETWEEN ?5 AND ?6",
        params![key.0.cast_signed(), key.1, position.generation, position.runs.cast_signed(), stored.start(), stored.end()],
    )?;
    if !is_dead {
        tx.changes.push(Change::Confirmed { leg: key, token });
    } else if changed == 1 {
        tx.changes.push(Change::Dead { queue: key.1, by: -1 });
        tx.changes.push(Change::Relayed { queue: key.1, by: 1 });
    }
    Ok(())
}

async fn outbound(shared: &Arc<Shared>, picked: Picked) -> Result<Option<Outbound>, LedgerError> {
    let Picked { leg: key, plugin, token, fresh, .. } = picked;
    let (loaded, due_at, compressed) = if let Some(Fresh { delivery, compressed }) = fresh {
        (Some(Loaded::fresh(delivery)), None, compressed)
    } else {
        let read = move |conn: &Connection| {
            let Some(loaded) = lend::readable(lend::load(conn, key))? else { return Ok((None, None, None)) };
            let due_at = rows::one_leg(conn, key.0.cast_signed(), key.1)?.and_then(|leg| leg.due_at);
            Ok((Some(loaded), due_at, None))
        };
        shared.read(READ_MAX, read).await?
    };
    let Some(loaded) = loaded else { return Ok(None) };
    let due_at = due_at.filter(|due| *due > shared.clock.now());
    let Loaded { delivery, runs, attempts, generation, crashes, tried_at, body_corrupt } = loaded;
    let compressed = match compressed {
        Some(compressed) => compressed,
        None => compress(shared, &delivery).await?,
    };
    let leg = LegId { delivery: delivery.id, plugin };
    let position = Position { generation, runs, attempts, crashes, tried_at };
    Ok(Some(Outbound { leg, delivery, compressed, position, due_at, death: None, body_corrupt, key, token }))
}

async fn compress(shared: &Arc<Shared>, delivery: &Arc<Delivery>) -> Result<Bytes, LedgerError> {
    let failed = |error: std::io::Error| LedgerError::Failed(format!("compressing: {error}"));
    if delivery.document.len() < super::COMPRESS_INLINE_BYTES_MAX {
        return shared.compressors.compress(&delivery.document).map(Bytes::from).map_err(failed);
    }
    let (shared, delivery) = (Arc::clone(shared), Arc::clone(delivery));
    let threads = shared.settings.shares.threads(Holder::tenant(&delivery.tenant));
    let compressed = threads.run(move || shared.compressors.compress(&delivery.document)).await;
    compressed.unwrap_or_else(|error| Err(std::io::Error::other(error))).map(Bytes::from).map_err(failed)
}

fn dead(conn: &Connection) -> rusqlite::Result<Vec<Outbound>> {
    let keys: Vec<(i64, i64)> = conn
        .prepare_cached("SELECT seq, queue FROM legs WHERE state = 6 ORDER BY mark LIMIT ?1")?
        .query_map([DEAD_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut found = Vec::with_capacity(keys.len());
    for (seq, queue) in keys {
        let (Some((delivery, body_corrupt)), Some(leg)) = (rows::delivery(conn, seq)?, rows::one_leg(conn, seq, queue)?) else { continue };
        let last = super::queries::attempts(conn, seq, queue, 1)?.pop();
        let (outcome, detail) = last.map(|last| (last.outcome, last.detail)).unwrap_or_default();
        let rows::LegRow { generation, runs, attempts, crashes, tried_at, .. } = leg;
        found.push(Outbound {
            leg: LegId { delivery: delivery.id, plugin: leg.plugin },
            delivery: Arc::new(delivery),
            compressed: Bytes::new(),
            position: Position { generation, runs, attempts, crashes, tried_at },
            due_at: None,
            death: Some(Death { reason: leg.reason.unwrap_or_default(), outcome, detail }),
            body_corrupt: body_corrupt || !leg.is_sound,
            key: (seq.cast_unsigned(), queue),
            token: 0,
        });
    }
    Ok(found)
}
