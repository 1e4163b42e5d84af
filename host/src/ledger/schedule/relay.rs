//! The lanes between the ledger and RabbitMQ: what the relay takes, what it brings back, and what comes from there to be run here.
//!
//! A leg is in exactly one lane. With a relay, `ready` means ready to be given away and `arrived` means ready to be run; the relay works under a
//! token, so that what it says of a leg that went on meanwhile changes nothing.

use std::{cmp::Reverse, time::Instant};

use super::{
    From, Key, Picked, Place, RelayScope, Schedule,
    state::{Handing, Lane, QueueState, State},
};
use crate::{delivery::LegState, ledger::lend::Loaded};

impl Schedule {
    /// From now on legs of this scope are given to RabbitMQ.
    pub(in crate::ledger) fn relay(&self, scope: RelayScope) {
        self.state().relay = Some(scope);
        self.changed.notify_waiters();
    }

    /// Whether legs are given to RabbitMQ.
    pub(in crate::ledger) fn is_relaying(&self) -> bool {
        self.state().relay.is_some()
    }

    /// Whether other hosts may settle what this one gave to RabbitMQ.
    pub(in crate::ledger) fn outcomes_elsewhere(&self) -> bool {
        self.state().relay.is_some_and(|relay| relay.outcomes_elsewhere)
    }

    /// The next leg to give to RabbitMQ.
    pub(in crate::ledger) fn pick_to_relay(&self, now: Instant) -> Option<Picked> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        state.wake_due(now);
        let leg = state.next_to_relay(now)?;
        state.next_token += 1;
        let token = state.next_token;
        state.handing.get_mut(&leg)?.token = token;
        let plugin = state.queues.get(&leg.1)?.plugin.clone();
        Some(Picked { leg, plugin, token, is_suspect: false, fresh: state.cache.take(leg), loaded: None })
    }

    /// Has the relay take next what waits for its time, and what is suspected.
    pub(in crate::ledger) fn hand_all(&self) {
        let mut state = self.state();
        for Reverse((due, seq, number)) in std::mem::take(&mut state.due) {
            if let Some(queue) = state.queues.get_mut(&number) {
                queue.retry -= 1;
            }
            state.hand((seq, number), due);
        }
        for queue in state.queues.values_mut() {
            queue.ready.append(&mut queue.suspects);
            queue.suspected.clear();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Legs that RabbitMQ is to get, and legs that it cannot have.
    pub(in crate::ledger) fn not_given(&self) -> (u64, u64) {
        let state = self.state();
        let count = |(to_give, kept): (u64, u64), queue: &QueueState| {
            let lanes = (queue.ready.len() + queue.suspects.len()) as u64;
            (to_give + lanes + queue.retry + queue.handing, kept + queue.arrived.len() as u64)
        };
        state.queues.values().fold((0, 0), count)
    }

    /// Legs that RabbitMQ is to get now; none without a relay.
    pub(in crate::ledger) fn relay_lag(&self) -> u64 {
        let state = self.state();
        let worked = state.queues.values().filter(|queue| state.relay.is_some() && state.is_worked(queue));
        worked.map(|queue| queue.ready.len() as u64 + queue.handing).sum()
    }

    /// RabbitMQ did not take it: it waits on, its queue until `back_off` where one is given. False where it went on meanwhile.
    pub(in crate::ledger) fn take_back(&self, leg: Key, token: u64, back_off: Option<Instant>) -> bool {
        let mut state = self.state();
        let Some(Handing { due, .. }) = state.release(leg, token) else { return false };
        match due {
            Some(due) => state.wait(leg, due),
            None => {
                if let Some(queue) = state.queues.get_mut(&leg.1) {
                    queue.ready.push_front(leg.0);
                    queue.back_off = back_off.or(queue.back_off);
                }
            }
        }
        drop(state);
        self.changed.notify_waiters();
        true
    }

    /// RabbitMQ cannot take it at all: it runs here, at its time. False where it went on meanwhile.
    pub(in crate::ledger) fn run_here(&self, leg: Key, token: u64, now: Instant) -> bool {
        let mut state = self.state();
        let Some(Handing { due, .. }) = state.release(leg, token) else { return false };
        match due.filter(|due| *due > now) {
            Some(due) => state.wait(leg, due),
            None => {
                if let Some(queue) = state.queues.get_mut(&leg.1) {
                    queue.arrived.push_back(leg.0);
                }
            }
        }
        drop(state);
        self.changed.notify_waiters();
        true
    }

    /// The message behind a leg that has arrived is gone: RabbitMQ will deliver it again, here or elsewhere.
    pub(in crate::ledger) fn retract(&self, leg: Key) -> bool {
        let mut state = self.state();
        let Some(queue) = state.queues.get_mut(&leg.1) else { return false };
        let Some(at) = queue.arrived.iter().position(|seq| *seq == leg.0) else { return false };
        queue.arrived.remove(at);
        queue.relayed += 1;
        state.loaded.take(leg);
        true
    }

    /// Where a leg is whose row says `stored`.
    pub(in crate::ledger) fn place(&self, leg: Key, stored: LegState) -> Place {
        self.state().place(leg, stored)
    }
}

impl State {
    /// The next leg of a queue whose turn it is; it is with the relay from here.
    fn next_to_relay(&mut self, now: Instant) -> Option<Key> {
        if let Some(leg) = self.returning.pop_front() {
            return Some(leg);
        }
        let relay = self.relay?;
        for turn in 0..self.turns.len() {
            let queues = &self.queues;
            let can_go = |number: &i64| {
                queues.get(number).is_some_and(|queue| {
                    let may = relay.all || queue.served.is_some();
                    may && !queue.ready.is_empty() && queue.back_off.is_none_or(|until| until <= now)
                })
            };
            let Some(tenant) = self.tenants.get_mut(&self.turns[turn]) else { continue };
            let Some(at) = tenant.queues.iter().position(can_go) else { continue };
            let number = tenant.queues.remove(at)?;
            tenant.queues.push_back(number);
            let tenant = self.turns.remove(turn)?;
            self.turns.push_back(tenant);
            let queue = self.queues.get_mut(&number)?;
            queue.back_off = None;
            let leg = (queue.ready.pop_front()?, number);
            queue.handing += 1;
            self.handing.insert(leg, Handing { token: 0, due: None });
            return Some(leg);
        }
        None
    }

    /// A leg that was just run waits for the relay, not for its time.
    pub(super) fn hand(&mut self, leg: Key, due: Instant) {
        let Some(queue) = self.queues.get_mut(&leg.1) else { return };
        queue.handing += 1;
        self.handing.insert(leg, Handing { token: 0, due: Some(due) });
        self.returning.push_back(leg);
    }

    /// RabbitMQ has it now.
    pub(super) fn confirm(&mut self, leg: Key, token: u64) {
        if self.release(leg, token).is_none() {
            return;
        }
        if let Some(queue) = self.queues.get_mut(&leg.1) {
            queue.relayed += 1;
        }
        self.forget_bytes(leg);
    }

    /// Ready to be lent, from wherever it was.
    pub(super) fn arrive(&mut self, leg: Key, loaded: Box<Loaded>, from: From) {
        if from == From::Lane {
            self.withdraw(leg);
        }
        if let Some(queue) = self.queues.get_mut(&leg.1) {
            queue.relayed -= u64::from(from == From::Relayed);
            queue.arrived.push_back(leg.0);
            self.loaded.put(leg, loaded);
        }
    }

    fn release(&mut self, leg: Key, token: u64) -> Option<Handing> {
        self.handing.get(&leg).filter(|handing| handing.token == token)?;
        if let Some(queue) = self.queues.get_mut(&leg.1) {
            queue.handing -= 1;
        }
        self.handing.remove(&leg)
    }

    fn place(&self, leg: Key, stored: LegState) -> Place {
        let Some(queue) = self.queues.get(&leg.1) else { return Place::Nowhere };
        if self.loans.contains_key(&leg) {
            Place::Loan
        } else if queue.arrived.contains(&leg.0) {
            Place::Arrived
        } else if self.handing.contains_key(&leg) {
            Place::Handing
        } else if queue.suspects.contains(&leg.0) {
            Place::Suspected
        } else if stored == LegState::Relayed {
            // Never in the lanes below, which may be long.
            Place::Nowhere
        } else if queue.ready.contains(&leg.0) {
            Place::Ready
        } else if queue.retry > 0 && self.due.iter().any(|Reverse((_, seq, number))| (*seq, *number) == leg) {
            Place::Due
        } else {
            Place::Nowhere
        }
    }

    /// Makes a leg that waits for its time the next of its lane. Its time may have come meanwhile: then it is there, or on loan.
    pub(super) fn hurry(&mut self, leg: Key) {
        if self.place(leg, LegState::Retry) != Place::Due {
            return;
        }
        self.withdraw(leg);
        if let Some(queue) = self.queues.get_mut(&leg.1) {
            let lane = if queue.suspected.contains(&leg.0) { Lane::Suspects } else { Lane::Ready };
            queue.lane(lane).push_front(leg.0);
        }
    }

    /// Takes an open leg that is not on loan out of its lane, whichever it is.
    pub(super) fn withdraw(&mut self, leg: Key) {
        let place = self.place(leg, LegState::Waiting);
        self.loaded.take(leg);
        let Some(queue) = self.queues.get_mut(&leg.1) else { return };
        match place {
            Place::Loan | Place::Nowhere => {}
            Place::Arrived => queue.arrived.retain(|seq| *seq != leg.0),
            Place::Suspected => queue.suspects.retain(|seq| *seq != leg.0),
            Place::Ready => queue.ready.retain(|seq| *seq != leg.0),
            Place::Handing => {
                queue.handing -= 1;
                self.handing.remove(&leg);
                self.returning.retain(|returning| *returning != leg);
            }
            Place::Due => {
                queue.retry -= 1;
                self.due.retain(|Reverse((_, seq, number))| (*seq, *number) != leg);
            }
        }
    }
}
