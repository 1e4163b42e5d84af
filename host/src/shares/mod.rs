//! The table of shares: what the host has of everything that tenants use together, and how much of it one of them may have.
//!
//! A bound for all keeps the host alive, and lets one tenant use up what the others need. So each shared resource has two numbers here: its
//! bound, and the share of one holder. Whoever needs some of it takes it from the resource's [`Pool`] before use, and it is given back when
//! the [`Held`] is dropped. What happens at a bound is part of the table: wait in a fair turn, be refused, or lose the oldest.
//!
//! [`Resource`] is the table's left column; `docs/limits.md` is the table for people, with the reason of each number. Some owners count by
//! themselves (the ledger counts rows, a meter counts a rate); they ask with [`Pool::fits`] and tell with [`Pool::set`], so that `/metrics`
//! shows all of it in one place.

mod machine;
mod pool;
mod resource;
mod threads;

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

pub use self::{
    machine::Machine,
    pool::{Full, Held, Pool, Whose},
    resource::{AtBound, Resource, Row, Unit},
    threads::Threads,
};
use crate::delivery::{SourceId, TenantId};

/// Who has a share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// The host itself: its share is the whole bound.
    Host,
    /// A tenant.
    Tenant(TenantId),
    /// A source of a tenant, for senders that verified lately.
    Source(TenantId, SourceId),
    /// An address of a stranger (of IPv6, the /64 it is in).
    Address(IpAddr),
}

/// How much there is of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// For all together, in the resource's unit.
    pub bound: u64,
    /// For one holder, in the same unit.
    pub share: u64,
}

/// The limit of every resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    of_all: [Limit; Resource::ALL.len()],
    /// Shares that are a tenant's own, in the place of everybody's.
    own: BTreeMap<(Resource, TenantId), u64>,
}

/// What one holder has of one resource at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Of what.
    pub resource: Resource,
    /// Who.
    pub holder: Holder,
    /// How much, in the resource's unit.
    pub used: u64,
}

/// The table with what is used of it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shares(Arc<[Pool; Resource::ALL.len()]>);

impl Holder {
    /// A tenant.
    #[must_use]
    pub fn tenant(tenant: &TenantId) -> Self {
        Self::Tenant(tenant.clone())
    }

    /// The tenant it is or belongs to, where there is one.
    #[must_use]
    pub fn of_tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(tenant) | Self::Source(tenant, _) => Some(tenant),
            Self::Host | Self::Address(_) => None,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Source(tenant, source) => write!(f, "source {tenant}/{source}"),
            Self::Address(address) => write!(f, "address {address}"),
        }
    }
}

impl Limit {
    /// A bound of which one holder may have `share`, but never more than all.
    #[must_use]
    pub fn new(bound: u64, share: u64) -> Self {
        Self { bound, share: share.min(bound) }
    }
}

impl Limits {
    /// The defaults for a machine: each resource says how it scales.
    #[must_use]
    pub fn of(machine: Machine) -> Self {
        Self { of_all: Resource::ALL.map(|resource| resource.default_limit(machine)), own: BTreeMap::new() }
    }

    /// The limit of one resource.
    #[must_use]
    pub fn get(&self, resource: Resource) -> Limit {
        self.of_all[resource as usize]
    }

    /// Puts another limit in its place.
    pub fn set(&mut self, resource: Resource, limit: Limit) {
        self.of_all[resource as usize] = limit;
    }

    /// Gives a tenant a share of its own.
    pub fn give(&mut self, resource: Resource, tenant: TenantId, share: u64) {
        self.own.insert((resource, tenant), share);
    }

    fn own(&self, resource: Resource) -> BTreeMap<Holder, u64> {
        self.own.iter().filter(|((of, _), _)| *of == resource).map(|((_, tenant), share)| (Holder::tenant(tenant), *share)).collect()
    }
}

impl Shares {
    /// Nothing is used yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Resource::ALL.map(|resource| Pool::with_own(limits.get(resource), limits.own(resource)))))
    }

    /// The resource's pool.
    #[must_use]
    pub fn pool(&self, resource: Resource) -> &Pool {
        &self.0[resource as usize]
    }

    /// What is used at this moment, by resource and holder; holders that use nothing are not in it.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        let of = |resource: Resource| {
            self.pool(resource).used().into_iter().map(move |(holder, used)| Usage { resource, holder, used }).collect::<Vec<_>>()
        };
        Resource::ALL.into_iter().flat_map(of).collect()
    }
}

impl Default for Shares {
    /// The defaults of this machine.
    fn default() -> Self {
        Self::new(&Limits::of(Machine::here()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_has_its_own_row_and_its_own_name() {
        let names: std::collections::BTreeSet<_> = Resource::ALL.iter().map(|resource| resource.row().name).collect();
        assert_eq!(names.len(), Resource::ALL.len());
        for (index, resource) in Resource::ALL.into_iter().enumerate() {
            assert_eq!(resource as usize, index, "{resource:?} stands at its own place");
        }
    }

    #[test]
    fn the_defaults_of_a_small_container_leave_room_for_the_host_and_no_share_is_the_whole() {
        let small = Machine { memory_bytes: 1 << 30, cores: 1 };
        let limits = Limits::of(small);
        let in_memory = [Resource::RunMemory, Resource::BodyBytes].map(|resource| limits.get(resource).bound).iter().sum::<u64>();
        assert!(in_memory <= small.memory_bytes * 3 / 4, "{in_memory} bytes of {}", small.memory_bytes);
        for resource in Resource::ALL {
            let limit = limits.get(resource);
            let whole_may_be_one_holders = [Resource::CompileSlots, Resource::SlowLane].contains(&resource) && limit.bound == 1;
            assert!(limit.share > 0 && (limit.share < limit.bound || whole_may_be_one_holders), "{resource:?}: {limit:?}");
        }
    }

    #[test]
    fn what_is_used_is_told_by_resource_and_holder() {
        let shares = Shares::new(&Limits::of(Machine { memory_bytes: 1 << 30, cores: 2 }));
        let acme = Holder::tenant(&"acme".parse().unwrap());
        let held = shares.pool(Resource::RunMemory).try_take(&acme, 4096).unwrap();
        assert_eq!(shares.usage(), [Usage { resource: Resource::RunMemory, holder: acme, used: 4096 }]);
        drop(held);
        assert!(shares.usage().is_empty());
    }
}
