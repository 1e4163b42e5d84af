//! Places for connections: a bound for all, a share of each address, and who goes when there is none left.
//!
//! A connection is idle while the host waits for its peer: for the first byte, for a head, for an answer to be read. Where places are short, the
//! one that has been idle for the longest time is given up for the new one: whoever opens connections and does nothing with them pushes out
//! himself. At its share, an address pushes out its own. One that the host is working for is never given up.
//!
//! Where all places are at work, a few more are for probes: the host must be able to say that it lives, above all then. Whoever has such a
//! place is told so ([`Place::is_reserved`]) and must be answered nothing but that.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::shares::{Held, Holder, Pool, Whose};

/// Places of one listener; cheap to clone.
#[derive(Clone)]
pub struct Places(Arc<Inner>);

/// One connection's place, idle at first; given back on drop.
pub struct Place {
    places: Places,
    number: u64,
    is_reserved: bool,
    given_up: CancellationToken,
}

/// Until it is dropped, the host works for this connection.
#[derive(Debug)]
pub(super) struct Working(Arc<Place>);

/// Until it is dropped, a connection the host works for counts as idle again: it only lets time pass.
#[derive(Debug)]
pub struct Resting<'a>(&'a Place);

struct Inner {
    pool: Pool,
    reserve_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Numbers connections and the moments at which they became idle.
    next: u64,
    seats: HashMap<u64, Seat>,
    /// The idle ones of each kind, from the oldest on.
    idle: HashMap<Kind, BTreeMap<Since, u64>>,
    reserved: usize,
}

/// How long a connection has been idle, by its place in the order of all; those that only wait for their end stand before the others.
type Since = (bool, u64);

/// By what an idle connection can be found.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Any,
    Of(Holder),
    Reserved,
}

/// A connection that has not been given up.
struct Seat {
    kinds: Vec<Kind>,
    /// None in the reserve.
    held: Option<Held>,
    /// How many things the host does for it.
    work: u32,
    idle_since: Since,
    /// Whether its last answer has left.
    is_done: bool,
    given_up: CancellationToken,
}

impl Places {
    /// As many as the pool says, and a few more for probes.
    #[must_use]
    pub fn new(pool: Pool, reserve_max: usize) -> Self {
        Self(Arc::new(Inner { pool, reserve_max, state: Mutex::default() }))
    }

    /// A place for a connection of this holder; none where even the reserve is at work.
    #[must_use]
    pub fn enter(&self, holder: &Holder) -> Option<Place> {
        let mut state = self.state();
        let held = self.take(&mut state, holder);
        if held.is_none() && !self.has_reserve(&mut state) {
            return None;
        }
        let (is_reserved, number, given_up) = (held.is_none(), state.number(), CancellationToken::new());
        let kinds = if is_reserved { vec![Kind::Reserved] } else { vec![Kind::Any, Kind::Of(holder.clone())] };
        state.reserved += usize::from(is_reserved);
        state.seats.insert(number, Seat { kinds, held, work: 0, idle_since: (true, 0), is_done: false, given_up: given_up.clone() });
        state.rest(number);
        drop(state);
        Some(Place { places: self.clone(), number, is_reserved, given_up })
    }

    /// A place of the pool, an idle connection's where there is no other.
    fn take(&self, state: &mut State, holder: &Holder) -> Option<Held> {
        // Once for the holder's share, once for all.
        for _ in 0..2 {
            let full = match self.0.pool.try_take(holder, 1) {
                Ok(held) => return Some(held),
                Err(full) => full,
            };
            let kind = if full.whose == Whose::Share { Kind::Of(holder.clone()) } else { Kind::Any };
            if !state.give_up_oldest(&kind) {
                return None;
            }
        }
        self.0.pool.try_take(holder, 1).ok()
    }

    fn has_reserve(&self, state: &mut State) -> bool {
        state.reserved < self.0.reserve_max || state.give_up_oldest(&Kind::Reserved)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is changed together is changed without a panic between, so a poisoned lock still holds what is true.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it is one of the few that are there for probes only.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Completes when the place was given up for another connection; this one must end.
    pub async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// Counts as idle until the answer is dropped: for who is kept waiting on purpose.
    #[must_use]
    pub fn rest(&self) -> Resting<'_> {
        self.places.state().work(self.number, -1);
        Resting(self)
    }

    /// Its last answer has left. From now on it goes before any other.
    pub(super) fn finish(&self) {
        self.places.state().finish(self.number);
    }

    /// The host works for it from now on.
    pub(super) fn work(self: &Arc<Self>) -> Working {
        self.places.state().work(self.number, 1);
        Working(Arc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().leave(self.number);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.places.state().work(self.0.number, -1);
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.places.state().work(self.0.number, 1);
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// One thing more or fewer that the host does for a connection. One that was given up is not here any more.
    fn work(&mut self, number: u64, more: i32) {
        let Some(seat) = self.seats.get_mut(&number) else { return };
        let before = seat.work;
        seat.work = before.saturating_add_signed(more);
        match (before, seat.work) {
            (0, 1..) => self.wake(number),
            (1.., 0) => self.rest(number),
            _ => {}
        }
    }

    fn rest(&mut self, number: u64) {
        let now = self.number();
        let Some(seat) = self.seats.get_mut(&number) else { return };
        let since = (!seat.is_done, now);
        seat.idle_since = since;
        for kind in seat.kinds.clone() {
            self.idle.entry(kind).or_default().insert(since, number);
        }
    }

    fn wake(&mut self, number: u64) {
        let Some(seat) = self.seats.get(&number) else { return };
        for kind in &seat.kinds {
            if let Some(idle) = self.idle.get_mut(kind) {
                idle.remove(&seat.idle_since);
                if idle.is_empty() {
                    self.idle.remove(kind);
                }
            }
        }
    }

    fn finish(&mut self, number: u64) {
        let Some(seat) = self.seats.get_mut(&number) else { return };
        seat.is_done = true;
        if seat.work == 0 {
            self.wake(number);
            self.rest(number);
        }
    }

    fn leave(&mut self, number: u64) -> Option<Seat> {
        self.wake(number);
        let seat = self.seats.remove(&number)?;
        self.reserved -= usize::from(seat.held.is_none());
        Some(seat)
    }

    /// Gives up the one of this kind that has been idle for the longest time. Its place is free at once, whenever its task notices.
    fn give_up_oldest(&mut self, kind: &Kind) -> bool {
        let oldest = self.idle.get(kind).and_then(|idle| idle.values().next().copied());
        let Some(seat) = oldest.and_then(|number| self.leave(number)) else { return false };
        seat.given_up.cancel();
        true
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("taken", &self.state().seats.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("number", &self.number).field("is_reserved", &self.is_reserved).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{Limit, Limits, Machine, Resource, Shares};

    fn places(bound: u64, share: u64, reserve_max: usize) -> Places {
        let mut limits = Limits::of(Machine::here());
        limits.set(Resource::DoorConnections, Limit::new(bound, share));
        Places::new(Shares::new(&limits).pool(Resource::DoorConnections).clone(), reserve_max)
    }

    fn client(last: u8) -> Holder {
        Holder::Address([192, 0, 2, last].into())
    }

    fn enter(places: &Places, last: u8) -> Arc<Place> {
        Arc::new(places.enter(&client(last)).expect("a place"))
    }

    fn are_given_up<const N: usize>(places: [&Arc<Place>; N]) -> [bool; N] {
        places.map(|place| place.given_up.is_cancelled())
    }

    #[test]
    fn the_one_that_was_idle_for_the_longest_time_goes_for_the_new_one() {
        let places = places(3, 3, 0);
        let (first, second, third) = (enter(&places, 1), enter(&places, 2), enter(&places, 3));
        // The first was asked something meanwhile, so the second is the oldest.
        drop(first.work());
        let fourth = enter(&places, 4);
        assert_eq!(are_given_up([&first, &second, &third, &fourth]), [false, true, false, false]);
        let _fifth = enter(&places, 5);
        assert_eq!(are_given_up([&first, &third, &fourth]), [false, true, false]);
    }

    #[test]
    fn an_address_at_its_share_pushes_out_its_own_and_nobody_elses() {
        let places = places(10, 2, 0);
        let (other, one, two) = (enter(&places, 9), enter(&places, 1), enter(&places, 1));
        let three = enter(&places, 1);
        assert_eq!(are_given_up([&other, &one, &two, &three]), [false, true, false, false]);
    }

    #[test]
    fn one_the_host_works_for_is_never_given_up_and_probes_have_a_reserve() {
        let places = places(2, 2, 1);
        let busy = [enter(&places, 1), enter(&places, 2)];
        let work = busy.each_ref().map(Place::work);
        let probe = enter(&places, 3);
        assert!(probe.is_reserved() && !busy[0].is_reserved());
        let next = enter(&places, 3);
        assert!(next.is_reserved());
        assert_eq!(are_given_up([&busy[0], &busy[1], &probe, &next]), [false, false, true, false]);
        let answering = next.work();
        assert!(places.enter(&client(4)).is_none(), "even the reserve is at work");
        drop((work, answering));
        assert!(!enter(&places, 4).is_reserved());
    }

    #[test]
    fn who_is_kept_waiting_on_purpose_counts_as_idle() {
        let places = places(1, 1, 0);
        let waits = enter(&places, 1);
        let _work = waits.work();
        assert!(places.enter(&client(2)).is_none());
        let rest = waits.rest();
        let _other = enter(&places, 2);
        assert!(waits.given_up.is_cancelled());
        drop(rest);
    }

    #[test]
    fn one_that_only_waits_for_its_end_goes_before_any_other() {
        let places = places(3, 3, 0);
        let (first, second, third) = (enter(&places, 1), enter(&places, 2), enter(&places, 3));
        let work = third.work();
        third.finish();
        second.finish();
        drop(work);
        let [_fourth, _fifth] = [4, 5].map(|last| enter(&places, last));
        assert_eq!(are_given_up([&first, &second, &third]), [false, true, true]);
    }

    #[test]
    fn what_leaves_gives_its_place_back_and_leaves_nothing_behind() {
        let places = places(2, 1, 1);
        drop((enter(&places, 1), enter(&places, 2), places.enter(&client(2))));
        let state = places.state();
        assert!(state.seats.is_empty() && state.idle.is_empty() && state.reserved == 0);
        drop(state);
        assert!(places.0.pool.used().is_empty());
    }
}
