//! One budget of bytes for every body that is in the house, charged as bytes arrive.
//!
//! A declared size costs nothing to declare, so only received bytes count. Strangers may use three quarters of the budget together and each
//! address an eighth of it (but at least one body); the last quarter is for senders that verified lately, so that a crowd of slow strangers
//! cannot keep a signed delivery out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::address::Client;

/// The budget; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    strangers_bytes_max: usize,
    address_bytes_max: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    strangers: usize,
    /// Bytes of strangers by address; an entry goes with its last byte.
    by_client: HashMap<Client, usize>,
}

/// The bytes one call holds; given back on drop.
#[derive(Debug)]
pub(super) struct Hold {
    budget: Budget,
    /// Whose share is used; `None` for a sender that verified lately.
    stranger: Option<Client>,
    bytes: usize,
}

/// There is no room for these bytes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Budget {
    /// A budget of `bytes_max`, in which one body of `body_bytes_max` always fits an address's share.
    pub(super) fn new(bytes_max: usize, body_bytes_max: usize) -> Self {
        let strangers_bytes_max = bytes_max - bytes_max / 4;
        let address_bytes_max = (bytes_max / 8).max(body_bytes_max);
        Self(Arc::new(Shared { bytes_max, strangers_bytes_max, address_bytes_max, used: Mutex::default() }))
    }

    /// An empty hold for a call of `client`; `known` where this sender verified lately.
    pub(super) fn hold(&self, client: Client, known: bool) -> Hold {
        Hold { budget: self.clone(), stranger: (!known).then_some(client), bytes: 0 }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // The numbers are changed in one go without a panic between, so a poisoned lock still holds true ones.
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Takes `bytes` more, or nothing.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let limits = &self.budget.0;
        let mut used = self.budget.used();
        if used.all + bytes > limits.bytes_max {
            return Err(Exhausted);
        }
        if let Some(client) = self.stranger {
            let share = used.by_client.get(&client).copied().unwrap_or(0);
            if used.strangers + bytes > limits.strangers_bytes_max || share + bytes > limits.address_bytes_max {
                return Err(Exhausted);
            }
            used.by_client.insert(client, share + bytes);
            used.strangers += bytes;
        }
        used.all += bytes;
        drop(used);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut used = self.budget.used();
        used.all -= self.bytes;
        let Some(client) = self.stranger else { return };
        used.strangers -= self.bytes;
        if let Some(share) = used.by_client.get_mut(&client) {
            *share -= self.bytes;
            if *share == 0 {
                used.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Client {
        Client::of([192, 0, 2, last].into())
    }

    #[test]
    fn strangers_leave_a_quarter_to_senders_that_verified_lately() {
        let budget = Budget::new(800, 10);
        let mut strangers: Vec<_> = (0..6).map(|n| budget.hold(client(n), false)).collect();
        assert!(strangers.iter_mut().all(|hold| hold.charge(100).is_ok()));
        assert_eq!(budget.hold(client(9), false).charge(1), Err(Exhausted));
        let mut known = budget.hold(client(9), true);
        assert_eq!(known.charge(200), Ok(()));
        assert_eq!(known.charge(1), Err(Exhausted), "the whole budget is a bound for known senders too");
    }

    #[test]
    fn one_address_gets_its_share_only_and_a_whole_body_always_fits_it() {
        let budget = Budget::new(800, 10);
        let (mut first, mut second) = (budget.hold(client(1), false), budget.hold(client(1), false));
        assert_eq!(first.charge(60), Ok(()));
        assert_eq!(second.charge(41), Err(Exhausted));
        assert_eq!(second.charge(40), Ok(()));
        assert_eq!(Budget::new(800, 300).hold(client(1), false).charge(300), Ok(()));
    }

    #[test]
    fn what_was_held_comes_back_and_leaves_no_entry() {
        let budget = Budget::new(800, 10);
        let mut hold = budget.hold(client(1), false);
        assert_eq!(hold.charge(100), Ok(()));
        drop(hold);
        let used = budget.used();
        assert_eq!((used.all, used.strangers), (0, 0));
        assert!(used.by_client.is_empty());
    }
}
