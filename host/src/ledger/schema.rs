//! The tables, and how a connection to them is set up.
//!
//! The hot path writes seven rows a delivery, so rows are narrow: tenants and plugins are interned in `queues`, a delivery's parts share its
//! `seq`, and only open legs, dead legs and things that expire have secondary indexes (partial ones). `seq` and `mark` come from the one row
//! of `counters` and never go back, so that cursors and orders built on them survive deletions and wall clocks that jump.

mod steps;

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig};

use self::steps::STEPS;
use super::{OpenError, seal};

/// The schema this program writes.
pub(super) const SCHEMA_VERSION: i64 = STEPS.len().cast_signed() as i64;
/// `SQLite` before 3.51.3 can lose a write-ahead log that is reset while another connection reads it.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// Only this process opens the file, so a lock is held for microseconds (the checkpointer beside the committer).
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

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
    seal::teach(&conn)?;
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
    seal::teach(&conn)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // In memory, because a confined host makes no file outside its folder.
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;")?;
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

    /// The columns of a sealed table, and those its two seals name.
    fn columns(conn: &Connection, table: &str) -> (Vec<String>, Vec<Vec<String>>) {
        let mut info = conn.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0").unwrap();
        let stored = info.query_map([table], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let text: String = conn.query_row("SELECT sql FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0)).unwrap();
        let lists = text.split("seal_of(").skip(1).map(|rest| rest.split(')').next().unwrap());
        (stored, lists.map(|list| list.split(',').map(|name| name.trim().to_owned()).collect()).collect())
    }

    #[test]
    fn a_seal_names_every_column_of_its_table() {
        let dir = tempfile::tempdir().unwrap();
        let mut conn = open_writer(&dir.path().join("ledger.db")).unwrap();
        migrate(&mut conn).unwrap();
        for table in ["counters", "queues", "legs", "attempts", "emits", "kv", "once", "streams", "tried"] {
            let (stored, sealed) = columns(&conn, table);
            assert_eq!(sealed, [stored.clone(), stored], "{table}");
        }
        let (_, sealed) = columns(&conn, "deliveries");
        assert_eq!(sealed[0], sealed[1], "the other columns of a delivery are under its body's checksum");
    }

    #[test]
    fn a_ledger_of_before_the_seals_keeps_every_row_and_is_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let mut conn = open_writer(&dir.path().join("ledger.db")).unwrap();
        STEPS[..6].iter().for_each(|step| conn.execute_batch(step).unwrap());
        conn.execute_batch(
            "UPDATE meta SET value = 6 WHERE key = 'schema'; UPDATE counters SET seq = 2, adopted = 1;
             INSERT INTO queues VALUES (7, 'default', 'a');
             INSERT INTO deliveries VALUES (2, x'00', 'default', 'github', 'g', NULL, 'push', NULL, NULL, NULL, 5, 0, '[]', x'01', 9, 1, 0, 1);
             INSERT INTO legs VALUES (2, 7, 6, 0, 1, 1, 0, 9, NULL, 6, 1, 'rejected');
             INSERT INTO attempts VALUES (2, 7, 1, 0, 1, 5, 6, 'reject', 'dead_letter', '', 1, 2, NULL, NULL, NULL, 40);
             INSERT INTO emits VALUES (1, 2, 7, 0, 0, 'n', 'text/plain', x'02', 6); INSERT INTO kv VALUES (7, 'k', 1, x'03', NULL);
             INSERT INTO once VALUES (2, 7, 'mail', NULL); INSERT INTO streams VALUES ('redis', 0, 2, 0, 1);",
        )
        .unwrap();
        migrate(&mut conn).unwrap();
        for table in ["counters", "queues", "deliveries", "legs", "attempts", "emits", "kv", "once", "streams"] {
            let sound: Vec<bool> = {
                let mut rows = conn.prepare(&format!("SELECT sound FROM {table}")).unwrap();
                rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
            };
            assert_eq!(sound, [true], "{table}");
        }
        let retried: i64 =
            conn.query_row("SELECT retry_after_ms + l.seq FROM attempts JOIN legs l USING (seq)", [], |row| row.get(0)).unwrap();
        assert_eq!(retried, 42);
        assert_eq!(version(&conn).unwrap(), Some(SCHEMA_VERSION));
    }

    #[test]
    fn a_backup_of_every_schema_can_be_put_back() {
        for steps in 1..=STEPS.len() {
            let dir = tempfile::tempdir().unwrap();
            let backup = dir.path().join("backup.db");
            let conn = open_writer(&backup).unwrap();
            STEPS[..steps].iter().for_each(|step| conn.execute_batch(step).unwrap());
            conn.execute("UPDATE meta SET value = ?1 WHERE key = 'schema'", [steps.cast_signed() as i64]).unwrap();
            conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            drop(conn);
            super::super::restore(&backup, &dir.path().join("data")).unwrap();
        }
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
