//! Taking a delivery in: dedup by leg, the delivery's rows, its legs. All in the committer's transaction.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest as _, Sha256};

use super::{
    Offer, OfferError, adopt,
    body::{StoredBody, half},
    cache::Fresh,
    committer::Tx,
    quota::LEG_WAITING_BYTES,
    rows,
    schedule::{Change, Key},
    stored::{self, ID_BYTES, LEG_BYTES, Sums, weight},
};
use crate::delivery::{BodyEncoding, Dedup, Delivery, DeliveryId, LegDecision, LegState, PluginName, Receipt, TenantId, decide};

/// An offer, made ready where the call came in.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) offer: Offer,
    pub(super) body: StoredBody,
    /// The same for the same body of the same tenant.
    body_key: [u8; 16],
    /// The same for the same provider's id, event and hook: what came with the body and is not signed.
    origin: [u8; 16],
    headers: String,
}

/// What the transaction made of an offer; a refusal changes nothing.
pub(super) type Taken = Result<Receipt, OfferError>;

impl Prepared {
    /// Hashes and encodes.
    pub(super) fn new(offer: Offer, body: StoredBody) -> Self {
        let delivery = &offer.delivery;
        let hook_id = delivery.hook_id.as_deref().unwrap_or_default();
        let unsigned = [delivery.provider_id.as_str(), &delivery.event, hook_id].join("\0");
        let sent = Sha256::new().chain_update(unsigned);
        let origin = half(&sent.finalize().into());
        let headers = serde_json::to_string(&delivery.headers).unwrap_or_else(|_| "[]".to_owned());
        Self { body_key: body_key(delivery.tenant.as_str(), &delivery.body_sha256), origin, headers, offer, body }
    }

    /// What it adds to its tenant's stored bytes, without legs.
    pub(super) fn stored_bytes(&self) -> i64 {
        stored::of_accepted(&self.offer.delivery, &self.headers, &self.body)
    }

    /// Carries the offer out.
    pub(super) fn apply(self, tx: &mut Tx<'_>) -> rusqlite::Result<Taken> {
        let id = self.offer.delivery.id;
        let known: Option<i64> =
            tx.conn.prepare_cached("SELECT seq FROM dedup WHERE id = ?1")?.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
        match known {
            Some(seq) if rows::delivery_exists(tx.conn, seq, id)? => self.again(tx, seq),
            Some(seq) => self.astray(tx, seq),
            None => self.insert(tx),
        }
    }

    /// An id whose row leads to no delivery of that id. Retention leaves such rows, and their deliveries were dealt with. Anything else is
    /// damage, and a sender is not told `duplicate` of something that might never run.
    fn astray(self, tx: &mut Tx<'_>, seq: i64) -> rusqlite::Result<Taken> {
        let Delivery { id, provider_id, .. } = &self.offer.delivery;
        let id = *id;
        let lies_at: Option<i64> = tx
            .conn
            .prepare_cached("SELECT seq FROM deliveries WHERE provider_id = ?1 AND id = ?2")?
            .query_row(params![provider_id, id.as_bytes()], |row| row.get(0))
            .optional()?;
        if let Some(lies_at) = lies_at {
            tracing::error!(delivery_id = %id, leads_to = seq, lies_at, "dedup_row_damaged");
            tx.execute("UPDATE dedup SET seq = ?2 WHERE id = ?1", params![id.as_bytes(), lies_at])?;
            return self.again(tx, lies_at);
        }
        if !rows::is_taken(tx.conn, seq)? {
            return Ok(Ok(Receipt::Duplicate { id }));
        }
        tracing::error!(delivery_id = %id, leads_to = seq, "dedup_row_damaged");
        forget_id(tx, id)?;
        self.insert(tx)
    }

    /// A delivery that is here already, or was.
    fn again(&self, tx: &mut Tx<'_>, seq: i64) -> rusqlite::Result<Taken> {
        let delivery = &self.offer.delivery;
        let duplicate = Ok(Ok(Receipt::Duplicate { id: delivery.id }));
        let mut legs = BTreeMap::new();
        for leg in rows::legs(tx.conn, seq)? {
            // What became of such a leg is not known here, and a sender must not be told that it was dealt with.
            let lost_sight_of = adopt::is_out_of_sight(tx, (seq.cast_unsigned(), leg.queue), leg.state);
            legs.insert(leg.plugin, if lost_sight_of { LegState::Discarded } else { leg.state });
        }
        let decisions = match decide(&legs, &self.offer.legs) {
            Dedup::Rerun(decisions) => decisions,
            Dedup::Duplicate if legs.values().any(|state| state.is_open()) || !adopt::is_adopted(tx, seq)? => return duplicate,
            // Another host accepted it, with legs this one may not have seen.
            Dedup::Duplicate => {
                let unseen = self.offer.legs.iter().filter(|plugin| !legs.contains_key(*plugin));
                let unseen: Vec<_> = unseen.map(|plugin| LegDecision::Create(plugin.clone())).collect();
                if unseen.is_empty() {
                    return duplicate;
                }
                unseen
            }
        };
        if let Err(refused) = self.admit(tx, 0, decisions.len()) {
            return Ok(Err(refused));
        }
        for decision in &decisions {
            match decision {
                LegDecision::Revive(plugin) => {
                    let queue = tx.queue(&delivery.tenant, plugin)?;
                    revive(tx, &delivery.tenant, (seq.cast_unsigned(), queue))?;
                }
                LegDecision::Create(plugin) => create(tx, delivery.id, seq, plugin)?,
            }
        }
        Ok(Ok(Receipt::Accepted { id: delivery.id, event: delivery.event.clone(), legs: decisions.len() }))
    }

    fn insert(mut self, tx: &mut Tx<'_>) -> rusqlite::Result<Taken> {
        let seen: Option<[u8; 16]> = tx
            .conn
            .prepare_cached("SELECT origin FROM seen_bodies WHERE body = ?1")?
            .query_row([self.body_key], |row| row.get(0))
            .optional()?;
        let body_seen = seen.is_some_and(|origin| origin != self.origin);
        if body_seen && self.offer.refuse_replays {
            return Ok(Err(OfferError::Replayed));
        }
        if let Err(refused) = self.admit(tx, self.stored_bytes(), self.offer.legs.len()) {
            return Ok(Err(refused));
        }
        tx.counters.seq += 1;
        let seq = tx.counters.seq;
        self.offer.delivery.sequence = seq;
        self.insert_rows(tx, seq.cast_signed(), body_seen, seen.is_none())?;
        let Self { offer: Offer { delivery, legs, .. }, body, .. } = self;
        let receipt = Receipt::Accepted { id: delivery.id, event: delivery.event.clone(), legs: legs.len() };
        tx.counters.accepted += 1;
        *(if legs.is_empty() { &mut tx.counters.unrouted } else { &mut tx.counters.routed }) += 1;
        let compressed = tx.shared.schedule.is_relaying().then(|| Bytes::from(body.document));
        let fresh = Fresh { delivery: Arc::new(delivery), compressed };
        let delivery = &fresh.delivery;
        for plugin in &legs {
            let queue = tx.queue(&delivery.tenant, plugin)?;
            let bytes = delivery.document.len() as u64;
            insert_leg(tx, &delivery.tenant, (seq, queue), bytes)?;
            opened(tx, &delivery.tenant, ((seq, queue), bytes), Some(fresh.clone()));
        }
        Ok(Ok(receipt))
    }

    /// Writes the rows of a delivery that another host accepted.
    pub(super) fn insert_adopted(&self, tx: &mut Tx<'_>, seq: i64) -> rusqlite::Result<()> {
        tx.execute("INSERT OR IGNORE INTO adopted(seq) VALUES (?1)", [seq])?;
        // Its id may be remembered of a delivery that retention has deleted.
        forget_id(tx, self.offer.delivery.id)?;
        let is_first_body: bool = tx
            .conn
            .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM seen_bodies WHERE body = ?1)")?
            .query_row([self.body_key], |row| row.get(0))?;
        self.insert_rows(tx, seq, false, is_first_body)
    }

    fn insert_rows(&self, tx: &mut Tx<'_>, seq: i64, body_seen: bool, is_first_body: bool) -> rusqlite::Result<()> {
        let Delivery { id, tenant, source, provider_id, hook_id, event, action, repository, installation_id, .. } = &self.offer.delivery;
        let id_reused: bool = tx
            .conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM deliveries WHERE provider_id = ?1 AND tenant = ?2 AND source = ?3 AND hook_id IS ?4)",
            )?
            .query_row(params![provider_id, tenant.as_str(), source.as_str(), hook_id], |row| row.get(0))?;
        tx.execute("INSERT INTO dedup(id, seq) VALUES (?1, ?2)", params![id.as_bytes(), seq])?;
        if is_first_body {
            tx.execute("INSERT INTO seen_bodies(body, origin, seq) VALUES (?1, ?2, ?3)", params![self.body_key, self.origin, seq])?;
        }
        tx.execute(
            "INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
            params![
                seq,
                id.as_bytes(),
                tenant.as_str(),
                source.as_str(),
                provider_id,
                hook_id,
                event,
                action,
                repository,
                installation_id.map(u64::cast_signed),
                self.offer.delivery.received_at.unix_ms(),
                self.offer.delivery.encoding == BodyEncoding::Form,
                self.headers,
                self.offer.delivery.body_sha256,
                self.offer.delivery.document.len().cast_signed(),
                self.offer.legs.len().cast_signed(),
                id_reused,
                body_seen,
            ],
        )?;
        let StoredBody { checksum, document, raw } = &self.body;
        tx.execute("INSERT INTO bodies VALUES (?1, ?2, ?3, ?4)", params![seq, checksum, document, raw])?;
        tx.store(tenant, self.stored_bytes());
        Ok(())
    }

    /// Whether the tenant has room for so many bytes more on the disk and so many legs of this body, those of this group included: for all of
    /// them, or none is made.
    fn admit(&self, tx: &Tx<'_>, stored: i64, legs: usize) -> Result<(), OfferError> {
        let delivery = &self.offer.delivery;
        let waiting = weight(delivery.document.len().saturating_add(weight_of_leg())).saturating_mul(weight(legs));
        let wanted = Sums { stored: stored.saturating_add(weight(legs * LEG_BYTES)), waiting, legs: weight(legs) };
        tx.admit(&delivery.tenant, wanted, self.offer.waiting_bytes_max)
    }
}

fn weight_of_leg() -> usize {
    usize::try_from(LEG_WAITING_BYTES).unwrap_or(usize::MAX)
}

/// A leg will be open once the group is committed.
fn opened(tx: &mut Tx<'_>, tenant: &TenantId, (leg, bytes): (Key, u64), fresh: Option<Fresh>) {
    let waiting = i64::try_from(bytes.saturating_add(LEG_WAITING_BYTES)).unwrap_or(i64::MAX);
    tx.tally.add(tenant, Sums { stored: 0, waiting, legs: 1 });
    tx.changes.push(Change::Opened { leg, bytes, due: None, fresh });
}

/// Forgets an id, which may have outlived its delivery.
fn forget_id(tx: &mut Tx<'_>, id: DeliveryId) -> rusqlite::Result<()> {
    let outlived: Option<Option<String>> = tx
        .conn
        .prepare_cached("DELETE FROM dedup WHERE id = ?1 RETURNING tenant")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    if let Some(tenant) = outlived.flatten().and_then(|tenant| tenant.parse().ok()) {
        tx.store(&tenant, -weight(ID_BYTES));
    }
    Ok(())
}

/// The same for the same body of the same tenant.
pub(super) fn body_key(tenant: &str, body_sha256: &[u8; 32]) -> [u8; 16] {
    half(&Sha256::new().chain_update(tenant).chain_update([0]).chain_update(body_sha256).finalize().into())
}

/// Writes the row of a new leg.
pub(super) fn insert_leg(tx: &mut Tx<'_>, tenant: &TenantId, (seq, queue): Key, bytes: u64) -> rusqlite::Result<()> {
    tx.counters.legs += 1;
    tx.store(tenant, weight(LEG_BYTES));
    tx.execute(
        "INSERT INTO legs(seq, queue, state, generation, attempts, runs, crashes, body_bytes) VALUES (?1, ?2, 0, 0, 0, 0, 0, ?3)",
        params![seq.cast_signed(), queue, bytes.cast_signed()],
    )?;
    Ok(())
}

/// Adds a leg to a delivery that is here already.
pub(super) fn create(tx: &mut Tx<'_>, id: DeliveryId, seq: i64, plugin: &PluginName) -> rusqlite::Result<()> {
    let Some((_, tenant)) = rows::find(tx.conn, id)? else { return Ok(()) };
    let queue = tx.queue(&tenant, plugin)?;
    let (bytes, leg_count): (i64, i64) = tx
        .conn
        .prepare_cached("UPDATE deliveries SET leg_count = leg_count + 1 WHERE seq = ?1 RETURNING body_bytes, leg_count")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if leg_count == 1 {
        tx.counters.unrouted -= 1;
        tx.counters.routed += 1;
    }
    let (leg, bytes) = ((seq.cast_unsigned(), queue), bytes.cast_unsigned());
    insert_leg(tx, &tenant, leg, bytes)?;
    opened(tx, &tenant, (leg, bytes), None);
    Ok(())
}

/// Runs a leg that is settled, or out of sight at RabbitMQ, again under a new generation: a compare-and-swap, false where it is open here or
/// not there. A message of the old generation is older and runs nothing here.
pub(super) fn revive(tx: &mut Tx<'_>, tenant: &TenantId, leg: Key) -> rusqlite::Result<bool> {
    let before: Option<(i64, i64)> = tx
        .conn
        .prepare_cached("SELECT state, body_bytes FROM legs WHERE seq = ?1 AND queue = ?2 AND (state >= 4 OR state = -1)")?
        .query_row(params![leg.0.cast_signed(), leg.1], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((state, bytes)) = before else { return Ok(false) };
    let state = rows::state(state)?;
    if state.is_open() && !adopt::is_out_of_sight(tx, leg, state) {
        return Ok(false);
    }
    tx.execute(
        "UPDATE legs SET state = 0, generation = min(generation, 4294967294) + 1, attempts = 0, crashes = 0, due_ms = NULL, settled_ms = NULL, mark = NULL,
         reason = NULL WHERE seq = ?1 AND queue = ?2",
        params![leg.0.cast_signed(), leg.1],
    )?;
    match state {
        LegState::Dead => tx.changes.push(Change::Dead { queue: leg.1, by: -1 }),
        LegState::Relayed => tx.changes.push(Change::Relayed { queue: leg.1, by: -1 }),
        _ => {}
    }
    opened(tx, tenant, (leg, bytes.cast_unsigned()), None);
    Ok(true)
}
