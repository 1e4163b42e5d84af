//! How fast a tenant's runs may write: a budget of bytes a second, so that what one tenant's plugins log, store and emit does not become
//! everybody's disk.
//!
//! A run may leave two MiB behind, and a tenant has dozens of them at once; all are written by one committer and synced by one disk. Over its
//! budget a tenant's settlements wait for their time, and with them its slots: it slows down itself, as far as its own budget demands, and
//! nothing of it is lost. A second's worth may be written at once.
//!
//! What a large settlement costs its neighbours is more than its bytes: everybody who comes while it is written waits, and the longer it takes the
//! more come. So its charge grows with the square of its size. A usual record of a kilobyte pays for itself; two megabytes pay for thirty.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::delivery::TenantId;

/// What may be written at once, in time.
const BURST: Duration = Duration::from_secs(1);

/// The longest a settlement waits, however far over its budget its tenant is. Its leg is on loan meanwhile, and a loan is taken back after an
/// hour: a wait that outlasted it would run the leg a second time.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// A settlement of this size is charged twice its bytes.
const DOUBLED_AT_BYTES: u128 = 128 * 1024;

/// Who has used how much.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: u64,
    /// When a tenant that writes at its pace would have written what it has; gone where that has passed.
    paid_until: Mutex<HashMap<TenantId, Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), paid_until: Mutex::default() }
    }

    /// Takes so many bytes of a tenant's budget, and says when they may be written; none where that is now.
    pub(super) fn take(&self, tenant: &TenantId, bytes: usize, now: Instant) -> Option<Instant> {
        let nanos = charged(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        paid_until.retain(|_, until| *until > now);
        let until = paid_until.entry(tenant.clone()).or_insert(now);
        let ahead = until.saturating_duration_since(now);
        *until = (*until + cost).min(now + BURST + WAIT_MAX);
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
    use crate::{clock::Clock, delivery::Timestamp, ledger::schedule::LOAN_MAX};

    const RATE: usize = 1000;

    #[test]
    fn a_large_settlement_is_charged_for_those_who_wait_meanwhile() {
        assert_eq!(charged(1024), 1032);
        assert_eq!(charged(128 * 1024), 256 * 1024);
        assert_eq!(charged(2 << 20), 34 << 20);
    }

    #[test]
    fn a_tenant_may_write_a_seconds_worth_at_once_and_then_waits_for_its_own_pace_only() {
        let (pace, now) = (Pace::new(RATE as u64), Clock::manual(Timestamp::from_unix_ms(0)).instant());
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
        let (pace, now) = (Pace::new(1), Clock::manual(Timestamp::from_unix_ms(0)).instant());
        let tenant = "noisy".parse::<TenantId>().unwrap();
        let longest = (0..200).filter_map(|_| pace.take(&tenant, 2 << 20, now)).max().unwrap();
        assert!(longest - now == WAIT_MAX && WAIT_MAX < LOAN_MAX);
        assert_eq!(pace.take(&tenant, 1, now + BURST + WAIT_MAX), None, "nor is more than that remembered");
    }
}
