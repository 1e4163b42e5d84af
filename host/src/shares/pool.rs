//! One resource: how much of it is used, by whom, and who waits.
//!
//! Who waits is served in turns between holders, each holder's own in the order they came: a tenant that asks a hundred times waits for
//! itself. Where the next in turn needs more than is free, those behind it may pass, so that a small need does not wait for a large one; but
//! only [`PASSED_MAX`] times, and then the pool runs empty for it, so that a large need is served, too.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::oneshot, task::JoinError};

use super::{Holder, Limit};

/// How often others may pass one that waits for more than is free.
const PASSED_MAX: u32 = 64;
/// The last part of a bound, as its divisor: it is for holders that have less than an equal part, where one more than there are is counted in.
/// Otherwise two holders at a share of a half would leave nothing to a third.
const LAST_PART: u64 = 8;

/// One resource; cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    limit: Limit,
    /// Shares of holders that have one of their own, never more than the bound.
    own: BTreeMap<Holder, u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: u64,
    /// A holder's entry goes with its last unit.
    by_holder: HashMap<Holder, u64>,
    /// Holders of which somebody waits; a holder's queue goes with its last one.
    waiting: BTreeMap<Holder, VecDeque<Waiter>>,
    /// The same holders in the order of their turns.
    turns: VecDeque<Holder>,
    /// How often the first in turn was passed.
    passed: u32,
}

struct Waiter {
    amount: u64,
    granted: oneshot::Sender<Held>,
}

/// What one holder has taken; given back on drop.
pub struct Held {
    pool: Pool,
    holder: Holder,
    amount: u64,
}

/// There is not so much left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{used} of {bound} are used by {}", match whose { Whose::Share => "this holder", Whose::All => "all together" })]
pub struct Full {
    /// Whether the holder's share or the bound of all is used up.
    pub whose: Whose,
    /// How much of it is used.
    pub used: u64,
    /// How much there is of it.
    pub bound: u64,
}

/// Which of the two limits was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The holder's share.
    Share,
    /// The bound of all.
    All,
}

impl Pool {
    #[cfg(test)]
    pub(super) fn new(limit: Limit) -> Self {
        Self::with_own(limit, BTreeMap::new())
    }

    pub(super) fn with_own(limit: Limit, own: BTreeMap<Holder, u64>) -> Self {
        Self(Arc::new(Inner { limit, own, state: Mutex::default() }))
    }

    /// The bound, and the share of this holder.
    #[must_use]
    pub fn limit_of(&self, holder: &Holder) -> Limit {
        Limit::new(self.0.limit.bound, self.share_of(holder))
    }

    /// Holders that have a share of their own, and that share.
    pub fn own(&self) -> impl Iterator<Item = (&Holder, u64)> {
        self.0.own.iter().map(|(holder, share)| (holder, (*share).min(self.0.limit.bound)))
    }

    /// The bound and the share of one holder.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.0.limit
    }

    /// Takes `amount` now, or says why not.
    pub fn try_take(&self, holder: &Holder, amount: u64) -> Result<Held, Full> {
        let mut state = self.state();
        self.room(&state, holder, amount)?;
        state.charge(holder, amount);
        drop(state);
        Ok(Held { pool: self.clone(), holder: holder.clone(), amount })
    }

    /// Takes `amount` when it is this holder's turn. More than a share is taken as the whole share, so that the wait has an end. Whoever drops
    /// the future waits no longer.
    pub async fn take(&self, holder: &Holder, amount: u64) -> Held {
        let amount = amount.min(self.share_of(holder));
        let (sender, held) = oneshot::channel();
        let granted = {
            let mut state = self.state();
            state.enqueue(holder, Waiter { amount, granted: sender });
            self.next(&mut state)
        };
        hand_out(granted);
        // The pool keeps the sender until it grants, and lives as long as whoever asks it.
        match held.await {
            Ok(held) => held,
            Err(_) => std::future::pending().await,
        }
    }

    /// Does `work` on a thread that may block, when it is this holder's turn for one unit. Whoever drops the future does not end what has begun:
    /// the unit is given back when the work is over. An error is a panic of the work.
    pub fn on_thread<T: Send + 'static>(
        &self,
        holder: &Holder,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, JoinError>> + Send {
        // What the work holds can be large, and the futures of all callers would be.
        let work: Box<dyn FnOnce() -> T + Send> = Box::new(work);
        async move {
            let held = self.take(holder, 1).await;
            let counted = move || {
                let _held = held;
                work()
            };
            tokio::task::spawn_blocking(counted).await
        }
    }

    /// Whether `amount` more fits, where its owner keeps the count with [`Pool::set`].
    pub fn fits(&self, holder: &Holder, amount: u64) -> Result<(), Full> {
        self.room(&self.state(), holder, amount)
    }

    /// What this holder uses at this moment, as its owner counts it.
    pub fn set(&self, holder: &Holder, used: u64) {
        let mut state = self.state();
        let before = if used == 0 { state.by_holder.remove(holder) } else { state.by_holder.insert(holder.clone(), used) };
        state.all = state.all.saturating_sub(before.unwrap_or(0)).saturating_add(used);
    }

    /// What is used, by holder.
    #[must_use]
    pub fn used(&self) -> Vec<(Holder, u64)> {
        let mut used: Vec<_> = self.state().by_holder.iter().map(|(holder, used)| (holder.clone(), *used)).collect();
        used.sort();
        used
    }

    /// What one holder uses.
    #[must_use]
    pub fn used_by(&self, holder: &Holder) -> u64 {
        self.state().by_holder.get(holder).copied().unwrap_or(0)
    }

    fn share_of(&self, holder: &Holder) -> u64 {
        match holder {
            Holder::Host => self.0.limit.bound,
            holder => self.0.own.get(holder).map_or(self.0.limit.share, |own| (*own).min(self.0.limit.bound)),
        }
    }

    fn room(&self, state: &State, holder: &Holder, amount: u64) -> Result<(), Full> {
        let (share, bound, used) = (self.share_of(holder), self.0.limit.bound, state.by_holder.get(holder).copied().unwrap_or(0));
        let (own, all) = (used.saturating_add(amount), state.all.saturating_add(amount));
        if own > share {
            return Err(Full { whose: Whose::Share, used, bound: share });
        }
        let others = (state.by_holder.len() - usize::from(used > 0)) as u64;
        let is_last_part = *holder != Holder::Host && others > 0 && all > bound - bound / LAST_PART;
        if all > bound || is_last_part && own > bound / (others + 2) {
            return Err(Full { whose: Whose::All, used: state.all, bound });
        }
        Ok(())
    }

    fn give_back(&self, holder: &Holder, amount: u64) {
        let granted = {
            let mut state = self.state();
            state.release(holder, amount);
            self.next(&mut state)
        };
        hand_out(granted);
    }

    /// Grants what can be granted now, in the order of the turns.
    fn next(&self, state: &mut State) -> Vec<(Waiter, Held)> {
        let mut granted = Vec::new();
        // So many at the front cannot be served now, and one of them because there is too little for it of what all have.
        let (mut unserved, mut is_short) = (0, false);
        while let Some(holder) = state.turns.get(unserved).cloned() {
            // Who went away meanwhile needs nothing.
            let Some(amount) = state.first_amount(&holder) else { continue };
            match self.room(state, &holder, amount) {
                Ok(()) => {
                    state.passed = if is_short { state.passed + 1 } else { 0 };
                    if let Some(waiter) = state.dequeue(unserved, &holder) {
                        state.charge(&holder, amount);
                        granted.push((waiter, Held { pool: self.clone(), holder, amount }));
                    }
                }
                Err(Full { whose: Whose::All, .. }) if state.passed >= PASSED_MAX => break,
                // Where its own share is used up, it waits for itself, and nobody passes it.
                Err(Full { whose, .. }) => {
                    unserved += 1;
                    is_short |= whose == Whose::All;
                }
            }
        }
        granted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The numbers are changed in one go without a panic between, so a poisoned lock still holds true ones.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn charge(&mut self, holder: &Holder, amount: u64) {
        if amount > 0 {
            *self.by_holder.entry(holder.clone()).or_default() += amount;
            self.all += amount;
        }
    }

    fn release(&mut self, holder: &Holder, amount: u64) {
        self.all = self.all.saturating_sub(amount);
        if let Some(used) = self.by_holder.get_mut(holder) {
            *used = used.saturating_sub(amount);
            if *used == 0 {
                self.by_holder.remove(holder);
            }
        }
    }

    fn enqueue(&mut self, holder: &Holder, waiter: Waiter) {
        if !self.waiting.contains_key(holder) {
            self.turns.push_back(holder.clone());
        }
        self.waiting.entry(holder.clone()).or_default().push_back(waiter);
    }

    /// What the first of a holder's that still waits needs; a holder of which nobody waits loses its turn.
    fn first_amount(&mut self, holder: &Holder) -> Option<u64> {
        let queue = self.waiting.get_mut(holder)?;
        while queue.front().is_some_and(|waiter| waiter.granted.is_closed()) {
            queue.pop_front();
        }
        if let Some(waiter) = queue.front() {
            return Some(waiter.amount);
        }
        self.waiting.remove(holder);
        self.turns.retain(|other| other != holder);
        None
    }

    /// Takes the first of this holder's, and puts the holder behind the others.
    fn dequeue(&mut self, turn: usize, holder: &Holder) -> Option<Waiter> {
        let queue = self.waiting.get_mut(holder)?;
        let waiter = queue.pop_front();
        self.turns.remove(turn);
        if queue.is_empty() {
            self.waiting.remove(holder);
        } else {
            self.turns.push_back(holder.clone());
        }
        waiter
    }
}

impl Held {
    /// How much it is.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes `more` now, or says why not and keeps what it has.
    pub fn grow(&mut self, more: u64) -> Result<(), Full> {
        let mut state = self.pool.state();
        self.pool.room(&state, &self.holder, more)?;
        state.charge(&self.holder, more);
        drop(state);
        self.amount += more;
        Ok(())
    }

    /// Gives back all but `amount`.
    pub fn shrink(&mut self, amount: u64) {
        let back = self.amount.saturating_sub(amount);
        self.amount -= back;
        self.pool.give_back(&self.holder, back);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.give_back(&self.holder, self.amount);
    }
}

/// Not under the lock: what nobody waits for any more is given back at once, and that takes the lock again.
fn hand_out(granted: Vec<(Waiter, Held)>) {
    for (waiter, held) in granted {
        drop(waiter.granted.send(held));
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("limit", &self.0.limit).field("used", &self.state().all).finish_non_exhaustive()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("holder", &self.holder).field("amount", &self.amount).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
