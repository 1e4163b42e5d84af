//! A copy while running, and putting it back.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, backup::Backup};

use super::{
    LedgerError, OpenError, Shared,
    counters::Counters,
    folder::{self, Files, private_file, with_suffix},
    pages::{self, Pages},
    schema, seal,
    watermark::Watermark,
};
use crate::clock::Clock;

/// How long copying may take. It pins the write-ahead log meanwhile, so it is not unlimited either.
const BACKUP_MAX: Duration = Duration::from_hours(1);

/// Writes the state of one commit to `target`, which must not exist yet, for its owner only: it holds every body. It appears under its name only
/// when it is complete and synced.
pub(super) async fn backup(shared: &std::sync::Arc<Shared>, target: PathBuf) -> Result<(), LedgerError> {
    if fs::symlink_metadata(&target).is_ok() {
        return Err(LedgerError::Failed(format!("{} exists already; name a file that does not", target.display())));
    }
    let shown = target.display().to_string();
    let copied = shared.read(BACKUP_MAX, move |conn| Ok(copy(conn, &target))).await?;
    copied.map_err(|error| LedgerError::Failed(format!("writing {shown}: {error}")))
}

/// Writes the ledger of `data_dir` to `target` from beside the host that may be running on it: a reader of its own, which disturbs nobody.
pub fn backup_beside(data_dir: &Path, target: &Path) -> Result<(), LedgerError> {
    let failed =
        |what: &dyn std::fmt::Display| LedgerError::Failed(format!("copying {} to {}: {what}", data_dir.display(), target.display()));
    if fs::symlink_metadata(target).is_ok() {
        return Err(failed(&"the target exists already; name a file that does not"));
    }
    let conn = schema::open_reader(&Files::of(data_dir).database).map_err(|error| failed(&error))?;
    copy(&conn, target).map_err(|error| failed(&error))
}

fn copy(conn: &Connection, target: &Path) -> io::Result<()> {
    let partial = with_suffix(target, ".partial");
    // SQLite would make it with whatever mode the process's mask leaves.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(|error| {
        let hint = "another backup is being written there, or one was cut off: remove that file, or name another target";
        let hint = if error.kind() == io::ErrorKind::AlreadyExists { hint } else { "name a target in a folder that may be written" };
        io::Error::new(error.kind(), format!("{}: {error}; {hint}", partial.display()))
    })?;
    let copied = (|| {
        let mut to = Connection::open(&partial)?;
        Backup::new(conn, &mut to)?.run_to_completion(i32::MAX, Duration::ZERO, None)
    })();
    let done = copied.map_err(io::Error::other).and_then(|()| {
        File::open(&partial)?.sync_all()?;
        // Not in the place of what may have come there meanwhile.
        rustix::fs::renameat_with(rustix::fs::CWD, &partial, rustix::fs::CWD, target, rustix::fs::RenameFlags::NOREPLACE)?;
        sync_folder(target)
    });
    if done.is_err() {
        let _ = fs::remove_file(&partial);
    }
    done
}

/// Puts a backup in the place of the ledger in `data_dir`, with a high-water mark of its own. A ledger that is there is moved aside, to
/// `<name>.before-restore-<unix time>`; one that is in use is refused. What was accepted after the backup is not in it: its senders can
/// send again, because its ids are not remembered either.
pub fn restore(backup: &Path, data_dir: &Path) -> Result<(), OpenError> {
    schema::check_library()?;
    let commits = check(backup)?;
    let _lock = folder::lock(data_dir)?;
    let clock = Clock::system();
    let files = Files::of(data_dir);
    let failed = |error: io::Error| OpenError(format!("restoring to {}: {error}", data_dir.display()));
    let incoming = data_dir.join("ledger.db.incoming");
    // A copy of the bytes only: a backup that others may read would make a ledger that they may.
    let copied = private_file(&incoming).and_then(|mut to| {
        to.set_len(0)?;
        io::copy(&mut File::open(backup)?, &mut to)?;
        to.sync_all()
    });
    copied.map_err(failed)?;
    let suffix = format!(".before-restore-{}", clock.now().unix_ms() / 1000);
    let logs = ["-wal", "-shm"].map(|log| with_suffix(&files.database, log));
    for file in [&files.database, &logs[0], &logs[1], &files.watermark, &files.inflight].into_iter().filter(|file| file.exists()) {
        fs::rename(file, with_suffix(file, &suffix)).map_err(failed)?;
    }
    let now = clock.instant();
    let marked = Watermark::open(&files.watermark, now).and_then(|mut mark| {
        mark.write(commits, now)?;
        mark.sync(commits, now)
    });
    marked.and_then(|()| fs::rename(&incoming, &files.database)).and_then(|()| sync_folder(&files.database)).map_err(failed)
}

/// Whether it is a whole ledger of a schema we know; its number of commits.
fn check(backup: &Path) -> Result<u64, OpenError> {
    let wrong = |what: String| OpenError(format!("{} cannot be restored: {what}", backup.display()));
    let conn = Connection::open_with_flags(backup, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| wrong(error.to_string()))?;
    let read = || {
        seal::teach(&conn)?;
        let found = pages::quick_check(&conn)?;
        let version = schema::version(&conn)?;
        let commits = match version {
            Some(schema::SCHEMA_VERSION) => Counters::read(&conn)?.commits,
            Some(older) if schema::is_known(older) => {
                conn.query_row("SELECT commits FROM counters", [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)?
            }
            _ => 0,
        };
        Ok((found, version, commits))
    };
    match read().map_err(|error: rusqlite::Error| wrong(error.to_string()))? {
        (Pages::Damaged(found), ..) => Err(wrong(format!("it is damaged ({found})"))),
        (_, Some(version), commits) if schema::is_known(version) => Ok(commits),
        (_, Some(version), _) => Err(wrong(format!("it has schema {version}, this program knows {}", schema::SCHEMA_VERSION))),
        (_, None, _) => Err(wrong("it is no hookyard ledger".to_owned())),
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
