//! The high-water mark: how many commits there were, kept outside the database.
//!
//! A write-ahead log that lost its tail, or a copy of yesterday put in place of today, looks like a healthy database. The mark tells: it is
//! written after each commit's sync and before its answers, so a database behind it has lost something a sender was promised. It is synced
//! on a cadence only: after a power cut the mark itself may be up to 64 commits or one second old, and a loss within that window is not seen.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

const MAGIC: u64 = 0x484f_4f4b_5741_544d;
const SYNC_COMMITS: u64 = 64;
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The file, and when it was last synced.
#[derive(Debug)]
pub(super) struct Watermark {
    file: File,
    synced_commits: u64,
    synced_at: Instant,
}

impl Watermark {
    /// Opens or creates the file.
    pub(super) fn open(path: &Path, now: Instant) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Self { file, synced_commits: 0, synced_at: now })
    }

    /// The mark; none where the file is new. A file that is not ours or torn is an error: it must not pass for "no mark".
    pub(super) fn read(&self) -> io::Result<Option<u64>> {
        let mut block = [0; 24];
        match self.file.read_at(&mut block, 0)? {
            0 => return Ok(None),
            24 => {}
            n => return Err(io::Error::other(format!("the high-water mark has {n} bytes instead of 24"))),
        }
        let [magic, commits, check] = [word(&block, 0), word(&block, 8), word(&block, 16)];
        if magic != MAGIC || check != !commits {
            return Err(io::Error::other("the high-water mark is not well formed"));
        }
        Ok(Some(commits))
    }

    /// Writes the mark, and syncs it where the cadence says so.
    pub(super) fn write(&mut self, commits: u64, now: Instant) -> io::Result<()> {
        let mut block = [0; 24];
        block[..8].copy_from_slice(&MAGIC.to_le_bytes());
        block[8..16].copy_from_slice(&commits.to_le_bytes());
        block[16..].copy_from_slice(&(!commits).to_le_bytes());
        self.file.write_all_at(&block, 0)?;
        if commits >= self.synced_commits + SYNC_COMMITS || now.saturating_duration_since(self.synced_at) >= SYNC_EVERY {
            self.sync(commits, now)?;
        }
        Ok(())
    }

    /// Syncs it now.
    pub(super) fn sync(&mut self, commits: u64, now: Instant) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced_commits = commits;
        self.synced_at = now;
        Ok(())
    }
}

fn word(block: &[u8; 24], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&block[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, delivery::Timestamp};

    #[test]
    fn a_mark_is_read_back_and_a_torn_one_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watermark");
        let now = Clock::manual(Timestamp::from_unix_ms(0)).instant();
        let mut mark = Watermark::open(&path, now).unwrap();
        assert_eq!(mark.read().unwrap(), None);
        mark.write(7, now).unwrap();
        assert_eq!(Watermark::open(&path, now).unwrap().read().unwrap(), Some(7));
        std::fs::write(&path, [1; 24]).unwrap();
        assert!(mark.read().is_err());
        std::fs::write(&path, [1; 9]).unwrap();
        assert!(mark.read().is_err());
    }
}
