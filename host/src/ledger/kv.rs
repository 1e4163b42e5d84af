//! A plugin's values: versions checked at the commit, a quota, expiry.
//!
//! A version is a mark of the ledger, so it is never given twice, not even to a key that was deleted in between.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    KvValue,
    committer::Tx,
    quota::Unfit,
    seal,
    stored::{OF_VALUE, VALUE_BYTES, weight},
};
use crate::delivery::{KvRead, KvWrite, TenantId, Timestamp};

/// Bytes of keys and values one plugin may keep.
pub(super) const BYTES_MAX: i64 = 16 * 1024 * 1024;
/// Keys one plugin may keep.
pub(super) const KEYS_MAX: i64 = 100_000;

/// A value that has not expired; an error where it is not the one that was written, which no plugin must take for its own.
pub(super) fn get(conn: &Connection, queue: i64, key: &str, now: Timestamp) -> rusqlite::Result<Option<KvValue>> {
    conn.prepare_cached("SELECT value, version, sound FROM kv WHERE queue = ?1 AND key = ?2 AND (expires_ms IS NULL OR expires_ms > ?3)")?
        .query_row(params![queue, key, now.unix_ms()], |row| {
            seal::check(row, 2, "a plugin's value")?;
            Ok(KvValue { value: row.get(0)?, version: row.get::<_, i64>(1)?.cast_unsigned() })
        })
        .optional()
}

/// Whether every value read still has the version that was read.
pub(super) fn reads_hold(tx: &Tx<'_>, queue: i64, reads: &[KvRead]) -> rusqlite::Result<bool> {
    for read in reads {
        let version = get(tx.conn, queue, &read.key, tx.now)?.map_or(0, |value| value.version);
        if version != read.version {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes all values, or none and answers why not where they, together with `beside` bytes that the same run stores, do not fit the plugin's
/// quota or what its tenant may have stored.
pub(super) fn write_all(
    tx: &mut Tx<'_>,
    (tenant, queue): (&TenantId, i64),
    writes: &[KvWrite],
    beside: i64,
) -> rusqlite::Result<Result<(), Unfit>> {
    if writes.is_empty() {
        return Ok(if beside == 0 { Ok(()) } else { tx.check_stored(tenant, beside) });
    }
    let usage: Option<(i64, i64)> = tx
        .conn
        .prepare_cached("SELECT keys, bytes FROM kv_usage WHERE queue = ?1")?
        .query_row([queue], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (had_keys, had_bytes) = usage.unwrap_or_default();
    let (mut keys, mut bytes) = (had_keys, had_bytes);
    for write in writes {
        if let Some(size) = size(tx, queue, &write.key)? {
            keys -= 1;
            bytes -= size;
        }
        if let Some(value) = &write.value {
            keys += 1;
            bytes += (write.key.len() + value.len()).cast_signed() as i64;
        }
    }
    // What makes room is always taken, even by a plugin that is over its quota.
    if (keys > KEYS_MAX && keys > had_keys) || (bytes > BYTES_MAX && bytes > had_bytes) {
        return Ok(Err(Unfit::Quota));
    }
    let stored = bytes - had_bytes + (keys - had_keys) * weight(VALUE_BYTES);
    if stored + beside > 0
        && let Err(unfit) = tx.check_stored(tenant, stored + beside)
    {
        return Ok(Err(unfit));
    }
    tx.store(tenant, stored);
    for write in writes {
        put(tx, queue, write)?;
    }
    tx.execute("INSERT OR REPLACE INTO kv_usage VALUES (?1, ?2, ?3)", params![queue, keys, bytes])?;
    Ok(Ok(()))
}

/// What a run has met, in words.
pub(super) fn unfit_in_words(tx: &Tx<'_>, tenant: &TenantId, unfit: Unfit) -> String {
    let (used, most) = (tx.shared.stored.of(tenant).0, tx.shared.stored_limit_now(tenant).share);
    if unfit == Unfit::Disk {
        return format!(
            "the data disk has little left, and what this run wrote exceeds what its tenant may have stored at this moment ({used} of {most} \
             bytes are used); the leg waits, and its tries are not counted, until the operator frees space on the disk or older deliveries go"
        );
    }
    format!(
        "what this run wrote exceeds its plugin's {} MiB or {} keys of values, or what its tenant may have stored ({used} of {most} bytes are \
         used); delete values or let them expire, or have the operator raise the tenant's `limits.stored_bytes_max`",
        BYTES_MAX / (1024 * 1024),
        KEYS_MAX,
    )
}

fn put(tx: &mut Tx<'_>, queue: i64, write: &KvWrite) -> rusqlite::Result<()> {
    match &write.value {
        Some(value) => {
            let version = tx.counters.next_mark();
            let expires_ms = write.expires_at.map(Timestamp::unix_ms);
            tx.execute("INSERT OR REPLACE INTO kv VALUES (?1, ?2, ?3, ?4, ?5)", params![queue, write.key, version, value, expires_ms])?;
        }
        None => {
            tx.execute("DELETE FROM kv WHERE queue = ?1 AND key = ?2", params![queue, write.key])?;
        }
    }
    Ok(())
}

fn size(tx: &Tx<'_>, queue: i64, key: &str) -> rusqlite::Result<Option<i64>> {
    tx.conn
        .prepare_cached("SELECT length(CAST(key AS BLOB)) + length(value) FROM kv WHERE queue = ?1 AND key = ?2")?
        .query_row(params![queue, key], |row| row.get(0))
        .optional()
}

/// Removes some values that expired; how many.
pub(super) fn sweep(tx: &mut Tx<'_>, limit: usize) -> rusqlite::Result<usize> {
    let expired = "SELECT queue, key FROM kv WHERE expires_ms IS NOT NULL AND expires_ms <= ?1 LIMIT ?2";
    remove(tx, expired, params![tx.now.unix_ms(), limit.cast_signed()])
}

/// Removes some values of one queue; how many.
pub(super) fn remove_some(tx: &mut Tx<'_>, queue: i64, limit: usize) -> rusqlite::Result<usize> {
    remove(tx, "SELECT queue, key FROM kv WHERE queue = ?1 LIMIT ?2", params![queue, limit.cast_signed()])
}

fn remove(tx: &mut Tx<'_>, which: &str, params: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<usize> {
    let gone: Vec<(i64, i64)> = tx
        .conn
        .prepare_cached(&format!("DELETE FROM kv WHERE (queue, key) IN ({which}) RETURNING queue, {}", *OF_VALUE))?
        .query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (queue, bytes) in &gone {
        let held = bytes - weight(VALUE_BYTES);
        tx.execute("UPDATE kv_usage SET keys = keys - 1, bytes = bytes - ?2 WHERE queue = ?1", params![queue, held])?;
        tx.store_of_queue(*queue, -bytes);
    }
    Ok(gone.len())
}
