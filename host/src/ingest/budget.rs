//! One budget of bytes for every body that is in the house, charged as bytes arrive, before anybody knows whose body it is.
//!
//! A declared size costs nothing to declare, so only received bytes count. What a call says of itself is a claim until its signature is
//! checked, and that needs the whole body. So a claim is charged by what its like has proved before ([`Standing`]):
//!
//! * A **known** sender is a source at an address from which it verified lately. It is charged to its source's share, and one address has half
//!   of a share: so a flood under a source's name, from an address it shares with somebody, takes nothing of another source's, and leaves half
//!   to the source's other addresses.
//! * A **suspect** is a known sender under whose name bad bodies came lately. It keeps its place in the source's share, but all suspects
//!   together have a quarter of the budget: who floods under the names of many sources at once reaches none that he leaves alone.
//! * A **stranger** is charged to its address: half of a share each, and half of the budget all together.
//!
//! Strangers and suspects together leave a quarter to known senders. One whole body always fits each of these parts.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::limits::Sender;
use crate::shares::{Holder, Pool};

/// What the like of a call has proved before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its source verified lately at its address.
    Known,
    /// The same, and bad bodies came under its name lately.
    Suspect,
    /// Nothing.
    Stranger,
}

/// The budget; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: Pool,
    /// The largest body.
    body_bytes_max: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: u64,
    strangers: u64,
    suspects: u64,
    /// Entries go with their last byte.
    by_holder: HashMap<Holder, u64>,
    by_sender: HashMap<Sender, u64>,
}

/// The bytes one call holds; given back on drop.
#[derive(Debug)]
pub(super) struct Hold {
    budget: Budget,
    sender: Sender,
    standing: Standing,
    bytes: u64,
}

/// There is no room for these bytes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Budget {
    /// A budget of what the pool has, in which one body of `body_bytes_max` fits every part.
    pub(super) fn new(pool: Pool, body_bytes_max: usize) -> Self {
        Self(Arc::new(Shared { pool, body_bytes_max: body_bytes_max as u64, used: Mutex::default() }))
    }

    /// An empty hold for a call of `sender`.
    pub(super) fn hold(&self, sender: Sender, standing: Standing) -> Hold {
        Hold { budget: self.clone(), sender, standing, bytes: 0 }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // The numbers are changed in one go without a panic between, so a poisoned lock still holds true ones.
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `bytes` more fit every part that this call belongs to.
    fn has_room(&self, used: &Used, (sender, holder): (&Sender, &Holder), standing: Standing, bytes: u64) -> bool {
        let limit = self.0.pool.limit();
        let part = |most: u64| most.max(self.0.body_bytes_max);
        let of_holder = used.by_holder.get(holder).copied().unwrap_or(0);
        let of_sender = used.by_sender.get(sender).copied().unwrap_or(0);
        let unproven = used.strangers + used.suspects;
        let fits = |used: u64, most: u64| used.saturating_add(bytes) <= most;
        let whole = fits(used.all, limit.bound);
        let together = fits(unproven, part(limit.bound - limit.bound / 4));
        whole
            && match standing {
                Standing::Known => fits(of_holder, part(limit.share)) && fits(of_sender, part(limit.share / 2)),
                Standing::Suspect => {
                    let own = fits(of_holder, part(limit.share)) && fits(of_sender, part(limit.share / 2));
                    own && together && fits(used.suspects, part(limit.bound / 4))
                }
                Standing::Stranger => fits(of_holder, part(limit.share / 2)) && together && fits(used.strangers, part(limit.bound / 2)),
            }
    }
}

impl Hold {
    /// Takes `bytes` more, or nothing.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let (holder, bytes) = (self.holder(), bytes as u64);
        let mut used = self.budget.used();
        if !self.budget.has_room(&used, (&self.sender, &holder), self.standing, bytes) {
            return Err(Exhausted);
        }
        used.change(self, &holder, |count| *count += bytes);
        drop(used);
        self.bytes += bytes;
        Ok(())
    }

    /// Whose share it is of.
    fn holder(&self) -> Holder {
        match self.standing {
            Standing::Known | Standing::Suspect => Holder::Source(self.sender.tenant.clone(), self.sender.source.clone()),
            Standing::Stranger => self.sender.client.holder(),
        }
    }
}

impl Used {
    /// Changes every count a call belongs to, and tells the pool.
    fn change(&mut self, hold: &Hold, holder: &Holder, change: impl Fn(&mut u64)) {
        change(&mut self.all);
        match hold.standing {
            Standing::Known => {}
            Standing::Suspect => change(&mut self.suspects),
            Standing::Stranger => change(&mut self.strangers),
        }
        let of_holder = change_entry(&mut self.by_holder, holder, &change);
        hold.budget.0.pool.set(holder, of_holder);
        if hold.standing != Standing::Stranger {
            change_entry(&mut self.by_sender, &hold.sender, &change);
        }
    }
}

fn change_entry<K: Hash + Eq + Clone>(counts: &mut HashMap<K, u64>, key: &K, change: impl Fn(&mut u64)) -> u64 {
    let count = counts.entry(key.clone()).or_default();
    change(count);
    let count = *count;
    if count == 0 {
        counts.remove(key);
    }
    count
}

impl Drop for Hold {
    fn drop(&mut self) {
        let (bytes, holder) = (self.bytes, self.holder());
        if bytes > 0 {
            let budget = self.budget.clone();
            budget.used().change(self, &holder, |count| *count = count.saturating_sub(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::address::Client,
        Standing::{Known, Stranger, Suspect},
        *,
    };
    use crate::shares::{Limit, Limits, Machine, Resource, Shares};

    /// 800 bytes, a share is 200; bodies have 10.
    fn budget(body_bytes_max: usize) -> Budget {
        let mut limits = Limits::of(Machine::here());
        limits.set(Resource::BodyBytes, Limit::new(800, 200));
        Budget::new(Shares::new(&limits).pool(Resource::BodyBytes).clone(), body_bytes_max)
    }

    fn sender(source: &str, last: u8) -> Sender {
        let client = Client::of([192, 0, 2, last].into());
        Sender { client, tenant: "acme".parse().unwrap(), source: source.parse().unwrap() }
    }

    /// Charges so many bytes to as many new calls as are taken, at most a hundred.
    fn fill(budget: &Budget, senders: impl Iterator<Item = Sender> + Clone, standing: Standing, bytes: usize) -> Vec<Hold> {
        let hold = |sender: Sender| {
            let mut hold = budget.hold(sender, standing);
            hold.charge(bytes).ok().map(|()| hold)
        };
        senders.cycle().take(100).filter_map(hold).collect()
    }

    #[test]
    fn a_flood_under_a_known_senders_name_takes_nothing_of_another_source_and_leaves_half_to_its_other_addresses() {
        let budget = budget(10);
        let flood = fill(&budget, std::iter::once(sender("flooded", 1)), Known, 10);
        assert_eq!(flood.len(), 10, "half of the source's share");
        assert_eq!(budget.hold(sender("flooded", 1), Known).charge(10), Err(Exhausted));
        assert_eq!(budget.hold(sender("flooded", 2), Known).charge(100), Ok(()));
        assert_eq!(fill(&budget, [1, 2].map(|at| sender("other", at)).into_iter(), Known, 10).len(), 20, "the other's whole share");
    }

    #[test]
    fn an_address_that_verified_for_one_source_is_a_stranger_to_all_others() {
        let budget = budget(10);
        let strangers = fill(&budget, (0..5).map(|n| sender(&format!("s{n}"), 1)), Stranger, 10);
        assert_eq!(strangers.len(), 10, "half a share of its address, whatever sources it names");
        assert_eq!(budget.0.pool.used(), [(sender("s0", 1).client.holder(), 100)]);
    }

    #[test]
    fn floods_under_many_known_names_at_once_leave_room_for_sources_that_are_left_alone_and_for_strangers() {
        let budget = budget(10);
        let suspects = fill(&budget, (0..50).map(|n| sender(&format!("s{n}"), 1)), Suspect, 10);
        assert_eq!(suspects.len(), 20, "a quarter of the budget");
        let strangers = fill(&budget, (0..50).map(|n| sender("x", n)), Stranger, 10);
        assert_eq!(strangers.len(), 40, "half of the budget");
        let alone = fill(&budget, [sender("alone", 1), sender("alone", 2)].into_iter(), Known, 10);
        assert_eq!(alone.len(), 20);
        assert_eq!(budget.hold(sender("late", 1), Known).charge(1), Err(Exhausted), "the whole budget is a bound for known senders too");
    }

    #[test]
    fn a_whole_body_always_fits_every_part() {
        for standing in [Known, Suspect, Stranger] {
            let budget = budget(700);
            let mut hold = budget.hold(sender("s", 1), standing);
            assert_eq!((hold.charge(300), hold.charge(400), hold.charge(1)), (Ok(()), Ok(()), Err(Exhausted)), "{standing:?}");
        }
    }

    #[test]
    fn what_was_held_comes_back_and_leaves_no_entry() {
        let budget = budget(10);
        for standing in [Known, Suspect, Stranger] {
            let mut hold = budget.hold(sender("s", 1), standing);
            assert_eq!(hold.charge(50), Ok(()));
            drop(hold);
        }
        let used = budget.used();
        assert_eq!((used.all, used.strangers, used.suspects), (0, 0, 0));
        assert!(used.by_holder.is_empty() && used.by_sender.is_empty() && budget.0.pool.used().is_empty());
    }
}
