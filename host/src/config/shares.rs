//! The table of shares: two keys a resource, with the machine's default beside each.

use std::ops::RangeInclusive;

use super::reader::Reader;
use crate::shares::{Limit, Limits, Machine, Resource, Unit};

/// Reads every key of the table. A share above its bound is taken as the bound: whoever lowers the bound need not know the shares.
pub(super) fn read(reader: &mut Reader, machine: Machine) -> Limits {
    let mut limits = Limits::of(machine);
    for resource in Resource::ALL {
        let (row, default) = (resource.row(), limits.get(resource));
        let bound = reader.number(row.bound_key, default.bound, range(resource));
        // Where only the bound is written, the share keeps its part of it.
        let share_default = if bound == default.bound { default.share } else { scaled(default, bound) };
        let share = reader.number(row.share_key, share_default, range(resource));
        limits.set(resource, Limit::new(bound, share));
    }
    limits
}

fn scaled(default: Limit, bound: u64) -> u64 {
    let share = u128::from(default.share) * u128::from(bound) / u128::from(default.bound.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).max(1)
}

/// What may be written for bound and share.
fn range(resource: Resource) -> RangeInclusive<u64> {
    match resource {
        // Less would leave a run next to nothing beside what it has outside its memories.
        Resource::RunMemory => 16 << 20..=1 << 50,
        Resource::RunSlots => 1..=1024,
        Resource::SlowLane => 1..=256,
        Resource::SettledBytes => 64 << 10..=1 << 40,
        Resource::BodyBytes => 1 << 20..=1 << 40,
        // A connection to the ledger for each, with a cache of its own.
        Resource::LedgerReads => 1..=64,
        // Fewer, and a deploy could wait for itself.
        Resource::BlockingThreads => 2..=512,
        _ if resource.row().unit == Unit::Bytes => 1 << 16..=1 << 50,
        _ => 1..=1_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn limits(text: &str) -> Limits {
        let mut reader = Reader::new(Path::new("hookyard.toml"), text.parse().unwrap());
        let limits = read(&mut reader, Machine { memory_bytes: 4 << 30, cores: 4 });
        assert!(reader.finish().1.is_empty());
        limits
    }

    #[test]
    fn the_machine_gives_the_defaults_and_the_file_changes_them() {
        assert_eq!(limits("").get(Resource::RunMemory), Limit { bound: 2 << 30, share: 1 << 30 });
        let written = limits("[shares]\nrun_memory_bytes_max = 1073741824\ntenant_run_memory_bytes_max = 134217728\n");
        assert_eq!(written.get(Resource::RunMemory), Limit { bound: 1 << 30, share: 128 << 20 });
    }

    #[test]
    fn a_share_follows_a_bound_that_is_written_alone_and_is_never_above_it() {
        assert_eq!(limits("[shares]\nlookups_max = 8\n").get(Resource::Lookups), Limit { bound: 8, share: 2 });
        let above = limits("[shares]\nlookups_max = 8\ntenant_lookups_max = 100\n");
        assert_eq!(above.get(Resource::Lookups), Limit { bound: 8, share: 8 });
        assert_eq!(limits("[work]\nconcurrency_max = 1\n").get(Resource::RunSlots), Limit { bound: 1, share: 1 });
    }
}
