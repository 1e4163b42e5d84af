//! Memory: one sum over every linear memory and table of a run.
//!
//! wasmtime's own `StoreLimits` holds each memory to a limit, so that a component with five of them gets five times as much. This limiter
//! adds up. `memory.grow` answers −1 where it refuses and most guests then abort, which would read as a meaningless `unreachable`; so it
//! also notes why it refused, and a trap that follows is told as what it is.

use wasmtime::{Error, ResourceLimiter, Result};

/// What a table element costs: one pointer on a 64-bit host.
const TABLE_ELEMENT_BYTES: usize = 8;
/// Core instances, and memories and tables together with them, of one run; the admission refuses more.
pub(super) const INSTANCES_MAX: u32 = 64;
/// Linear memories of one run.
pub(super) const MEMORIES_MAX: u32 = 4;
/// Tables of one run.
pub(super) const TABLES_MAX: u32 = 16;
/// Elements of one table: the largest interpreters have some 20,000 functions.
pub(super) const TABLE_ELEMENTS_MAX: usize = 100_000;

/// The memory account of one run.
#[derive(Debug)]
pub(super) struct MemoryAccount {
    bytes: usize,
    bytes_max: usize,
    peak: usize,
    last_growth: usize,
    note: Option<String>,
    host_failure: Option<String>,
}

impl MemoryAccount {
    /// An account of at most `bytes_max`.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes: 0,
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            peak: 0,
            last_growth: 0,
            note: None,
            host_failure: None,
        }
    }

    /// The largest sum so far, in bytes.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak as u64
    }

    /// Why a growth was refused, if one was.
    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Why the host could not provide what the run may have, if it could not.
    pub(super) fn host_failure(&self) -> Option<&str> {
        self.host_failure.as_deref()
    }

    fn grow(&mut self, what: &str, growth: usize) -> bool {
        let wanted = self.bytes.saturating_add(growth);
        if wanted > self.bytes_max {
            self.note.get_or_insert_with(|| {
                format!(
                    "{what} would grow by {growth} bytes to a sum of {wanted}, and this run may have {} in all its memories and tables; \
                     use less, or raise `memory_bytes_max` in the plugin's limits, within what all runs of its tenant may have together",
                    self.bytes_max
                )
            });
            return false;
        }
        self.bytes = wanted;
        self.peak = self.peak.max(wanted);
        self.last_growth = growth;
        true
    }

    fn undo(&mut self, error: &Error) {
        self.bytes = self.bytes.saturating_sub(self.last_growth);
        self.last_growth = 0;
        self.host_failure.get_or_insert_with(|| format!("the host could not provide memory the run may have: {error:#}"));
    }
}

impl ResourceLimiter for MemoryAccount {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        // Past its own declared maximum it is the guest's own limit that refuses, not ours.
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.last_growth = 0;
            return Ok(false);
        }
        Ok(self.grow("a memory", desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        self.undo(&error);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        // Ours first: a pooled table's maximum is the size of its slot, whatever the guest declared.
        if desired > TABLE_ELEMENTS_MAX {
            self.note.get_or_insert_with(|| format!("a table would grow to {desired} elements, and may have {TABLE_ELEMENTS_MAX}"));
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.last_growth = 0;
            return Ok(false);
        }
        Ok(self.grow("a table", desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn table_grow_failed(&mut self, error: Error) -> Result<()> {
        self.undo(&error);
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}
