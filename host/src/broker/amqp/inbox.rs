//! The messages this host holds unacknowledged: RabbitMQ keeps each until its leg is settled here, or given back to RabbitMQ.
//!
//! A leg may have several: a connection that was lost has its messages delivered again while their legs still run. All of them stand for the
//! same leg, so all go when it is settled; only the newest is sure to be alive, so none may go before.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lapin::{
    Acker,
    options::{BasicAckOptions, BasicNackOptions},
};
use tokio::sync::Notify;

use super::link::ANSWER_MAX;
use crate::delivery::LegId;

/// A message that is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    acker: Acker,
    /// The channel it came on.
    channel: u64,
    number: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    next: AtomicU64,
    /// Told when a channel may hold no message any more.
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Of legs that are to be run here, or run.
    here: HashMap<LegId, Vec<Held>>,
    /// Of legs that were run, until RabbitMQ has their next message.
    settled: HashMap<LegId, Vec<Held>>,
}

impl Held {
    /// The message can go.
    pub(super) async fn ack(self) {
        // An acknowledgement that does not get through is no loss: the message comes again and is known as older.
        let _ = tokio::time::timeout(ANSWER_MAX, self.acker.ack(BasicAckOptions::default())).await;
    }

    /// The message must come again.
    pub(super) async fn give_back(self) {
        let again = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        let _ = tokio::time::timeout(ANSWER_MAX, self.acker.nack(again)).await;
    }
}

impl Inbox {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number no other channel has.
    pub(super) fn new_channel(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A message of no leg yet.
    pub(super) fn message(&self, acker: Acker, channel: u64) -> Held {
        Held { acker, channel, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    /// Holds a message for a leg: before the leg can be lent, or its settlement would miss it.
    pub(super) fn hold(&self, leg: &LegId, message: Held) {
        self.state().here.entry(leg.clone()).or_default().push(message);
    }

    /// Takes one message of a leg out again.
    pub(super) fn let_go(&self, leg: &LegId, message: &Held) {
        let mut state = self.state();
        let Some(held) = state.here.get_mut(leg) else { return };
        held.retain(|other| other.number != message.number);
        if held.is_empty() {
            state.here.remove(leg);
        }
        drop(state);
        self.emptied.notify_waiters();
    }

    /// Takes all messages of a leg but the newest.
    pub(super) fn older(&self, leg: &LegId) -> Vec<Held> {
        let mut state = self.state();
        let Some(held) = state.here.get_mut(leg) else { return Vec::new() };
        let newest = held.len().saturating_sub(1);
        held.drain(..newest).collect()
    }

    /// A leg was settled for good: its messages.
    pub(super) fn settled(&self, leg: &LegId) -> Vec<Held> {
        let held = self.state().here.remove(leg).unwrap_or_default();
        self.emptied.notify_waiters();
        held
    }

    /// A leg was run and is on its way back to RabbitMQ: its messages stay until it is there.
    pub(super) fn await_relay(&self, leg: &LegId) {
        let mut state = self.state();
        let held = state.here.remove(leg).unwrap_or_default();
        if !held.is_empty() {
            state.settled.entry(leg.clone()).or_default().extend(held);
        }
    }

    /// RabbitMQ has the leg's next message, or this ledger keeps the leg: the messages of the run before.
    pub(super) fn handed_over(&self, leg: &LegId) -> Vec<Held> {
        let held = self.state().settled.remove(leg).unwrap_or_default();
        self.emptied.notify_waiters();
        held
    }

    /// A channel has ended: forgets its messages and names the legs that have none left.
    pub(super) fn lost(&self, channel: u64) -> Vec<LegId> {
        let mut state = self.state();
        let mut without = Vec::new();
        state.here.retain(|leg, held| {
            held.retain(|message| message.channel != channel);
            if held.is_empty() {
                without.push(leg.clone());
            }
            !held.is_empty()
        });
        state.settled.retain(|_, held| {
            held.retain(|message| message.channel != channel);
            !held.is_empty()
        });
        without
    }

    /// The legs a channel holds messages of.
    pub(super) fn legs_of(&self, channel: u64) -> Vec<LegId> {
        let of = |held: &&Held| held.channel == channel;
        self.state().here.iter().filter(|(_, held)| held.iter().any(|message| of(&message))).map(|(leg, _)| leg.clone()).collect()
    }

    /// Waits until a channel holds no message.
    pub(super) async fn empty(&self, channel: u64) {
        loop {
            let emptied = self.emptied.notified();
            if !self.holds(channel) {
                return;
            }
            emptied.await;
        }
    }

    fn holds(&self, channel: u64) -> bool {
        let state = self.state();
        state.here.values().chain(state.settled.values()).flatten().any(|message| message.channel == channel)
    }
}
