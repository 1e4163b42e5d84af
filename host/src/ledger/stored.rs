//! What each tenant has stored, in bytes: deliveries with their bodies, legs, records of runs, emits, values, steps, versions on the shelf, and
//! the ids that outlive their deliveries.
//!
//! Whoever writes or deletes a row says what it weighs, and a group's sums are written in its own transaction: nothing is scanned on the way
//! of a delivery, a group costs one statement a tenant, and after a kill the sums are those of the last commit. A row weighs what it holds and
//! a flat part for its place in tables and indexes, so that the sums can be counted again from the rows at any time; the inspection does.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, Error, params, types::Type};

use super::{
    Ledger, LedgerError, body::StoredBody, books::BOOKS_MAX, committer::Tx, readers::READ_MAX, rows::parsed, seal, shelf::VERSION_BYTES,
};
use crate::delivery::{Delivery, TenantId};

/// The flat part of a delivery: its row, its ids and their indexes.
pub(super) const DELIVERY_BYTES: usize = 512;
/// A leg; it holds nothing beside.
pub(super) const LEG_BYTES: usize = 256;
/// The flat part of a record of a run.
pub(super) const RECORD_BYTES: usize = 256;
/// The flat part of an emit.
pub(super) const EMIT_BYTES: usize = 128;
/// The flat part of a value of `kv`.
pub(super) const VALUE_BYTES: usize = 64;
/// The flat part of a step of `once`.
pub(super) const STEP_BYTES: usize = 64;
/// An id, or a seen body, that outlives its delivery.
pub(super) const ID_BYTES: usize = 64;

/// The weight of each kind of row, as SQL over its own table.
struct Weights {
    delivery: String,
    body: &'static str,
    record: String,
    emit: String,
    value: String,
    step: String,
    version: String,
}

static WEIGHTS: LazyLock<Weights> = LazyLock::new(|| Weights {
    delivery: format!(
        "{DELIVERY_BYTES} + octet_length(headers) + octet_length(provider_id) + octet_length(event) + ifnull(octet_length(hook_id), 0)
         + ifnull(octet_length(action), 0) + ifnull(octet_length(repository), 0)"
    ),
    body: "octet_length(document) + ifnull(octet_length(raw), 0)",
    record: format!("{RECORD_BYTES} + octet_length(detail) + ifnull(octet_length(logs), 0) + ifnull(octet_length(host_calls), 0)"),
    emit: format!("{EMIT_BYTES} + octet_length(name) + octet_length(content_type) + octet_length(body)"),
    value: format!("{VALUE_BYTES} + octet_length(key) + octet_length(value)"),
    step: format!("{STEP_BYTES} + octet_length(key) + ifnull(octet_length(answer), 0)"),
    version: format!("{VERSION_BYTES} + octet_length(manifest) + octet_length(wasm) + ifnull(octet_length(report), 0)"),
});

/// Everything that goes with one delivery.
static OF_DELIVERY: LazyLock<String> = LazyLock::new(|| {
    let Weights { delivery, body, record, emit, step, .. } = &*WEIGHTS;
    format!(
        "SELECT ifnull((SELECT {delivery} FROM deliveries WHERE seq = ?1), 0) + ifnull((SELECT {body} FROM bodies WHERE seq = ?1), 0)
         + {LEG_BYTES} * (SELECT count(*) FROM legs WHERE seq = ?1) + ifnull((SELECT sum({record}) FROM attempts WHERE seq = ?1), 0)
         + ifnull((SELECT sum({emit}) FROM emits WHERE seq = ?1), 0) + ifnull((SELECT sum({step}) FROM once WHERE seq = ?1), 0)"
    )
});

/// The weight of every row with its tenant. Nothing is grouped or sorted here: a sorter would carry whole documents, and lay them into a
/// temporary file that a confined host may not make.
static EVERY_ROW: LazyLock<String> = LazyLock::new(|| {
    let Weights { delivery, body, record, emit, value, step, version } = &*WEIGHTS;
    let of_queue = |weight: &str, table: &str| format!("SELECT (SELECT tenant FROM queues WHERE id = queue), {weight} FROM {table}");
    let of_ids = |table: &str| format!("SELECT tenant, {ID_BYTES} FROM {table} WHERE tenant IS NOT NULL");
    let parts = [
        format!("SELECT tenant, {delivery} FROM deliveries"),
        format!("SELECT d.tenant, {body} FROM bodies b JOIN deliveries d ON d.seq = b.seq"),
        of_queue(&LEG_BYTES.to_string(), "legs"),
        of_queue(record, "attempts"),
        of_queue(emit, "emits"),
        of_queue(step, "once"),
        of_queue(value, "kv"),
        format!("SELECT tenant, {version} FROM kept_plugins"),
        of_ids("dedup"),
        of_ids("seen_bodies"),
    ];
    parts.join(" UNION ALL ")
});

/// The weight of one record of a run that goes, as SQL.
pub(super) static OF_RECORD: LazyLock<&str> = LazyLock::new(|| WEIGHTS.record.as_str());
/// The weight of one value that goes, as SQL.
pub(super) static OF_VALUE: LazyLock<&str> = LazyLock::new(|| WEIGHTS.value.as_str());
/// The weight of one version that goes, as SQL.
pub(super) static OF_VERSION: LazyLock<&str> = LazyLock::new(|| WEIGHTS.version.as_str());

/// Sums of a tenant's, or what a group adds to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Bytes stored.
    pub(super) stored: i64,
    /// Bytes that open legs wait with.
    pub(super) waiting: i64,
    /// Open legs.
    pub(super) legs: i64,
}

impl Sums {
    fn add(&mut self, more: Self) {
        self.stored += more.stored;
        self.waiting += more.waiting;
        self.legs += more.legs;
    }

    fn negated(self) -> Self {
        Self { stored: -self.stored, waiting: -self.waiting, legs: -self.legs }
    }
}

/// What a group adds, with the way back for an item that fails.
#[derive(Debug, Default)]
pub(super) struct Tally {
    by_tenant: HashMap<TenantId, Sums>,
    all: Sums,
    steps: Vec<(TenantId, Sums)>,
}

impl Tally {
    pub(super) fn add(&mut self, tenant: &TenantId, more: Sums) {
        self.all.add(more);
        match self.by_tenant.get_mut(tenant) {
            Some(sums) => sums.add(more),
            None => drop(self.by_tenant.insert(tenant.clone(), more)),
        }
        self.steps.push((tenant.clone(), more));
    }

    /// What it adds for a tenant.
    pub(super) fn of(&self, tenant: &TenantId) -> Sums {
        self.by_tenant.get(tenant).copied().unwrap_or_default()
    }

    /// What it adds for all.
    pub(super) fn all(&self) -> Sums {
        self.all
    }

    /// Where an item begins.
    pub(super) fn mark(&self) -> usize {
        self.steps.len()
    }

    /// Takes back what came after `mark`.
    pub(super) fn back_to(&mut self, mark: usize) {
        for (tenant, more) in self.steps.drain(mark..) {
            self.all.add(more.negated());
            if let Some(sums) = self.by_tenant.get_mut(&tenant) {
                sums.add(more.negated());
            }
        }
    }
}

/// The sums as of the last commit.
#[derive(Debug, Default)]
pub(super) struct Stored(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_tenant: HashMap<TenantId, i64>,
    all: i64,
}

impl Stored {
    /// Reads the sums; where a row of them is damaged, all are counted again from what is stored.
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let mut sums = kept(conn);
        if let Err(error) = &sums {
            tracing::error!(%error, "stored_bytes_counted_again");
            let counted = counted(conn)?;
            let transaction = conn.unchecked_transaction()?;
            transaction.execute("DELETE FROM stored", [])?;
            for (tenant, bytes) in &counted {
                put(&transaction, tenant, *bytes)?;
            }
            transaction.commit()?;
            sums = Ok(counted);
        }
        let by_tenant: HashMap<_, _> = sums?.into_iter().collect();
        let all = by_tenant.values().sum();
        Ok(Self(Mutex::new(State { by_tenant, all })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tenant's bytes, everybody's, and how many tenants have some.
    pub(super) fn of(&self, tenant: &TenantId) -> (i64, i64, usize) {
        let state = self.state();
        (state.by_tenant.get(tenant).copied().unwrap_or(0), state.all, state.by_tenant.len())
    }

    /// Writes what the sums will be once the group is committed.
    pub(super) fn write(&self, conn: &Connection, tally: &Tally) -> rusqlite::Result<()> {
        for (tenant, more) in tally.by_tenant.iter().filter(|(_, more)| more.stored != 0) {
            put(conn, tenant, self.of(tenant).0 + more.stored)?;
        }
        Ok(())
    }

    /// The group is committed: which tenants have how much now.
    pub(super) fn apply(&self, tally: Tally) -> Vec<(TenantId, u64)> {
        let mut state = self.state();
        let changed = tally.by_tenant.into_iter().filter(|(_, more)| more.stored != 0);
        let apply = |(tenant, more): (TenantId, Sums)| {
            state.all += more.stored;
            let bytes = state.by_tenant.entry(tenant.clone()).or_default();
            *bytes += more.stored;
            let bytes = *bytes;
            if bytes == 0 {
                state.by_tenant.remove(&tenant);
            }
            (tenant, u64::try_from(bytes).unwrap_or(0))
        };
        changed.map(apply).collect()
    }

    /// Every tenant that has something stored.
    pub(super) fn all(&self) -> Vec<(TenantId, u64)> {
        self.state().by_tenant.iter().map(|(tenant, bytes)| (tenant.clone(), u64::try_from(*bytes).unwrap_or(0))).collect()
    }
}

fn put(conn: &Connection, tenant: &TenantId, bytes: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT INTO stored(tenant, bytes) VALUES (?1, ?2) ON CONFLICT (tenant) DO UPDATE SET bytes = excluded.bytes")?
        .execute(params![tenant.as_str(), bytes])
        .map(drop)
}

/// The sums as they are written.
fn kept(conn: &Connection) -> rusqlite::Result<BTreeMap<TenantId, i64>> {
    let mut sums = conn.prepare_cached("SELECT tenant, bytes, sound FROM stored")?;
    let sum = |row: &rusqlite::Row<'_>| {
        seal::check(row, 2, "the sum of what a tenant has stored")?;
        Ok((parsed(row, 0)?, row.get(1)?))
    };
    sums.query_map([], sum)?.collect()
}

/// The sums as the rows have them.
fn counted(conn: &Connection) -> rusqlite::Result<BTreeMap<TenantId, i64>> {
    let mut sums = BTreeMap::<String, i64>::new();
    let mut every = conn.prepare(&EVERY_ROW)?;
    let mut rows = every.query([])?;
    while let Some(row) = rows.next()? {
        // A row of no queue is damage, which the inspection tells of; its bytes are nobody's.
        let (Some(tenant), bytes) = (row.get_ref(0)?.as_str_or_null()?, row.get::<_, i64>(1)?) else { continue };
        match sums.get_mut(tenant) {
            Some(sum) => *sum += bytes,
            None => drop(sums.insert(tenant.to_owned(), bytes)),
        }
    }
    let named = |(tenant, bytes): (String, i64)| {
        let tenant = tenant.parse().map_err(|error| Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))?;
        Ok((tenant, bytes))
    };
    sums.into_iter().map(named).collect()
}

/// What each tenant's sum lacks, or has too much.
fn gaps(conn: &Connection) -> rusqlite::Result<Vec<(TenantId, i64)>> {
    let snapshot = conn.unchecked_transaction()?;
    let (kept, mut gaps) = (kept(&snapshot)?, counted(&snapshot)?);
    for (tenant, bytes) in kept {
        *gaps.entry(tenant).or_default() -= bytes;
    }
    Ok(gaps.into_iter().filter(|(_, gap)| *gap != 0).collect())
}

/// The bytes of a delivery and its body, without its legs.
pub(super) fn of_accepted(delivery: &Delivery, headers: &str, body: &StoredBody) -> i64 {
    let Delivery { provider_id, event, hook_id, action, repository, .. } = delivery;
    let texts = [hook_id, action, repository].map(|text| text.as_ref().map_or(0, String::len));
    weight(DELIVERY_BYTES + headers.len() + provider_id.len() + event.len() + texts.iter().sum::<usize>() + body.len())
}

/// Everything that goes with a delivery.
pub(super) fn of_delivery(conn: &Connection, seq: i64) -> rusqlite::Result<i64> {
    conn.prepare_cached(&OF_DELIVERY)?.query_row([seq], |row| row.get(0))
}

/// A length as the sums count it.
pub(super) fn weight(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Ledger {
    /// Bytes a tenant has stored as of the last commit: deliveries, records, emits, values, steps, versions, ids.
    #[must_use]
    pub fn stored_bytes(&self, tenant: &TenantId) -> u64 {
        u64::try_from(self.shared().stored.of(tenant).0).unwrap_or(0)
    }

    /// Counts what is stored again, row by row, and puts right what the sums had wrong: how many bytes in all, and 0 where they were right. It
    /// reads the whole database, which may take 10 s at most; an error beyond.
    pub async fn recount_stored_bytes(&self) -> Result<u64, LedgerError> {
        let gaps = self.shared().read(BOOKS_MAX.max(READ_MAX), gaps).await?;
        let wrong = gaps.iter().map(|(_, gap)| gap.unsigned_abs()).sum();
        if wrong > 0 {
            // A gap is added rather than a sum put in place: what was committed meanwhile is in the sum.
            let mend = move |tx: &mut Tx<'_>| {
                for (tenant, gap) in &gaps {
                    tx.store(tenant, *gap);
                }
                // A group that changes no row is not committed.
                tx.execute("UPDATE counters SET commits = commits WHERE id = 1", []).map(drop)
            };
            self.shared().write(0, mend).await?;
        }
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_fails_takes_back_what_it_added_and_nothing_else() {
        let (acme, other): (TenantId, TenantId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let stored = |bytes| Sums { stored: bytes, ..Sums::default() };
        let mut tally = Tally::default();
        tally.add(&acme, stored(5));
        let mark = tally.mark();
        tally.add(&acme, Sums { stored: 7, waiting: 3, legs: 1 });
        tally.add(&other, stored(2));
        tally.back_to(mark);
        assert_eq!((tally.of(&acme), tally.of(&other), tally.all()), (stored(5), stored(0), stored(5)));
    }
}
