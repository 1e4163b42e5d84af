//! Free space on the data disk, looked at once a second at most.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::clock::Clock;

/// How old the last look may be.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Whether there is room.
#[derive(Debug)]
pub(super) struct Room {
    dir: PathBuf,
    clock: Clock,
    free_bytes_min: AtomicU64,
    enough: AtomicBool,
    /// Bytes free at the last look.
    free: AtomicU64,
    sampled_at: Mutex<Option<Instant>>,
}

/// Bytes free on the file system of `dir`, for a user without privileges.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

impl Room {
    /// Room on the file system of `dir`.
    pub(super) fn new(dir: PathBuf, clock: Clock, free_bytes_min: u64) -> Self {
        let (free_bytes_min, free) = (AtomicU64::new(free_bytes_min), AtomicU64::new(0));
        Self { dir, clock, free_bytes_min, enough: AtomicBool::new(true), free, sampled_at: Mutex::new(None) }
    }

    /// Whether free space is above the mark. A file system that cannot be asked counts as full: accepting blindly could lose deliveries.
    pub(super) fn is_enough(&self) -> bool {
        let now = self.clock.instant();
        let mut sampled_at = self.sampled_at.lock().unwrap_or_else(PoisonError::into_inner);
        if sampled_at.is_none_or(|at| now.saturating_duration_since(at) >= SAMPLE_EVERY) {
            *sampled_at = Some(now);
            let free = free_bytes(&self.dir).unwrap_or(0);
            self.free.store(free, Ordering::Relaxed);
            self.enough.store(free >= self.free_bytes_min.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.enough.load(Ordering::Relaxed)
    }

    /// Bytes that can be written before the mark is met.
    pub(super) fn left(&self) -> u64 {
        self.is_enough();
        self.free.load(Ordering::Relaxed).saturating_sub(self.free_bytes_min.load(Ordering::Relaxed))
    }

    /// The database said that the disk is full: believe it until the next look.
    pub(super) fn note_full(&self) {
        *self.sampled_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.instant());
        self.enough.store(false, Ordering::Relaxed);
    }

    /// Moves the mark, so that a test can fill and empty the disk.
    #[cfg(test)]
    pub(super) fn require(&self, free_bytes_min: u64) {
        self.free_bytes_min.store(free_bytes_min, Ordering::Relaxed);
        *self.sampled_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
