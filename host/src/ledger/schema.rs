//! The tables, and how a connection to them is set up.
//!
//! The hot path writes seven rows a delivery, so rows are narrow: tenants and plugins are interned in `queues`, a delivery's parts share its
//! `seq`, and only open legs, dead legs and things that expire have secondary indexes (partial ones). `seq` and `mark` come from the one row
//! of `counters` and never go back, so that cursors and orders built on them survive deletions and wall clocks that jump.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig};

use super::OpenError;

/// What brings a database from each schema to the next: the first entry creates schema 1, the second leads from 1 to 2, and so on. A step that
/// was ever released is frozen; a change of the tables is a new step at the end.
const STEPS: [&str; 6] = [CREATE, SHELVE_PLUGINS, STREAMS, KEEP_ASKED_DELAYS, RELAY, KEEPER];
/// The schema this program writes.
pub(super) const SCHEMA_VERSION: i64 = STEPS.len().cast_signed() as i64;
/// `SQLite` before 3.51.3 can lose a write-ahead log that is reset while another connection reads it.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// Only this process opens the file, so a lock is held for microseconds (the checkpointer beside the committer).
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// `deliveries.id_reused` and the like are 0 or 1; states are the numbers of `rows::code`; times are Unix milliseconds.
const CREATE: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counters(
  id INTEGER PRIMARY KEY CHECK (id = 1), commits INTEGER NOT NULL, seq INTEGER NOT NULL, mark INTEGER NOT NULL,
  accepted INTEGER NOT NULL, routed INTEGER NOT NULL, unrouted INTEGER NOT NULL, legs INTEGER NOT NULL,
  gone INTEGER NOT NULL, gone_acked INTEGER NOT NULL, gone_skipped INTEGER NOT NULL, gone_dead INTEGER NOT NULL,
  gone_discarded INTEGER NOT NULL);
INSERT INTO counters VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
CREATE TABLE queues(id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, plugin TEXT NOT NULL, UNIQUE (tenant, plugin));
CREATE TABLE deliveries(
  seq INTEGER PRIMARY KEY, id BLOB NOT NULL, tenant TEXT NOT NULL, source TEXT NOT NULL, provider_id TEXT NOT NULL, hook_id TEXT,
  event TEXT NOT NULL, action TEXT, repository TEXT, installation_id INTEGER, received_ms INTEGER NOT NULL, form INTEGER NOT NULL,
  headers TEXT NOT NULL, body_sha256 BLOB NOT NULL, body_bytes INTEGER NOT NULL, leg_count INTEGER NOT NULL,
  id_reused INTEGER NOT NULL, body_seen INTEGER NOT NULL);
CREATE INDEX deliveries_provider ON deliveries(provider_id);
CREATE TABLE bodies(seq INTEGER PRIMARY KEY, checksum BLOB NOT NULL, document BLOB NOT NULL, raw BLOB);
CREATE TABLE dedup(id BLOB PRIMARY KEY, seq INTEGER NOT NULL, expires_ms INTEGER) WITHOUT ROWID;
CREATE INDEX dedup_expires ON dedup(expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE seen_bodies(body BLOB PRIMARY KEY, origin BLOB NOT NULL, seq INTEGER NOT NULL, expires_ms INTEGER) WITHOUT ROWID;
CREATE INDEX seen_bodies_expires ON seen_bodies(expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE legs(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, state INTEGER NOT NULL, generation INTEGER NOT NULL, attempts INTEGER NOT NULL,
  runs INTEGER NOT NULL, crashes INTEGER NOT NULL, body_bytes INTEGER NOT NULL, due_ms INTEGER, settled_ms INTEGER, mark INTEGER,
  reason TEXT, PRIMARY KEY (seq, queue)) WITHOUT ROWID;
CREATE INDEX legs_open ON legs(seq, queue, due_ms, body_bytes) WHERE state < 4;
CREATE INDEX legs_dead ON legs(mark, queue) WHERE state = 6;
CREATE TABLE attempts(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, run INTEGER NOT NULL, generation INTEGER NOT NULL, attempt INTEGER NOT NULL,
  started_ms INTEGER NOT NULL, duration_us INTEGER NOT NULL, outcome TEXT NOT NULL, settlement TEXT NOT NULL, detail TEXT NOT NULL,
  fuel INTEGER NOT NULL, memory_bytes INTEGER NOT NULL, digest BLOB, logs TEXT, host_calls TEXT,
  PRIMARY KEY (seq, queue, run)) WITHOUT ROWID;
CREATE TABLE emits(
  mark INTEGER PRIMARY KEY, seq INTEGER NOT NULL, queue INTEGER NOT NULL, generation INTEGER NOT NULL, position INTEGER NOT NULL,
  name TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL, emitted_ms INTEGER NOT NULL);
CREATE INDEX emits_seq ON emits(seq);
CREATE TABLE kv(
  queue INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, value BLOB NOT NULL, expires_ms INTEGER,
  PRIMARY KEY (queue, key)) WITHOUT ROWID;
CREATE INDEX kv_expires ON kv(expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE kv_usage(queue INTEGER PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE once(
  seq INTEGER NOT NULL, queue INTEGER NOT NULL, key TEXT NOT NULL, answer BLOB, PRIMARY KEY (seq, queue, key)) WITHOUT ROWID;
CREATE TABLE kept_plugins(
  mark INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL, wasm BLOB NOT NULL, manifest BLOB NOT NULL);
CREATE INDEX kept_plugins_name ON kept_plugins(tenant, name, mark);
INSERT INTO meta VALUES ('schema', 1), ('clean', 1);
";

/// Versions get the time they began to serve at, ahead of their bytes, so that a list reads no blob; pauses and holds get a place.
const SHELVE_PLUGINS: &str = "
ALTER TABLE kept_plugins RENAME TO kept_plugins_1;
DROP INDEX kept_plugins_name;
CREATE TABLE kept_plugins(
  mark INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL, served_ms INTEGER NOT NULL,
  manifest BLOB NOT NULL, wasm BLOB NOT NULL);
INSERT INTO kept_plugins SELECT mark, tenant, name, digest, 0, manifest, wasm FROM kept_plugins_1;
DROP TABLE kept_plugins_1;
CREATE INDEX kept_plugins_name ON kept_plugins(tenant, name, mark);
CREATE TABLE plugin_pauses(tenant TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (tenant, name)) WITHOUT ROWID;
CREATE TABLE plugin_holds(
  tenant TEXT NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, name, digest)) WITHOUT ROWID;
";

/// How far each stream has come; `followed` is 0 for deliveries and 1 for emits, `held` is 1 while retention waits for it.
const STREAMS: &str = "
CREATE TABLE streams(
  name TEXT NOT NULL, followed INTEGER NOT NULL, position INTEGER NOT NULL, gap INTEGER NOT NULL, held INTEGER NOT NULL,
  PRIMARY KEY (name, followed)) WITHOUT ROWID;
";

/// The delay a plugin asks for is part of its verdict: a replay compares it.
const KEEP_ASKED_DELAYS: &str = "ALTER TABLE attempts ADD COLUMN retry_after_ms INTEGER;";

/// Legs may be in RabbitMQ's keeping, and deliveries may come from another host with a leg. `adopted` has the sequence of each of those,
/// `instance` tells this ledger from others.
const RELAY: &str = "
ALTER TABLE counters ADD COLUMN gone_relayed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0;
CREATE TABLE adopted(seq INTEGER PRIMARY KEY);
INSERT INTO meta VALUES ('instance', random() & 9223372036854775807);
";

/// Which RabbitMQ has the legs that are in RabbitMQ's keeping.
const KEEPER: &str = "CREATE TABLE keeper(id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL);";

/// Refuses a `SQLite` library that is known to corrupt what it writes.
pub(super) fn check_library() -> Result<(), OpenError> {
    check_version(rusqlite::version_number(), rusqlite::version())
}

fn check_version(version: i32, name: &str) -> Result<(), OpenError> {
    if version >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    Err(OpenError(format!(
        "this program was linked with SQLite {name}, which can lose committed data; build it with the bundled SQLite (3.51.3 or newer)"
    )))
}

/// A connection that may write. No connection checkpoints when it is closed: after an I/O error nothing may touch the file again.
pub(super) fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    prepare_once(&conn)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.execute_batch(
        "PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;",
    )?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

/// Has a statement keep its plan. By default (<https://www.sqlite.org/queryplanner-ng.html#qpstab>) the planner may look at the values bound to
/// it, and where it has, the statement is compiled anew for every other value: a third of the committer's time went there.
fn prepare_once(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    prepare_once(&conn)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192;")?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Creates the tables, or brings them to [`SCHEMA_VERSION`] in one transaction; refuses a newer schema.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError(format!("the schema could not be read or written: {error}"));
    let found = version(conn).map_err(failed)?.unwrap_or(0);
    let missing = usize::try_from(found).ok().and_then(|found| STEPS.get(found..)).ok_or_else(|| {
        OpenError(format!(
            "the database has schema {found}, this program knows {SCHEMA_VERSION}: run the program that wrote it, or restore a backup"
        ))
    })?;
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = conn.transaction().map_err(failed)?;
    for step in missing {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.execute("UPDATE meta SET value = ?1 WHERE key = 'schema'", [SCHEMA_VERSION]).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Whether this program can open a database of that schema.
pub(super) fn is_known(version: i64) -> bool {
    (1..=SCHEMA_VERSION).contains(&version)
}

/// The schema of the database; none where it is new.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    if !conn.table_exists(None, "meta")? {
        return Ok(None);
    }
    conn.query_row("SELECT value FROM meta WHERE key = 'schema'", [], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_can_lose_what_it_committed_is_refused_and_ours_is_not_one() {
        // Debian 12's, and the last one before the mend: <https://sqlite.org/releaselog/3_51_3.html>.
        for (version, name) in [(3_040_001, "3.40.1"), (3_051_002, "3.51.2")] {
            let refused = check_version(version, name).unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains("bundled"), "{refused}");
        }
        check_library().unwrap();
    }
    #[test]
    fn a_statement_is_compiled_once_whatever_values_it_is_given() {
        use rusqlite::StatementStatus::RePrepare;

        let dir = tempfile::tempdir().unwrap();
        let mut writer = open_writer(&dir.path().join("hookyard.db")).unwrap();
        migrate(&mut writer).unwrap();
        let reader = open_reader(&dir.path().join("hookyard.db")).unwrap();
        for conn in [&writer, &reader] {
            // A shape of ours whose plan SQLite would make anew for each value.
            let mut last_run = conn.prepare("SELECT max(run) FROM attempts WHERE seq = ?1 AND queue = ?2").unwrap();
            for seq in 1..=9_i64 {
                last_run.query_row([seq, 1], |row| row.get::<_, Option<i64>>(0)).unwrap();
            }
            assert_eq!(last_run.get_status(RePrepare), 0);
        }
    }
}
