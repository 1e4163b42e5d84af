//! Which legs are being run right now, told to the operating system before the guest's first instruction.
//!
//! A plugin that kills the host must be found out after the restart, so each lease is written to a slot of a small file: not synced, because
//! a page cache outlives a killed process (and a power cut is no plugin's fault). A slot is cleared when the run has ended and its
//! settlement begins, which may wait for its tenant's pace: what ends the host in that time is not this run. One that was not cleared in time
//! names a `run` the leg has passed by then and is ignored.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use super::schedule::Key;

const SLOT_BYTES: usize = 64;
/// Legs on loan at once, at most.
pub(super) const SLOTS_MAX: usize = 4096;

/// One run under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The delivery.
    pub(super) seq: u64,
    /// The queue.
    pub(super) queue: i64,
    /// How often the leg ran before.
    pub(super) runs_before: u64,
    /// The host died during an earlier run of it, and nobody knew whose fault it was.
    pub(super) is_suspect: bool,
}

impl Run {
    /// The leg, as the schedule names it.
    pub(super) fn leg(self) -> Key {
        (self.seq, self.queue)
    }
}

/// The file and its free slots.
#[derive(Debug)]
pub(super) struct InFlight {
    file: File,
    free: Mutex<Vec<usize>>,
}

impl InFlight {
    /// Opens or creates the file and returns the runs that were under way when it was last written.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Run>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut runs = Vec::new();
        let mut slot = [0; SLOT_BYTES];
        for at in 0..SLOTS_MAX {
            if file.read_at(&mut slot, offset(at))? < SLOT_BYTES {
                break;
            }
            runs.extend(decode(&slot));
        }
        Ok((Self { file, free: Mutex::new((0..SLOTS_MAX).rev().collect()) }, runs))
    }

    /// Forgets everything: the runs found at open are recorded elsewhere now.
    pub(super) fn reset(&self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// Notes a run; `None` where all slots are taken.
    pub(super) fn begin(&self, run: Run) -> io::Result<Option<usize>> {
        let Some(slot) = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop() else { return Ok(None) };
        self.file.write_all_at(&encode(run), offset(slot))?;
        Ok(Some(slot))
    }

    /// The run in `slot` is over.
    pub(super) fn end(&self, slot: usize) -> io::Result<()> {
        self.file.write_all_at(&[0; SLOT_BYTES], offset(slot))?;
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        Ok(())
    }
}

fn offset(slot: usize) -> u64 {
    (slot * SLOT_BYTES) as u64
}

fn encode(run: Run) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&run.seq.to_le_bytes());
    slot[8..16].copy_from_slice(&run.queue.to_le_bytes());
    slot[16..24].copy_from_slice(&run.runs_before.to_le_bytes());
    slot[24..32].copy_from_slice(&u64::from(run.is_suspect).to_le_bytes());
    let check = Sha256::digest(&slot[..32]);
    slot[32..].copy_from_slice(&check);
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Run> {
    let check = Sha256::digest(&slot[..32]);
    if slot[32..] != check[..] {
        return None;
    }
    let word = |at: usize| slot[at..at + 8].try_into().ok().map(u64::from_le_bytes);
    Some(Run { seq: word(0)?, queue: word(8)?.cast_signed(), runs_before: word(16)?, is_suspect: word(24)? != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_that_did_not_end_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("inflight");
        let (file, found) = InFlight::open(&path).unwrap();
        assert_eq!(found, vec![]);
        let run = |seq| Run { seq, queue: 3, runs_before: 1, is_suspect: seq == 2 };
        let first = file.begin(run(1)).unwrap().unwrap();
        file.begin(run(2)).unwrap().unwrap();
        file.end(first).unwrap();
        assert_eq!(InFlight::open(&path).unwrap().1, vec![run(2)]);
        file.reset().unwrap();
        assert_eq!(InFlight::open(&path).unwrap().1, vec![]);
    }
}
