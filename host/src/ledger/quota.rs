//! How much a tenant may have in the ledger, and what is left of it.
//!
//! Two numbers hold at once: the tenant's share, and a bound for all. The bound for all of what is stored is never more than the disk has above
//! `free_bytes_min`, and the shares shrink with it, so that on a small disk a tenant meets its share before anybody meets the end of the disk. As
//! shares may add up to more than the bound, its last eighth is only for tenants that have less than an equal part: who fills the bound finds
//! it full before those who did not. A tenant that is the only one of its host may have all.
//!
//! What runs leave behind is held to the same numbers of this moment: otherwise the accepted legs of one tenant would write until the disk is
//! short for everybody. A record without its log is always kept, one for each leg, or a leg could not end.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use super::{OfferError, Shared, committer::Tx, stored::Sums};
use crate::{
    delivery::TenantId,
    shares::{Holder, Limit, Resource, Shares, Whose},
};

/// Bytes an open leg counts beside its document, towards what waits: its rows and its place in memory.
pub(super) const LEG_WAITING_BYTES: u64 = 512;

/// What the operator allows one tenant; the host's share where nothing is said, and never more than it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes it may have stored.
    pub stored_bytes_max: Option<u64>,
    /// Legs it may have open.
    pub legs_max: Option<u64>,
    /// What happens when its stored bytes are used up.
    pub at_stored_bytes_max: AtStoredBytesMax,
}

/// What happens when a tenant's stored bytes are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtStoredBytesMax {
    /// Its deliveries are refused until retention has made room.
    #[default]
    Refuse,
    /// Its oldest deliveries that are settled, or had no leg, go before their time. Dead letters stay.
    DropOldest,
}

/// The tenants' quotas.
#[derive(Debug)]
pub(super) struct Quotas {
    shares: Shares,
    by_tenant: RwLock<BTreeMap<TenantId, Quota>>,
}

/// Why what a run leaves behind does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It exceeds what is configured for its plugin or its tenant.
    Quota,
    /// It does not, and the disk has less at this moment.
    Disk,
}

/// Of one resource: what a tenant has, what all have, and how many tenants there are to have some.
#[derive(Clone, Copy, Debug)]
struct Used {
    own: u64,
    all: u64,
    holders: usize,
}

impl Quotas {
    pub(super) fn new(shares: Shares) -> Self {
        Self { shares, by_tenant: RwLock::default() }
    }

    pub(super) fn replace(&self, quotas: BTreeMap<TenantId, Quota>) {
        *self.by_tenant.write().unwrap_or_else(PoisonError::into_inner) = quotas;
    }

    /// How many tenants there are, at least.
    fn tenants(&self) -> usize {
        self.by_tenant.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A tenant's quota.
    pub(super) fn of(&self, tenant: &TenantId) -> Quota {
        self.by_tenant.read().unwrap_or_else(PoisonError::into_inner).get(tenant).copied().unwrap_or_default()
    }

    /// Bound and share of a tenant where there is no more than `available` at all, and its operator says `own`.
    fn limit(&self, resource: Resource, tenant: &TenantId, (available, own): (u64, Option<u64>)) -> Limit {
        let by_tenant = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner);
        let is_alone = by_tenant.len() == 1 && by_tenant.contains_key(tenant);
        drop(by_tenant);
        let (pool, holder) = (self.shares.pool(resource), Holder::tenant(tenant));
        // A share that was given by name is meant, also where nobody else is there.
        let is_alone = is_alone && !pool.own().any(|(own, _)| *own == holder);
        limit(pool.limit_of(&holder), available, (is_alone, own))
    }
}

fn limit(of_host: Limit, available: u64, (is_alone, own): (bool, Option<u64>)) -> Limit {
    let bound = of_host.bound.min(available);
    let part = u128::from(of_host.share) * u128::from(bound) / u128::from(of_host.bound.max(1));
    let share = if is_alone { bound } else { u64::try_from(part).unwrap_or(u64::MAX) };
    Limit::new(bound, share.min(own.unwrap_or(u64::MAX)))
}

fn fits(limit: Limit, used: Used, wanted: u64) -> Result<(), Whose> {
    let (own, all) = (used.own.saturating_add(wanted), used.all.saturating_add(wanted));
    if own > limit.share {
        return Err(Whose::Share);
    }
    let equal_part = limit.bound / used.holders.max(1) as u64;
    let for_those_who_have_little = if own > equal_part { limit.bound / 8 } else { 0 };
    if all > limit.bound - for_those_who_have_little { Err(Whose::All) } else { Ok(()) }
}

/// The most a holder may have while the others keep what they have.
fn most(limit: Limit, used: Used) -> u64 {
    let others = used.all.saturating_sub(used.own);
    let left = |bound: u64| bound.saturating_sub(others);
    let little = left(limit.bound).min(limit.bound / used.holders.max(1) as u64);
    limit.share.min(little.max(left(limit.bound - limit.bound / 8)))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Shared {
    /// Bound and share of a tenant's stored bytes as they are configured.
    pub(super) fn stored_limit(&self, tenant: &TenantId) -> Limit {
        self.quotas.limit(Resource::StoredBytes, tenant, (u64::MAX, self.quotas.of(tenant).stored_bytes_max))
    }

    /// The same at this moment: no more than the disk has.
    pub(super) fn stored_limit_now(&self, tenant: &TenantId) -> Limit {
        let (_, all, _) = self.stored.of(tenant);
        let available = unsigned(all).saturating_add(self.room.left());
        self.quotas.limit(Resource::StoredBytes, tenant, (available, self.quotas.of(tenant).stored_bytes_max))
    }

    /// The most a tenant may have stored at this moment.
    pub(super) fn stored_most_now(&self, tenant: &TenantId) -> u64 {
        let (own, all, holders) = self.stored.of(tenant);
        let holders = (holders + usize::from(own == 0)).max(self.quotas.tenants());
        most(self.stored_limit_now(tenant), Used { own: unsigned(own), all: unsigned(all), holders })
    }

    /// Whether so many legs more, of so many bytes in all, fit what a tenant has waiting.
    fn waits(&self, tenant: &TenantId, (of_tenant, of_all): (Sums, Sums), (wanted, waiting_bytes_max): (Sums, u64)) -> Result<(), Whose> {
        let (own, all, holders) = self.schedule.waiting(tenant);
        let holders = holders.max(self.quotas.tenants());
        let used = |own: u64, all: u64, of_tenant: i64, of_all: i64| Used {
            own: own.saturating_add_signed(of_tenant),
            all: all.saturating_add_signed(of_all),
            holders,
        };
        let limit = |resource, own| self.quotas.limit(resource, tenant, (u64::MAX, Some(own)));
        let bytes = used(own.bytes, all.bytes, of_tenant.waiting, of_all.waiting);
        fits(limit(Resource::WaitingBytes, waiting_bytes_max), bytes, unsigned(wanted.waiting))?;
        let legs = used(own.legs, all.legs, of_tenant.legs, of_all.legs);
        let legs_max = self.quotas.of(tenant).legs_max.unwrap_or(u64::MAX);
        fits(limit(Resource::Legs, legs_max), legs, unsigned(wanted.legs))
    }
}

impl Tx<'_> {
    fn stored(&self, tenant: &TenantId) -> Used {
        let (own, all, holders) = self.shared.stored.of(tenant);
        let holders = (holders + usize::from(own == 0)).max(self.shared.quotas.tenants());
        let (of_tenant, of_all) = (self.tally.of(tenant).stored, self.tally.all().stored);
        Used { own: unsigned(own + of_tenant), all: unsigned(all + of_all), holders }
    }

    /// Whether a run of a tenant's may leave so many bytes more behind at this moment, those of this group included.
    pub(super) fn may_store(&self, tenant: &TenantId, wanted: i64) -> bool {
        self.check_stored(tenant, wanted).is_ok()
    }

    /// The same, and why not.
    pub(super) fn check_stored(&self, tenant: &TenantId, wanted: i64) -> Result<(), Unfit> {
        let (used, wanted) = (self.stored(tenant), unsigned(wanted));
        fits(self.shared.stored_limit(tenant), used, wanted).map_err(|_| Unfit::Quota)?;
        fits(self.shared.stored_limit_now(tenant), used, wanted).map_err(|_| Unfit::Disk)
    }

    /// Whether an offer fits what its tenant, and all, may have.
    pub(super) fn admit(&self, tenant: &TenantId, wanted: Sums, waiting_bytes_max: u64) -> Result<(), OfferError> {
        if wanted == Sums::default() {
            return Ok(());
        }
        let (used, bytes) = (self.stored(tenant), unsigned(wanted.stored));
        fits(self.shared.stored_limit(tenant), used, bytes).map_err(|whose| match whose {
            Whose::Share => OfferError::TenantStorage,
            Whose::All => OfferError::StorageFull,
        })?;
        // Within what is configured, and there is less.
        fits(self.shared.stored_limit_now(tenant), used, bytes).map_err(|_| OfferError::StorageFull)?;
        if wanted.legs == 0 {
            return Ok(());
        }
        let in_group = (self.tally.of(tenant), self.tally.all());
        self.shared.waits(tenant, in_group, (wanted, waiting_bytes_max)).map_err(|_| OfferError::TenantQuota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Limit = Limit { bound: 800, share: 200 };

    fn used(own: u64, all: u64, holders: usize) -> Used {
        Used { own, all, holders }
    }

    #[test]
    fn shares_shrink_with_the_disk_and_who_is_alone_has_all_of_it() {
        assert_eq!(limit(HOST, u64::MAX, (false, None)), HOST);
        assert_eq!(limit(HOST, 400, (false, None)), Limit { bound: 400, share: 100 });
        assert_eq!(limit(HOST, 400, (true, None)), Limit { bound: 400, share: 400 });
        assert_eq!(limit(HOST, 400, (false, Some(50))).share, 50);
        assert_eq!(limit(HOST, 400, (false, Some(1000))).share, 100, "the host's share is the most");
        assert_eq!(limit(HOST, 0, (true, None)), Limit { bound: 0, share: 0 });
    }

    #[test]
    fn a_share_that_was_given_by_name_counts_for_that_tenant_alone_and_also_where_it_is_the_only_one() {
        use crate::shares::{Limits, Machine};
        let (red, blue): (TenantId, TenantId) = ("red".parse().unwrap(), "blue".parse().unwrap());
        let mut limits = Limits::of(Machine { memory_bytes: 1 << 30, cores: 2 });
        limits.set(Resource::StoredBytes, HOST);
        limits.give(Resource::StoredBytes, red.clone(), 300);
        let quotas = Quotas::new(Shares::new(&limits));
        let share = |tenant: &TenantId, own| quotas.limit(Resource::StoredBytes, tenant, (u64::MAX, own)).share;
        assert_eq!((share(&red, None), share(&blue, None)), (300, 200));
        assert_eq!(share(&red, Some(50)), 50, "the tenant's own file may say less");
        quotas.replace(BTreeMap::from([(red.clone(), Quota::default())]));
        assert_eq!(share(&red, None), 300);
    }

    #[test]
    fn who_filled_the_bound_finds_it_full_before_those_who_did_not() {
        assert_eq!(fits(HOST, used(190, 190, 1), 11), Err(Whose::Share));
        assert_eq!(fits(HOST, used(190, 190, 1), 10), Ok(()));
        // Five tenants, 160 each for an equal part; four of them have filled the bound up to its last eighth.
        assert_eq!(fits(HOST, used(175, 700, 5), 10), Err(Whose::All));
        assert_eq!(fits(HOST, used(0, 700, 5), 100), Ok(()));
        assert_eq!(fits(HOST, used(0, 750, 5), 60), Err(Whose::All), "nobody passes the bound itself");
    }

    #[test]
    fn the_most_one_may_have_is_the_last_that_fits() {
        for (own, others, holders) in [(0, 0, 1), (190, 0, 1), (100, 600, 5), (0, 650, 5), (200, 500, 3), (50, 900, 2)] {
            let fit = |own: u64| fits(HOST, used(own, own + others, holders), 0).is_ok();
            let last = (0..=HOST.bound).rev().find(|own| fit(*own)).unwrap_or(0);
            assert_eq!(most(HOST, used(own, own + others, holders)), last, "{own} {others} {holders}");
        }
    }
}
