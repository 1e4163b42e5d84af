//! What the mutex of the schedule guards, and how a commit changes it.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    time::Instant,
};

use super::{Arrivals, BodyCache, Change, Fresh, Key, RelayScope};
use crate::{
    delivery::{PluginName, TenantId, view::QueueView},
    ledger::{claims::RunMemory, quota::LEG_WAITING_BYTES},
};

/// A leg on loan.
#[derive(Debug)]
pub(super) struct Loan {
    pub(super) token: u64,
    pub(super) since: Instant,
    /// Where it was taken from.
    pub(super) lane: Lane,
    pub(super) settling: bool,
    /// In the in-flight file, until the run has ended.
    pub(super) slot: Option<usize>,
}

/// Where a leg waits that can be lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// As it was accepted, or as its time has come.
    Ready,
    /// It came from RabbitMQ, or was too big for it.
    Arrived,
    /// The process died during a run of it.
    Suspects,
}

/// How a queue is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    /// Legs of it on loan at once.
    pub(super) concurrency_max: usize,
    /// What one run of it takes.
    pub(super) run_memory: RunMemory,
}

/// The open legs of one queue, and how many of it are dead.
#[derive(Debug)]
pub(super) struct QueueState {
    pub(super) tenant: TenantId,
    pub(super) plugin: PluginName,
    pub(super) served: Option<Served>,
    pub(super) ready: VecDeque<u64>,
    /// Suspects that can be lent; while there are any, nothing else of the queue is.
    pub(super) suspects: VecDeque<u64>,
    /// All its suspects, wherever they are.
    pub(super) suspected: HashSet<u64>,
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
    pub(super) serving: HashMap<(TenantId, PluginName), Served>,
    pub(super) tenant_concurrency_max: usize,
    pub(super) due: BinaryHeap<Reverse<(Instant, u64, i64)>>,
    pub(super) loans: HashMap<Key, Loan>,
    /// The suspect that is on loan and whose run has not ended: no other is lent meanwhile.
    pub(super) suspect: Option<Key>,
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
    pub(super) loaded: Arrivals,
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
                    // A suspect is tried here and nowhere else.
                    Some(due) if held && !self.is_suspected(leg) => self.hand(leg, due),
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
            Change::Hurried { leg } => self.hurry(leg),
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
                let lane = if queue.suspected.contains(&seq) { Lane::Suspects } else { Lane::Ready };
                queue.lane(lane).push_back(seq);
            }
        }
    }

    /// The queue and lane of the leg that a tenant lends next. A suspect goes first, one at a time of all tenants', and its queue stands still
    /// from when it is ready to the end of its run; of several queues the one with the fewest suspects is free again first.
    pub(super) fn next_of(&self, tenant: &TenantId) -> Option<(i64, Lane)> {
        if self.closed {
            return None;
        }
        let tenant = self.tenants.get(tenant).filter(|tenant| tenant.leased < self.tenant_concurrency_max)?;
        let queues = || tenant.queues.iter().filter_map(|number| Some((*number, self.queues.get(number)?)));
        let can_be_tried = |queue: &QueueState| queue.served.is_some() && queue.leased == 0 && !queue.suspects.is_empty();
        let suspected =
            queues().filter(|(_, queue)| self.suspect.is_none() && can_be_tried(queue)).min_by_key(|(_, queue)| queue.suspects.len());
        if let Some((number, _)) = suspected {
            return Some((number, Lane::Suspects));
        }
        let lane = if self.relay.is_some() { Lane::Arrived } else { Lane::Ready };
        let can_run = |(number, queue): &(i64, &QueueState)| {
            let stands_still = !queue.suspects.is_empty() || self.suspect.is_some_and(|(_, of)| of == *number);
            let legs = if lane == Lane::Arrived { &queue.arrived } else { &queue.ready };
            !stands_still && !legs.is_empty() && queue.served.is_some_and(|served| queue.leased < served.concurrency_max)
        };
        queues().find(can_run).map(|(number, _)| (number, lane))
    }

    /// Bytes of memory that the run of a tenant's next leg takes.
    pub(super) fn needs(&self, tenant: &TenantId) -> Option<u64> {
        let (number, lane) = self.next_of(tenant)?;
        let queue = self.queues.get(&number)?;
        let legs = match lane {
            Lane::Ready => &queue.ready,
            Lane::Arrived => &queue.arrived,
            Lane::Suspects => &queue.suspects,
        };
        let leg = (*legs.front()?, number);
        let arrived = self.loaded.document_bytes(leg);
        let body_bytes = arrived.or_else(|| self.bytes.get(&leg).map(|bytes| u64::from(*bytes))).unwrap_or(0);
        Some(queue.served?.run_memory.of(body_bytes))
    }

    /// Puts a tenant, and this queue of it, behind the others.
    pub(super) fn has_had_its_turn(&mut self, tenant: &TenantId, queue: i64) {
        if let Some(at) = self.turns.iter().position(|waits| waits == tenant) {
            let tenant = self.turns.remove(at);
            self.turns.extend(tenant);
        }
        if let Some(tenant) = self.tenants.get_mut(tenant)
            && let Some(at) = tenant.queues.iter().position(|number| *number == queue)
        {
            let queue = tenant.queues.remove(at);
            tenant.queues.extend(queue);
        }
    }

    fn is_suspected(&self, (seq, queue): Key) -> bool {
        self.queues.get(&queue).is_some_and(|queue| queue.suspected.contains(&seq))
    }

    /// Ends a loan; where `again`, the leg is the next of its lane. A suspect stays one until it is settled for good.
    pub(super) fn end_loan(&mut self, leg: Key, again: bool) -> Option<usize> {
        let loan = self.loans.remove(&leg)?;
        let queue = self.queues.get_mut(&leg.1)?;
        queue.leased = queue.leased.saturating_sub(1);
        if again {
            queue.lane(loan.lane).push_front(leg.0);
        }
        if self.suspect == Some(leg) {
            self.suspect = None;
        }
        if let Some(tenant) = self.tenants.get_mut(&queue.tenant) {
            tenant.leased = tenant.leased.saturating_sub(1);
        }
        loan.slot
    }

    pub(super) fn forget_bytes(&mut self, leg: Key) {
        if let Some(queue) = self.queues.get_mut(&leg.1) {
            queue.suspected.remove(&leg.0);
        }
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
    fn new(tenant: TenantId, plugin: PluginName, served: Option<Served>) -> Self {
        let lane = VecDeque::new;
        let (ready, suspects, arrived) = (lane(), lane(), lane());
        let suspected = HashSet::new();
        Self {
            tenant,
            plugin,
            served,
            ready,
            suspects,
            suspected,
            arrived,
            handing: 0,
            relayed: 0,
            back_off: None,
            retry: 0,
            leased: 0,
            dead: 0,
        }
    }

    /// Its legs of one lane.
    pub(super) fn lane(&mut self, lane: Lane) -> &mut VecDeque<u64> {
        match lane {
            Lane::Ready => &mut self.ready,
            Lane::Arrived => &mut self.arrived,
            Lane::Suspects => &mut self.suspects,
        }
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
