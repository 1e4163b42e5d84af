//! What the mutex of the schedule guards, and how a commit changes it.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    time::Instant,
};

use super::{BodyCache, Change, Fresh, Key, Loaded, RelayScope};
use crate::{
    delivery::{PluginName, TenantId, view::QueueView},
    ledger::quota::LEG_WAITING_BYTES,
};

/// A leg on loan.
#[derive(Debug)]
pub(super) struct Loan {
    pub(super) token: u64,
    pub(super) since: Instant,
    pub(super) lone: bool,
    /// It came from RabbitMQ, or was too big for it.
    pub(super) arrived: bool,
    pub(super) settling: bool,
    pub(super) slot: Option<usize>,
}

/// The open legs of one queue, and how many of it are dead.
#[derive(Debug)]
pub(super) struct QueueState {
    pub(super) tenant: TenantId,
    pub(super) plugin: PluginName,
    pub(super) served: Option<usize>,
    pub(super) ready: VecDeque<u64>,
    pub(super) suspects: VecDeque<u64>,
    /// From RabbitMQ, or too big for it: to be lent.
    pub(super) arrived: VecDeque<u64>,
    /// With the relay.
    pub(super) handing: u64,
    /// In RabbitMQ's keeping.
    pub(super) relayed: u64,
    /// RabbitMQ refused a leg of it; the relay tries no other before.
    pub(super) back_off: Option<Instant>,
    pub(super) retry: u64,
    pub(super) leased: usize,
    pub(super) dead: u64,
}

/// A tenant's queues in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct TenantState {
    pub(super) queues: VecDeque<i64>,
    pub(super) leased: usize,
    pub(super) waiting: Waiting,
}

/// What open legs wait with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ledger) struct Waiting {
    /// Of their documents, and of themselves.
    pub(in crate::ledger) bytes: u64,
    /// How many they are.
    pub(in crate::ledger) legs: u64,
}

impl Waiting {
    fn add(&mut self, document_bytes: u32) {
        self.bytes += u64::from(document_bytes) + LEG_WAITING_BYTES;
        self.legs += 1;
    }

    fn take(&mut self, document_bytes: u32) {
        self.bytes = self.bytes.saturating_sub(u64::from(document_bytes) + LEG_WAITING_BYTES);
        self.legs = self.legs.saturating_sub(1);
    }
}

/// A leg the relay has, or is to take next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handing {
    pub(super) token: u64,
    /// When it may run, where that is not at once.
    pub(super) due: Option<Instant>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queues: HashMap<i64, QueueState>,
    pub(super) ids: HashMap<(TenantId, PluginName), i64>,
    pub(super) tenants: HashMap<TenantId, TenantState>,
    pub(super) turns: VecDeque<TenantId>,
    pub(super) serving: HashMap<(TenantId, PluginName), usize>,
    pub(super) tenant_concurrency_max: usize,
    pub(super) due: BinaryHeap<Reverse<(Instant, u64, i64)>>,
    pub(super) loans: HashMap<Key, Loan>,
    pub(super) bytes: HashMap<Key, u32>,
    /// The sum over all tenants, and how many of them have some.
    pub(super) waiting: Waiting,
    pub(super) waiting_tenants: usize,
    pub(super) changed_waiting: HashSet<TenantId>,
    pub(super) cache: BodyCache,
    pub(super) next_token: u64,
    pub(super) closed: bool,
    pub(super) history: VecDeque<(u64, [u64; 5], u64)>,
    /// Whose legs are given to RabbitMQ; none with the embedded engine.
    pub(super) relay: Option<RelayScope>,
    /// What the relay has, under which token.
    pub(super) handing: HashMap<Key, Handing>,
    /// What the relay is to take before all else.
    pub(super) returning: VecDeque<Key>,
    /// What came with legs from RabbitMQ.
    pub(super) loaded: HashMap<Key, Box<Loaded>>,
}

impl State {
    pub(super) fn apply(&mut self, change: Change) -> Option<usize> {
        match change {
            Change::Queue { queue, tenant, plugin } => self.add_queue(queue, tenant, plugin),
            Change::Opened { leg, bytes, due, fresh } => self.open(leg, bytes, due, fresh),
            Change::Settled { leg, dead } => {
                let slot = self.end_loan(leg, false);
                self.forget_bytes(leg);
                if let Some(queue) = self.queues.get_mut(&leg.1).filter(|_| dead) {
                    queue.dead += 1;
                }
                return slot;
            }
            Change::Again { leg, due, held } => {
                let slot = self.end_loan(leg, due.is_none());
                match due {
                    Some(due) if held => self.hand(leg, due),
                    Some(due) => self.wait(leg, due),
                    None => {}
                }
                return slot;
            }
            Change::Relayed { queue, by } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.relayed = queue.relayed.saturating_add_signed(by);
                }
            }
            Change::Confirmed { leg, token } => self.confirm(leg, token),
            Change::Arrived { leg, loaded, from } => self.arrive(leg, loaded, from),
            Change::Withdrawn { leg } => {
                self.withdraw(leg);
                self.forget_bytes(leg);
            }
            Change::Dead { queue, by } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.dead = queue.dead.saturating_add_signed(by);
                }
            }
        }
        None
    }

    pub(super) fn add_queue(&mut self, queue: i64, tenant: TenantId, plugin: PluginName) {
        if self.queues.contains_key(&queue) {
            return;
        }
        let served = self.serving.get(&(tenant.clone(), plugin.clone())).copied();
        self.ids.insert((tenant.clone(), plugin.clone()), queue);
        if !self.tenants.contains_key(&tenant) {
            self.turns.push_back(tenant.clone());
        }
        self.tenants.entry(tenant.clone()).or_default().queues.push_back(queue);
        self.queues.insert(queue, QueueState::new(tenant, plugin, served));
    }

    pub(super) fn open(&mut self, leg: Key, bytes: u64, due: Option<Instant>, fresh: Option<Fresh>) {
        let Some(queue) = self.queues.get_mut(&leg.1) else { return };
        let is_worked = queue.served.is_some() || self.relay.is_some_and(|relay| relay.all);
        let (bytes, tenant) = (u32::try_from(bytes).unwrap_or(u32::MAX), queue.tenant.clone());
        self.remember_bytes(leg, tenant, bytes);
        let Some(queue) = self.queues.get_mut(&leg.1) else { return };
        match due {
            Some(due) => self.wait(leg, due),
            None => queue.ready.push_back(leg.0),
        }
        if let Some(fresh) = fresh.filter(|_| is_worked) {
            self.cache.put(leg, fresh);
        }
    }

    pub(super) fn wait(&mut self, leg: Key, due: Instant) {
        if let Some(queue) = self.queues.get_mut(&leg.1) {
            queue.retry += 1;
            self.due.push(Reverse((due, leg.0, leg.1)));
        }
    }

    pub(super) fn wake_due(&mut self, now: Instant) {
        while self.due.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, seq, queue))) = self.due.pop() else { return };
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.retry -= 1;
                queue.ready.push_back(seq);
            }
        }
    }

    /// The queue whose turn it is, and whether its leg is a suspect that runs alone.
    pub(super) fn next_queue(&mut self) -> Option<(i64, bool)> {
        if self.closed || self.loans.values().any(|loan| loan.lone) {
            return None;
        }
        let suspected = self.queues.iter().find(|(_, queue)| queue.served.is_some() && !queue.suspects.is_empty());
        if let Some((number, _)) = suspected {
            return self.loans.is_empty().then_some((*number, true));
        }
        for turn in 0..self.turns.len() {
            let Some(tenant) = self.tenants.get_mut(&self.turns[turn]).filter(|tenant| tenant.leased < self.tenant_concurrency_max) else {
                continue;
            };
            let relays = self.relay.is_some();
            let can_run = |number: &i64| {
                self.queues.get(number).is_some_and(|queue| {
                    let lane = if relays { &queue.arrived } else { &queue.ready };
                    !lane.is_empty() && queue.served.is_some_and(|max| queue.leased < max)
                })
            };
            let Some(at) = tenant.queues.iter().position(can_run) else { continue };
            let number = tenant.queues.remove(at)?;
            tenant.queues.push_back(number);
            let tenant = self.turns.remove(turn)?;
            self.turns.push_back(tenant);
            return Some((number, false));
        }
        None
    }

    /// Ends a loan; where `again`, the leg is the next of its queue. A suspect stays one until it is settled.
    pub(super) fn end_loan(&mut self, leg: Key, again: bool) -> Option<usize> {
        let loan = self.loans.remove(&leg)?;
        let queue = self.queues.get_mut(&leg.1)?;
        queue.leased = queue.leased.saturating_sub(1);
        if again && loan.lone {
            queue.suspects.push_front(leg.0);
        } else if again && loan.arrived {
            queue.arrived.push_front(leg.0);
        } else if again {
            queue.ready.push_front(leg.0);
        }
        if let Some(tenant) = self.tenants.get_mut(&queue.tenant) {
            tenant.leased = tenant.leased.saturating_sub(1);
        }
        loan.slot
    }

    pub(super) fn forget_bytes(&mut self, leg: Key) {
        let Some(bytes) = self.bytes.remove(&leg) else { return };
        self.waiting.take(bytes);
        let Some(name) = self.queues.get(&leg.1).map(|queue| queue.tenant.clone()) else { return };
        if let Some(tenant) = self.tenants.get_mut(&name) {
            tenant.waiting.take(bytes);
            self.waiting_tenants -= usize::from(tenant.waiting.legs == 0);
        }
        self.changed_waiting.insert(name);
    }

    fn remember_bytes(&mut self, leg: Key, name: TenantId, bytes: u32) {
        self.forget_bytes(leg);
        self.bytes.insert(leg, bytes);
        self.waiting.add(bytes);
        if let Some(tenant) = self.tenants.get_mut(&name) {
            tenant.waiting.add(bytes);
            self.waiting_tenants += usize::from(tenant.waiting.legs == 1);
        }
        self.changed_waiting.insert(name);
    }

    /// Whether the legs of a queue go on here: they are run, or given to RabbitMQ.
    pub(super) fn is_worked(&self, queue: &QueueState) -> bool {
        queue.served.is_some() || self.relay.is_some_and(|relay| relay.all)
    }

    pub(super) fn counts(&self) -> ([u64; 5], u64) {
        let mut open = [0; 5];
        let mut dead = 0;
        for view in self.queues.values().map(|queue| queue.counts(self.is_worked(queue))) {
            for (sum, count) in open.iter_mut().zip(view) {
                *sum += count;
            }
        }
        for queue in self.queues.values() {
            dead += queue.dead;
        }
        (open, dead)
    }
}

impl QueueState {
    fn new(tenant: TenantId, plugin: PluginName, served: Option<usize>) -> Self {
        let lane = VecDeque::new;
        let (ready, suspects, arrived) = (lane(), lane(), lane());
        Self { tenant, plugin, served, ready, suspects, arrived, handing: 0, relayed: 0, back_off: None, retry: 0, leased: 0, dead: 0 }
    }

    /// Waiting, leased, retry, parked, relayed.
    pub(super) fn counts(&self, is_worked: bool) -> [u64; 5] {
        let ready = (self.ready.len() + self.suspects.len() + self.arrived.len()) as u64 + self.handing;
        let leased = self.leased as u64;
        let [waiting, retry, parked] = if is_worked { [ready, self.retry, 0] } else { [0, 0, ready + self.retry] };
        [waiting, leased, retry, parked, self.relayed]
    }

    pub(super) fn view(&self, is_worked: bool) -> QueueView {
        let [waiting, leased, retry, parked, relayed] = self.counts(is_worked);
        let (tenant, plugin) = (self.tenant.clone(), self.plugin.clone());
        QueueView { tenant, plugin, waiting, leased, retry, parked, relayed, dead: self.dead }
    }
}
