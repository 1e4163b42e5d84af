//! The way to the committer: two bounded lanes, offers before everything else.
//!
//! A sender waits with a deadline, a worker does not, so offers go first; a quarter of each group stays for the other lane, or a flood of
//! deliveries would keep any of them from being settled. Room in a lane is counted in bytes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::committer::Tx;

/// Bytes of items a lane holds.
const LANE_BYTES: usize = 64 * 1024 * 1024;
/// What an item counts for beside its body, so that the number of items is bounded too (16,384 a lane).
const ITEM_BYTES: usize = 4096;

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Called after the commit, and only then.
pub(super) type Answer = Box<dyn FnOnce() + Send>;
/// What the committer does for an item. It answers an error itself and returns it, so that the item's savepoint is rolled back.
pub(super) type Job = Box<dyn FnOnce(&mut Tx<'_>) -> Result<Answer, rusqlite::Error> + Send>;

/// Which lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lane {
    /// Offers.
    Offers,
    /// Settlements, commands, housekeeping.
    Others,
}

/// Who has an item: its caller until the committer takes it, the committer afterwards. One compare-and-swap decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim(Arc<AtomicU8>);

impl Claim {
    /// The caller takes the item back; false where the committer already has it.
    pub(super) fn withdraw(&self) -> bool {
        self.0.compare_exchange(QUEUED, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The committer takes the item; false where the caller withdrew it.
    fn take(&self) -> bool {
        self.0.compare_exchange(QUEUED, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// How much of a group there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) items_max: usize,
    pub(super) bytes_max: usize,
}

impl Limits {
    /// The lower of both.
    pub(super) fn within(self, other: Self) -> Self {
        Self { items_max: self.items_max.min(other.items_max), bytes_max: self.bytes_max.min(other.bytes_max) }
    }

    /// What is left of it after these items.
    pub(super) fn after(self, items: &[Item]) -> Self {
        let bytes: usize = items.iter().map(|item| item.bytes).sum();
        Self { items_max: self.items_max.saturating_sub(items.len()), bytes_max: self.bytes_max.saturating_sub(bytes) }
    }
}

/// One thing for the committer to do.
pub(super) struct Item {
    pub(super) job: Job,
    pub(super) bytes: usize,
    pub(super) claim: Claim,
    pub(super) _room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Queued {
    offers: VecDeque<Item>,
    others: VecDeque<Item>,
    /// The first of the others is more than its quarter: it begins the next group, or deliveries would pass it for ever, and with it all behind it.
    is_others_turn: bool,
    closed: bool,
}

/// The lanes.
pub(super) struct Lanes {
    queued: Mutex<Queued>,
    filled: Condvar,
    offer_room: Arc<Semaphore>,
    other_room: Arc<Semaphore>,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").finish_non_exhaustive()
    }
}

impl Lanes {
    /// Empty lanes.
    pub(super) fn new() -> Self {
        Self {
            queued: Mutex::default(),
            filled: Condvar::new(),
            offer_room: Arc::new(Semaphore::new(LANE_BYTES)),
            other_room: Arc::new(Semaphore::new(LANE_BYTES)),
        }
    }

    /// Waits for room; `None` when closed.
    pub(super) async fn room(&self, lane: Lane, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let semaphore = match lane {
            Lane::Offers => &self.offer_room,
            Lane::Others => &self.other_room,
        };
        let permits = u32::try_from((bytes + ITEM_BYTES).min(LANE_BYTES)).ok()?;
        Arc::clone(semaphore).acquire_many_owned(permits).await.ok()
    }

    /// Queues an item; false when closed.
    pub(super) fn push(&self, lane: Lane, item: Item) -> bool {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        if queued.closed {
            return false;
        }
        match lane {
            Lane::Offers => queued.offers.push_back(item),
            Lane::Others => queued.others.push_back(item),
        }
        drop(queued);
        self.filled.notify_one();
        true
    }

    /// Waits for items and takes some of them; `None` when closed and empty.
    pub(super) fn take(&self, limits: Limits) -> Option<Vec<Item>> {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        while queued.offers.is_empty() && queued.others.is_empty() {
            if queued.closed {
                return None;
            }
            queued = self.filled.wait(queued).unwrap_or_else(PoisonError::into_inner);
        }
        Some(queued.some(limits, true))
    }

    /// Takes what fits of what is queued at this moment, which may be nothing.
    pub(super) fn more(&self, limits: Limits) -> Vec<Item> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).some(limits, false)
    }

    /// Takes nothing more; what is queued is still taken.
    pub(super) fn close(&self) {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.offer_room.close();
        self.other_room.close();
        self.filled.notify_all();
    }

    /// Closes and drops what is queued: its callers learn that nothing was committed.
    pub(super) fn abandon(&self) {
        self.close();
        let dropped = {
            let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut queued.offers), std::mem::take(&mut queued.others))
        };
        drop(dropped);
    }
}

impl Queued {
    /// Takes items of both lanes, offers first. Where `is_first_free`, the first goes however big it is.
    fn some(&mut self, Limits { items_max, bytes_max }: Limits, is_first_free: bool) -> Vec<Item> {
        let Self { offers, others, is_others_turn, .. } = self;
        let mut part = Part { items: Vec::new(), bytes: 0, is_first_free };
        if is_first_free && std::mem::take(is_others_turn) {
            part.fill(others, Limits { items_max: 1, bytes_max });
        }
        let (for_others, bytes_for_others) = if others.is_empty() { (0, 0) } else { (items_max / 4, bytes_max / 4) };
        part.fill(offers, Limits { items_max: items_max - for_others, bytes_max: bytes_max - bytes_for_others });
        part.fill(others, Limits { items_max, bytes_max });
        part.fill(offers, Limits { items_max, bytes_max });
        *is_others_turn = others.front().is_some_and(|item| item.bytes > bytes_max / 4);
        part.items
    }
}

/// Items on their way from the lanes to the committer.
struct Part {
    items: Vec<Item>,
    bytes: usize,
    is_first_free: bool,
}

impl Part {
    /// Moves items here up to the limits.
    fn fill(&mut self, lane: &mut VecDeque<Item>, limits: Limits) {
        let is_free = |part: &Self| part.is_first_free && part.items.is_empty();
        while self.items.len() < limits.items_max
            && lane.front().is_some_and(|item| is_free(self) || self.bytes + item.bytes <= limits.bytes_max)
        {
            let Some(item) = lane.pop_front() else { return };
            if item.claim.take() {
                self.bytes += item.bytes;
                self.items.push(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { items_max: 8, bytes_max: 800 };

    /// Lanes with items in them, told apart by their bytes.
    fn lanes(items: impl IntoIterator<Item = (Lane, usize)>) -> Lanes {
        let lanes = Lanes::new();
        for (lane, bytes) in items {
            let room = Arc::new(Semaphore::new(1)).try_acquire_many_owned(0).unwrap();
            let item = Item { job: Box::new(|_| Ok(Box::new(|| ()))), bytes, claim: Claim::default(), _room: room };
            assert!(lanes.push(lane, item));
        }
        lanes
    }

    fn group(lanes: &Lanes) -> Vec<usize> {
        lanes.take(LIMITS).unwrap().iter().map(|item| item.bytes).collect()
    }

    #[test]
    fn a_delivery_is_in_the_next_group_whatever_waits_to_be_settled() {
        let lanes = lanes((0..1000).map(|_| (Lane::Others, 2)).chain([(Lane::Offers, 1)]));
        assert_eq!(group(&lanes)[0], 1);
    }

    #[test]
    fn a_flood_of_deliveries_leaves_a_quarter_of_each_group_to_settlements() {
        let lanes = lanes((0..100).flat_map(|_| [(Lane::Offers, 1), (Lane::Others, 2)]));
        for _ in 0..10 {
            let group = group(&lanes);
            assert_eq!((group.len(), group.iter().filter(|bytes| **bytes == 2).count()), (8, 2), "{group:?}");
        }
    }

    #[test]
    fn a_group_is_bounded_in_bytes_and_a_delivery_is_not_shut_out_by_them() {
        let lanes = lanes((0..20).flat_map(|_| [(Lane::Others, 200), (Lane::Offers, 100)]));
        let group = group(&lanes);
        assert_eq!(group, [100, 100, 100, 100, 100, 100, 200], "three quarters for deliveries, a quarter for the rest");
    }

    #[test]
    fn what_is_bigger_than_a_group_goes_alone() {
        let lanes = lanes([(Lane::Others, 5000), (Lane::Others, 1), (Lane::Offers, 2)]);
        assert_eq!((group(&lanes), group(&lanes)), (vec![2], vec![5000]));
        assert_eq!(group(&lanes), [1]);
    }

    #[test]
    fn a_large_settlement_is_not_passed_for_ever_by_deliveries() {
        let lanes = lanes((0..1000).map(|_| (Lane::Offers, 50)).chain([(Lane::Others, 900), (Lane::Others, 2)]));
        assert!(!group(&lanes).contains(&900));
        assert_eq!(group(&lanes), [900]);
        assert!(group(&lanes).contains(&2), "what stands behind it goes on");
    }

    #[test]
    fn what_comes_while_a_group_is_written_joins_it_only_where_it_fits() {
        let lanes = lanes([(Lane::Offers, 300), (Lane::Others, 600)]);
        let first = lanes.take(Limits { items_max: 1, bytes_max: 800 }).unwrap();
        let left = LIMITS.after(&first);
        assert_eq!((left.items_max, left.bytes_max), (7, 500));
        assert!(lanes.more(left).is_empty(), "600 bytes are for the next group");
        assert_eq!(group(&lanes), [600]);
        assert!(lanes.more(LIMITS).is_empty());
    }
}
