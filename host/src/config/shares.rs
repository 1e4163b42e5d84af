//! The table of shares: two keys a resource, with the machine's default beside each.

use std::ops::RangeInclusive;

use super::reader::Reader;
use crate::{
    delivery::TenantId,
    shares::{Limit, Limits, Machine, Resource, Unit},
};

/// Shares an operator may give to one tenant by name, and what they are called there.
const OWN: [(Resource, &str); 5] = [
    (Resource::StoredBytes, "stored_bytes_max"),
    (Resource::WaitingBytes, "waiting_bytes_max"),
    (Resource::Legs, "legs_max"),
    (Resource::RunMemory, "run_memory_bytes_max"),
    (Resource::RunSlots, "concurrency_max"),
];

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

/// Reads `[tenants.<tenant>]`'s shares: each in the place of everybody's, and never above the bound.
pub(super) fn own(reader: &mut Reader, limits: &mut Limits) {
    for name in reader.names("tenants") {
        // A name that is none is told of where the tables are read.
        let Ok(tenant) = name.parse::<TenantId>() else { continue };
        for (resource, word) in OWN {
            let key = format!("tenants.{name}.{word}");
            if reader.value(&key).is_none() {
                continue;
            }
            let bound = limits.get(resource).bound;
            let share = reader.number(&key, limits.get(resource).share, range(resource));
            if share > bound {
                reader.problem(&key, share, format!("at most `{}`, {bound}", resource.row().bound_key));
            }
            limits.give(resource, tenant.clone(), share);
        }
    }
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
    fn a_tenant_may_have_a_share_of_its_own_and_the_others_keep_theirs() {
        let text = "[shares]\nrun_memory_bytes_max = 1073741824\n[tenants.red]\nrun_memory_bytes_max = 33554432\nconcurrency_max = 60\n";
        let mut reader = Reader::new(Path::new("hookyard.toml"), text.parse().unwrap());
        let mut limits = read(&mut reader, Machine { memory_bytes: 4 << 30, cores: 4 });
        own(&mut reader, &mut limits);
        assert!(reader.finish().1.is_empty());
        let shares = crate::shares::Shares::new(&limits);
        let of = |resource, tenant: &str| shares.pool(resource).limit_of(&crate::shares::Holder::tenant(&tenant.parse().unwrap())).share;
        assert_eq!((of(Resource::RunMemory, "red"), of(Resource::RunMemory, "blue")), (32 << 20, 512 << 20));
        assert_eq!((of(Resource::RunSlots, "red"), of(Resource::RunSlots, "blue")), (60, 48), "more than the others is possible, too");
        let pool = shares.pool(Resource::RunMemory);
        let red = crate::shares::Holder::tenant(&"red".parse().unwrap());
        let held = pool.try_take(&red, 32 << 20).unwrap();
        assert!(pool.try_take(&red, 1).is_err(), "it is held to it");
        drop(held);
        let mut reader = Reader::new(Path::new("hookyard.toml"), "[tenants.red]\nconcurrency_max = 65\n".parse().unwrap());
        let mut limits = read(&mut reader, Machine { memory_bytes: 4 << 30, cores: 4 });
        own(&mut reader, &mut limits);
        assert!(reader.finish().1[0].expected.contains("`work.concurrency_max`, 64"));
    }

    #[test]
    fn a_share_follows_a_bound_that_is_written_alone_and_is_never_above_it() {
        assert_eq!(limits("[shares]\nlookups_max = 8\n").get(Resource::Lookups), Limit { bound: 8, share: 2 });
        let above = limits("[shares]\nlookups_max = 8\ntenant_lookups_max = 100\n");
        assert_eq!(above.get(Resource::Lookups), Limit { bound: 8, share: 8 });
        assert_eq!(limits("[work]\nconcurrency_max = 1\n").get(Resource::RunSlots), Limit { bound: 1, share: 1 });
    }
}
