//! How fast a tenant's runs may write: a budget of bytes a second, so that what one tenant's plugins log, store and emit does not become
//! everybody's disk.
//!
//! A run may leave two MiB behind, and a tenant has dozens of them at once; all are written by one committer and synced by one disk. Over its
//! budget a tenant's settlements wait for their time, and with them its slots: it slows down itself, as far as its own budget demands, and
//! nothing of it is lost. A second's worth may be written at once.
//!
//! What a large settlement costs its neighbours is more than its bytes: everybody who comes while it is written waits, and the longer it takes the
//! more come. So its charge grows with the square of its size. A usual record of a kilobyte pays for itself; two megabytes pay for thirty.
//!
//! A step of `once` is durable before the guest goes on, so it cannot share its pages with others: whatever it holds, it costs the disk whole
//! pages, and is charged for them, before it is written.
//!
//! Beside a tenant's budget there is one for all. Those who write at a time part it in equal parts, so the disk never sees more than it, and a
//! tenant that writes little is as fast as it would be alone.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    delivery::TenantId,
    shares::{Holder, Pool},
};

/// What may be written at once, in time.
const BURST: Duration = Duration::from_secs(1);

/// The longest a settlement waits, however far over its budget its tenant is. Its leg is on loan meanwhile, and a loan is taken back after an
/// hour: a wait that outlasted it would run the leg a second time.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// A settlement of this size is charged twice its bytes.
const DOUBLED_AT_BYTES: u128 = 128 * 1024;

/// What a write that is durable at once costs beside its bytes: pages of 16 KiB for its row, the counters and its tenant's sum.
pub(super) const AT_ONCE_BYTES: usize = 128 * 1024;

/// Who has used how much.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: u64,
    pool: Pool,
    /// When a tenant that writes at its pace would have written what it has; gone where that has passed.
    paid_until: Mutex<HashMap<TenantId, Instant>>,
}

impl Pace {
    /// A budget for each tenant; the pool has the one for all, and is told who uses how much.
    pub(super) fn new(bytes_per_s: u64, pool: Pool) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), pool, paid_until: Mutex::default() }
    }

    /// Takes so many bytes of a tenant's budget, and says when they may be written; none where that is now.
    pub(super) fn take(&self, tenant: &TenantId, bytes: usize, now: Instant) -> Option<Instant> {
        self.charge(tenant, charged(bytes), now)
    }

    /// The same for a write that is durable at once.
    pub(super) fn take_at_once(&self, tenant: &TenantId, bytes: usize, now: Instant) -> Option<Instant> {
        self.charge(tenant, (bytes + AT_ONCE_BYTES) as u128, now)
    }

    /// Takes what is written in any case, such as a version that is deployed: the tenant's runs pay for it.
    pub(super) fn owe(&self, tenant: &TenantId, bytes: usize, now: Instant) {
        self.charge(tenant, bytes as u128, now);
    }

    fn charge(&self, tenant: &TenantId, bytes: u128, now: Instant) -> Option<Instant> {
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        paid_until.retain(|other, until| {
            let is_in_debt = *until > now;
            if !is_in_debt && other != tenant {
                self.pool.set(&Holder::tenant(other), 0);
            }
            is_in_debt
        });
        let others = paid_until.len() as u64 - u64::from(paid_until.contains_key(tenant));
        let bytes_per_s = (self.pool.limit().bound / (others + 1)).clamp(1, self.bytes_per_s);
        let until = paid_until.entry(tenant.clone()).or_insert(now);
        let ahead = until.saturating_duration_since(now);
        let cost = u64::try_from(bytes * 1_000_000_000 / u128::from(bytes_per_s)).unwrap_or(u64::MAX);
        *until = (*until + Duration::from_nanos(cost)).min(now + BURST + WAIT_MAX);
        let lately = until.saturating_duration_since(now).min(BURST).as_nanos() * u128::from(bytes_per_s) / BURST.as_nanos();
        self.pool.set(&Holder::tenant(tenant), u64::try_from(lately).unwrap_or(u64::MAX));
        (ahead > BURST).then(|| now + ahead.saturating_sub(BURST))
    }
}

/// The bytes a settlement is charged.
fn charged(bytes: usize) -> u128 {
    let bytes = bytes as u128;
    bytes + bytes * bytes / DOUBLED_AT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        delivery::Timestamp,
        ledger::schedule::LOAN_MAX,
        shares::{Limit, Limits, Machine, Resource, Shares},
    };

    const RATE: usize = 1000;

    /// A budget for each tenant, and one for all.
    fn pace(bytes_per_s: u64, bound: u64) -> Pace {
        let mut limits = Limits::of(Machine { memory_bytes: 1 << 30, cores: 2 });
        limits.set(Resource::SettledBytes, Limit { bound, share: bytes_per_s });
        Pace::new(bytes_per_s, Shares::new(&limits).pool(Resource::SettledBytes).clone())
    }

    #[test]
    fn those_who_write_at_a_time_part_the_budget_of_all_and_one_alone_has_its_own() {
        let (pace, now) = (pace(1000, 2000), Clock::manual(Timestamp::from_unix_ms(0)).instant());
        let tenant = |name: &str| name.parse::<TenantId>().unwrap();
        let owes = |name: &str| pace.paid_until.lock().unwrap()[&tenant(name)] - now;
        pace.charge(&tenant("a"), 1000, now);
        assert_eq!(owes("a"), Duration::from_secs(1));
        for name in ["b", "c", "d"] {
            pace.charge(&tenant(name), 1000, now);
        }
        assert_eq!(owes("b"), Duration::from_secs(1), "two of a thousand are the bound");
        assert_eq!(owes("d"), Duration::from_secs(2), "four part it");
        pace.charge(&tenant("a"), 1000, now);
        assert_eq!(owes("a"), Duration::from_secs(3));
    }

    #[test]
    fn a_write_that_is_durable_at_once_pays_for_its_pages() {
        let (pace, now) = (pace(AT_ONCE_BYTES as u64, u64::MAX), Clock::manual(Timestamp::from_unix_ms(0)).instant());
        let tenant = "looping".parse::<TenantId>().unwrap();
        let waits = [0; 4].map(|bytes| pace.take_at_once(&tenant, bytes, now).map(|due| (due - now).as_secs()));
        assert_eq!(waits, [None, None, Some(1), Some(2)]);
    }

    #[test]
    fn a_large_settlement_is_charged_for_those_who_wait_meanwhile() {
        assert_eq!(charged(1024), 1032);
        assert_eq!(charged(128 * 1024), 256 * 1024);
        assert_eq!(charged(2 << 20), 34 << 20);
    }

    #[test]
    fn a_tenant_may_write_a_seconds_worth_at_once_and_then_waits_for_its_own_pace_only() {
        let (pace, now) = (pace(RATE as u64, u64::MAX), Clock::manual(Timestamp::from_unix_ms(0)).instant());
        let tenant = |name: &str| name.parse::<TenantId>().unwrap();
        let waits = [400, 400, 400, 400, 2000, 1].map(|bytes| pace.take(&tenant("noisy"), bytes, now).map(|due| (due - now).as_millis()));
        assert_eq!(waits, [None, None, None, Some(203), Some(604), Some(2634)]);
        assert_eq!(pace.take(&tenant("neighbour"), 1000, now), None);
        let later = now + Duration::from_secs(4);
        assert_eq!(pace.take(&tenant("noisy"), 1000, later), None, "time pays");
        assert_eq!(pace.paid_until.lock().unwrap().len(), 1, "who owes nothing is forgotten");
    }

    #[test]
    fn no_settlement_waits_until_its_loan_is_taken_back() {
        let (pace, now) = (pace(1, u64::MAX), Clock::manual(Timestamp::from_unix_ms(0)).instant());
        let tenant = "noisy".parse::<TenantId>().unwrap();
        let longest = (0..200).filter_map(|_| pace.take(&tenant, 2 << 20, now)).max().unwrap();
        assert!(longest - now == WAIT_MAX && WAIT_MAX < LOAN_MAX);
        assert_eq!(pace.take(&tenant, 1, now + BURST + WAIT_MAX), None, "nor is more than that remembered");
    }
}
