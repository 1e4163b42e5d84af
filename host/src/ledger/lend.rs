//! Lending a leg: picked in memory, noted for the case that its run kills the process, read from the database where it is not fresh.

use std::sync::Arc;

use super::{
    Lease, LedgerError, Shared,
    claims::Granted,
    inflight::Run,
    readers::READ_MAX,
    room::SAMPLE_EVERY,
    rows,
    schedule::{Key, Picked},
};
use crate::{
    delivery::{Delivery, LegId, Timestamp},
    shares::Holder,
};

/// A leg as its worker needs it.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) delivery: Arc<Delivery>,
    pub(super) runs: u64,
    pub(super) attempts: u32,
    pub(super) generation: u32,
    pub(super) crashes: u32,
    pub(super) tried_at: Option<Timestamp>,
    pub(super) body_corrupt: bool,
}

impl Loaded {
    /// A leg that was just accepted.
    pub(super) fn fresh(delivery: Arc<Delivery>) -> Self {
        Self { delivery, runs: 0, attempts: 0, generation: 0, crashes: 0, tried_at: None, body_corrupt: false }
    }
}

/// A loan nobody holds yet: given back if the caller's future is dropped before it has the lease.
struct Unclaimed {
    shared: Arc<Shared>,
    leg: Key,
    token: u64,
    is_claimed: bool,
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if !self.is_claimed
            && let Some(slot) = self.shared.schedule.give_back(self.leg, self.token)
            && let Err(error) = self.shared.inflight.end(slot)
        {
            self.shared.poison.set(&format!("writing the in-flight file: {error}"));
        }
    }
}

/// Waits for a leg; `None` when closed or poisoned.
pub(super) async fn lease(shared: &Arc<Shared>) -> Option<Lease> {
    // One caller at a time, because claims are kept from call to call: who has waited does not begin anew.
    let mut claims = shared.claims.lock().await;
    loop {
        let changed = shared.schedule.changed.notified();
        if shared.schedule.is_closed() || shared.poison.reason().is_some() {
            return None;
        }
        reclaim(shared);
        let has_room = shared.room.is_enough();
        if !has_room {
            claims.give_up();
        } else if let Some((picked, granted)) = claims.next(shared, shared.clock.instant()) {
            match lend(shared, picked, granted).await {
                Ok(Some(lease)) => return Some(lease),
                Ok(None) => tracing::error!("leased_leg_has_no_row"),
                Err(error) => {
                    tracing::warn!(%error, "lease_failed");
                    shared.clock.sleep(SAMPLE_EVERY).await;
                }
            }
            continue;
        }
        let look = (!has_room).then(|| shared.clock.instant() + SAMPLE_EVERY);
        let asleep = async {
            match look.or_else(|| shared.schedule.next_change()) {
                Some(instant) => shared.clock.sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = claims.turn() => {}
            () = asleep => {}
        }
    }
}

fn reclaim(shared: &Shared) {
    for slot in shared.schedule.reclaim(shared.clock.instant()) {
        if let Err(error) = shared.inflight.end(slot) {
            shared.poison.set(&format!("writing the in-flight file: {error}"));
        }
    }
}

async fn lend(shared: &Arc<Shared>, picked: Picked, granted: Granted) -> Result<Option<Lease>, LedgerError> {
    let Picked { leg, plugin, token, is_suspect, fresh, loaded } = picked;
    let mut unclaimed = Unclaimed { shared: Arc::clone(shared), leg, token, is_claimed: false };
    let loaded = match (loaded, fresh) {
        (Some(loaded), _) => Some(*loaded),
        (None, Some(fresh)) => Some(Loaded::fresh(fresh.delivery)),
        (None, None) => {
            let holder = shared.schedule.owner(leg.1).map_or(Holder::Host, Holder::Tenant);
            shared.read_for(&holder, READ_MAX, move |conn| readable(load(conn, leg))).await?
        }
    };
    let Some(loaded) = loaded else {
        // Memory and rows disagree, which the books will show. Giving it back would only pick it again, for ever.
        unclaimed.is_claimed = true;
        return Ok(None);
    };
    let slot = shared.inflight.begin(Run { seq: leg.0, queue: leg.1, runs_before: loaded.runs, is_suspect });
    match slot {
        Ok(Some(slot)) => shared.schedule.note_slot(leg, token, slot),
        Ok(None) => return Err(LedgerError::Failed("too many legs are on loan".to_owned())),
        Err(error) => {
            shared.poison.set(&format!("writing the in-flight file: {error}"));
            return Err(LedgerError::Poisoned(error.to_string()));
        }
    }
    unclaimed.is_claimed = true;
    Ok(Some(Lease {
        leg: LegId { delivery: loaded.delivery.id, plugin },
        attempt: loaded.attempts.saturating_add(1),
        generation: loaded.generation,
        token,
        body_corrupt: loaded.body_corrupt,
        crashes: loaded.crashes,
        tried_at: loaded.tried_at,
        delivery: loaded.delivery,
        memory: granted.memory.into(),
        slot: granted.slot.into(),
    }))
}

/// Nothing where a row makes no sense any more: reading it again would end no better, and its lane would stand still.
pub(super) fn readable(found: rusqlite::Result<Option<Loaded>>) -> rusqlite::Result<Option<Loaded>> {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    match found {
        Err(error @ (FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))) => {
            tracing::error!(%error, "leg_row_unreadable");
            Ok(None)
        }
        found => found,
    }
}

/// Reads a leg and its delivery.
pub(super) fn load(conn: &rusqlite::Connection, (seq, queue): Key) -> rusqlite::Result<Option<Loaded>> {
    let seq = seq.cast_signed();
    let (Some((delivery, body_corrupt)), Some(leg)) = (rows::delivery(conn, seq)?, rows::one_leg(conn, seq, queue)?) else {
        return Ok(None);
    };
    if !leg.state.is_open() {
        // The way to it is damaged, not the leg.
        return Ok(None);
    }
    if !leg.is_sound {
        tracing::error!(delivery_id = %delivery.id, plugin = %leg.plugin, state = leg.state.slug(), "leg_row_damaged");
    }
    let (delivery, body_corrupt) = (Arc::new(delivery), body_corrupt || !leg.is_sound);
    let rows::LegRow { runs, attempts, generation, crashes, tried_at, .. } = leg;
    Ok(Some(Loaded { delivery, runs, attempts, generation, crashes, tried_at, body_corrupt }))
}
