//! Whether a new version does worse than the one before, on the same deliveries. Pure.
//!
//! A failure alone says nothing: an outsider can write what no version can digest, and the outside world can be down. So each delivery a new
//! version fails on is given to both versions, under the same conditions and without effects, and only where the old one comes further is that
//! held against the new one. A few deliveries must agree, most of what was tried, and a part of all that ran: one odd delivery among thousands
//! does not undo a deploy.

use std::collections::{BTreeSet, VecDeque};

use crate::delivery::{DeliveryId, Outcome, Verdict};

/// Deliveries both versions are given in one watch.
pub(super) const TRIALS_MAX: usize = 20;
/// On so many the old version must do better.
const BETTER_MIN: usize = 3;
/// One in so many of the deliveries that ended must fail, judging by what was tried.
const SHARE: usize = 10;
/// Failing deliveries that are told apart; beyond them each failing run counts for one, which can only make the share larger.
const TOLD_APART_MAX: usize = 4096;

/// How far a run came: handled, to be tried again, failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Rejected, or a fault of the plugin.
    Failed,
    /// The plugin asks for another time.
    Again,
    /// Acked or skipped.
    Handled,
}

impl Reach {
    /// None for a fault of the host, which says nothing about the plugin.
    pub(super) fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Verdict(Verdict::Ack | Verdict::Skip(_)) => Some(Self::Handled),
            Outcome::Verdict(Verdict::Retry { .. }) => Some(Self::Again),
            Outcome::Fault(fault) if fault.kind.is_hosts() => None,
            Outcome::Verdict(Verdict::Reject(_)) | Outcome::Fault(_) => Some(Self::Failed),
        }
    }
}

/// Whether the old version does better on the same delivery, both run alike.
pub(super) fn old_does_better(new: &Outcome, old: &Outcome) -> bool {
    matches!((Reach::of(new), Reach::of(old)), (Some(new), Some(old)) if old > new)
}

/// What is known of a new version while it is watched.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    handled: usize,
    failed: BTreeSet<DeliveryId>,
    failed_more: usize,
    to_try: VecDeque<DeliveryId>,
    tried: usize,
    better: usize,
}

impl Watch {
    /// Notes how a live run ended. True where there is something to try.
    pub(super) fn note(&mut self, delivery: DeliveryId, outcome: &Outcome) -> bool {
        match Reach::of(outcome) {
            None => {}
            Some(Reach::Handled) => self.handled += 1,
            Some(_) if self.failed.contains(&delivery) => {}
            Some(_) if self.failed.len() >= TOLD_APART_MAX => self.failed_more += 1,
            Some(_) => {
                self.failed.insert(delivery);
                if self.tried + self.to_try.len() < TRIALS_MAX {
                    self.to_try.push_back(delivery);
                }
            }
        }
        !self.to_try.is_empty()
    }

    /// Whether there is something to try.
    pub(super) fn has_more(&self) -> bool {
        !self.to_try.is_empty()
    }

    /// What people are shown: handled, failed, tried, better with the old version.
    pub(super) fn counts(&self) -> [usize; 4] {
        [self.handled, self.failed.len() + self.failed_more, self.tried, self.better]
    }

    /// The next delivery both versions are to be given.
    pub(super) fn next(&mut self) -> Option<DeliveryId> {
        self.to_try.pop_front()
    }

    /// Notes how a trial ended.
    pub(super) fn tried(&mut self, old_does_better: bool) {
        self.tried += 1;
        self.better += usize::from(old_does_better);
    }

    /// Why the old version should serve again, in words; none while that is not shown.
    pub(super) fn is_worse(&self) -> Option<String> {
        let failed = self.failed.len() + self.failed_more;
        let failed_by_version = failed * self.better / self.tried.max(1);
        let is_worse = self.better >= BETTER_MIN && self.better * 2 > self.tried && failed_by_version * SHARE >= self.handled + failed;
        is_worse.then(|| {
            format!(
                "of {} deliveries it failed on, both versions were given {} without effects, and on {} the version before did better; it \
                 handled {}",
                failed, self.tried, self.better, self.handled
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Fault, FaultKind};

    fn id(number: u16) -> DeliveryId {
        let [high, low] = number.to_be_bytes();
        DeliveryId::from_bytes([high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    fn fault(kind: FaultKind) -> Outcome {
        Outcome::Fault(Fault::new(kind, "words"))
    }

    fn ack() -> Outcome {
        Outcome::Verdict(Verdict::Ack)
    }

    /// So many handled, so many failed, and of those tried so many better with the old version.
    fn watch(handled: u16, failed: u16, better: usize) -> Watch {
        let mut watch = Watch::default();
        for number in 0..handled {
            watch.note(id(number), &ack());
        }
        for number in 0..failed {
            watch.note(id(10_000 + number), &fault(FaultKind::Trapped));
        }
        let mut tried = 0;
        while watch.next().is_some() {
            watch.tried(tried < better);
            tried += 1;
        }
        watch
    }

    #[test]
    fn a_version_that_fails_where_the_old_one_does_not_is_worse() {
        let reason = watch(0, 3, 3).is_worse().unwrap();
        assert!(reason.contains("on 3 the version before did better"), "{reason}");
        assert!(watch(0, 2, 2).is_worse().is_none(), "two may be chance");
        assert!(watch(500, 500, 20).is_worse().is_some(), "what was tried stands for what was not");
    }

    #[test]
    fn poison_that_fails_both_versions_is_held_against_neither() {
        assert!(watch(0, 20, 0).is_worse().is_none());
        assert!(watch(0, 20, 10).is_worse().is_none(), "half is not most");
        assert!(watch(0, 20, 11).is_worse().is_some());
    }

    #[test]
    fn a_few_odd_deliveries_among_many_do_not_undo_a_deploy() {
        assert!(watch(100, 5, 5).is_worse().is_none());
        assert!(watch(45, 5, 5).is_worse().is_some(), "a tenth is no longer few");
    }

    #[test]
    fn one_delivery_counts_once_however_often_it_is_retried() {
        let mut watch = Watch::default();
        for _ in 0..50 {
            watch.note(id(1), &fault(FaultKind::Trapped));
        }
        assert_eq!((watch.next(), watch.next()), (Some(id(1)), None));
        assert!(!watch.note(id(2), &fault(FaultKind::HostUnavailable)), "what befell the host is not the plugin's");
    }

    #[test]
    fn what_is_tried_is_bounded() {
        let mut watch = watch(0, 1000, 0);
        assert_eq!(watch.tried, TRIALS_MAX);
        watch.note(id(1), &fault(FaultKind::Trapped));
        assert_eq!(watch.next(), None);
    }

    #[test]
    fn further_is_better_and_the_hosts_own_faults_are_no_measure() {
        let retry = Outcome::Verdict(Verdict::Retry { after: None, reason: String::new() });
        let reject = Outcome::Verdict(Verdict::Reject(String::new()));
        assert!(old_does_better(&fault(FaultKind::Trapped), &ack()));
        assert!(old_does_better(&fault(FaultKind::OutOfFuel), &retry));
        assert!(old_does_better(&retry, &ack()));
        for (new, old) in [
            (ack(), ack()),
            (fault(FaultKind::Trapped), reject),
            (ack(), fault(FaultKind::Trapped)),
            (fault(FaultKind::Trapped), fault(FaultKind::HostUnavailable)),
            (fault(FaultKind::HostUnavailable), ack()),
        ] {
            assert!(!old_does_better(&new, &old), "{new:?} {old:?}");
        }
    }
}
