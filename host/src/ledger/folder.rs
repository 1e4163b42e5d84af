//! The ledger's folder: one process has it, and nobody but its owner looks into it. Every body lies there in clear text.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::OpenError;

/// What group and others may do.
const FOR_OTHERS: u32 = 0o077;

/// The files of a ledger.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) database: PathBuf,
    pub(super) watermark: PathBuf,
    pub(super) inflight: PathBuf,
    lock: PathBuf,
}

impl Files {
    /// Their names in `data_dir`.
    pub(super) fn of(data_dir: &Path) -> Self {
        let file = |name: &str| data_dir.join(name);
        Self { database: file("ledger.db"), watermark: file("watermark"), inflight: file("inflight"), lock: file("lock") }
    }

    /// Makes the database before `SQLite` does, for its owner only; its logs take after it. Files of older hosts are closed to others.
    pub(super) fn close_to_others(&self) -> Result<(), OpenError> {
        let logs = ["-wal", "-shm"].map(|log| with_suffix(&self.database, log));
        private_file(&self.database).map_err(io_failed("cannot open", &self.database))?;
        for file in [&logs[0], &logs[1], &self.watermark, &self.inflight].into_iter().filter(|file| file.exists()) {
            close(file).map_err(io_failed("cannot close to others", file))?;
        }
        Ok(())
    }
}

pub(super) fn io_failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let what = format!("{what} {}", path.display());
    move |error| OpenError(format!("{what}: {error}"))
}

/// A folder that was open to group or others, and is closed now.
#[derive(Clone, Debug)]
pub struct ClosedFolder {
    folder: PathBuf,
    mode: u32,
}

impl ClosedFolder {
    /// Writes the line of the log. Not where the folder is closed: that may be before there is a log.
    pub fn tell(&self) {
        tracing::warn!(folder = %self.folder.display(), mode = format!("{:04o}", self.mode), "data_dir_closed_to_others");
    }
}

/// Creates the folder where it is missing, for its owner only. One that is open to group or others is closed, which is to be told; where that
/// cannot be done it is refused.
pub fn own(data_dir: &Path) -> Result<Option<ClosedFolder>, OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(io_failed("cannot create", data_dir))?;
    let mode = fs::metadata(data_dir).map_err(io_failed("cannot look at", data_dir))?.permissions().mode() & 0o7777;
    if mode & FOR_OTHERS == 0 {
        return Ok(None);
    }
    close(data_dir).map_err(|error| {
        OpenError(format!(
            "{} is open to group or others (mode {mode:04o}), every body that is kept would be theirs to read, and it cannot be closed: \
             {error}. Give it to the user this process runs as and `chmod 700` it, or name a folder inside it as `data_dir`",
            data_dir.display()
        ))
    })?;
    Ok(Some(ClosedFolder { folder: data_dir.to_owned(), mode }))
}

/// Takes away what group and others may do with a file or folder.
fn close(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & FOR_OTHERS == 0 { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(mode & !FOR_OTHERS)) }
}

/// Opens a file to write, made where it is missing; its owner's only, whatever it was before.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    close(path)?;
    Ok(file)
}

/// A path with more at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Creates the folder where it is missing and takes its lock, or says who must go first.
pub(super) fn lock(data_dir: &Path) -> Result<File, OpenError> {
    if let Some(closed) = own(data_dir)? {
        closed.tell();
    }
    sync_above(data_dir).map_err(io_failed("cannot sync the folders above", data_dir))?;
    let path = Files::of(data_dir).lock;
    let file = private_file(&path).map_err(io_failed("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError(format!(
            "{} is in use by another hookyard process; two would run every delivery twice. Stop the other one first",
            data_dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(OpenError(format!("cannot lock {}: {error}", path.display()))),
    }
}

/// Makes the name of a new folder certain: a power cut would otherwise take it away with every synced file in it. A folder that may not be
/// read was not made by us, and nor were those above it.
fn sync_above(data_dir: &Path) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    for above in data_dir.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match File::open(above).and_then(|folder| folder.sync_all()) {
            Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => break,
            synced => synced?,
        }
    }
    Ok(())
}
