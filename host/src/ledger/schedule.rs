//! Which legs can run, in memory: the committer's view of the open legs, kept in step with the database after each commit.
//!
//! An entry is one number a leg, so that half a million waiting legs cost a few megabytes. Tenants take turns, and a tenant's queues take
//! turns, so that one backlog delays nobody else. Waiting for a time is done on monotonic time: a wall clock that jumps back must not push a
//! retry into next year. One mutex guards everything and is never held across an await.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{QueueSet, cache::BodyCache};
use crate::delivery::{Delivery, LegState, PluginName, TenantId, view::QueueView};

/// A loan nobody settled for this long is given to somebody else; the late settlement is refused by its token.
pub(super) const LOAN_MAX: Duration = Duration::from_secs(3600);
/// Commits of which the open counts are remembered, for the books.
const HISTORY_MAX: usize = 256;

/// A leg, as the schedule names it.
pub(super) type Key = (u64, i64);

/// What a commit changed.
#[derive(Debug)]
pub(super) enum Change {
    /// A queue got its number.
    Queue { queue: i64, tenant: TenantId, plugin: PluginName },
    /// A leg became open. `fresh` is its delivery where it never ran.
    Opened { leg: Key, bytes: u64, due: Option<Instant>, fresh: Option<Arc<Delivery>> },
    /// A leg on loan is settled.
    Settled { leg: Key, dead: bool },
    /// A leg on loan stays open.
    Again { leg: Key, due: Option<Instant> },
    /// A queue has so many dead letters more, or less.
    Dead { queue: i64, by: i64 },
}

/// A leg that was picked.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) leg: Key,
    pub(super) plugin: PluginName,
    pub(super) token: u64,
    pub(super) fresh: Option<Arc<Delivery>>,
}

#[derive(Debug)]
struct Loan {
    token: u64,
    since: Instant,
    lone: bool,
    settling: bool,
    slot: Option<usize>,
}

#[derive(Debug)]
struct QueueState {
    tenant: TenantId,
    plugin: PluginName,
    served: Option<usize>,
    ready: VecDeque<u64>,
    suspects: VecDeque<u64>,
    retry: u64,
    leased: usize,
    dead: u64,
}

#[derive(Debug, Default)]
struct TenantState {
    queues: VecDeque<i64>,
    leased: usize,
    waiting_bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<i64, QueueState>,
    ids: HashMap<(TenantId, PluginName), i64>,
    tenants: HashMap<TenantId, TenantState>,
    turns: VecDeque<TenantId>,
    serving: HashMap<(TenantId, PluginName), usize>,
    tenant_concurrency_max: usize,
    due: BinaryHeap<Reverse<(Instant, u64, i64)>>,
    loans: HashMap<Key, Loan>,
    bytes: HashMap<Key, u32>,
    cache: BodyCache,
    next_token: u64,
    closed: bool,
    history: VecDeque<(u64, [u64; 4], u64)>,
}

/// The schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    state: Mutex<State>,
    /// Told whenever something may have become leasable.
    pub(super) changed: Notify,
}

impl Schedule {
    /// An empty schedule that keeps so many bytes of fresh bodies.
    pub(super) fn new(body_cache_bytes_max: usize) -> Self {
        let state = State { cache: BodyCache::new(body_cache_bytes_max), ..State::default() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what a commit changed, and notes the counts that belong to it.
    pub(super) fn apply(&self, commit: u64, changes: Vec<Change>) -> Vec<usize> {
        let mut state = self.state();
        let slots = changes.into_iter().filter_map(|change| state.apply(change)).collect();
        let counts = state.counts();
        if state.history.len() == HISTORY_MAX {
            state.history.pop_front();
        }
        state.history.push_back((commit, counts.0, counts.1));
        drop(state);
        self.changed.notify_waiters();
        slots
    }

    /// Makes legs that were under way when the process died run alone and first.
    pub(super) fn suspect(&self, legs: &[Key]) {
        let mut state = self.state();
        for (seq, queue) in legs {
            if let Some(queue) = state.queues.get_mut(queue) {
                queue.ready.retain(|ready| ready != seq);
                queue.suspects.push_back(*seq);
            }
        }
    }

    /// Which queues may be leased from.
    pub(super) fn serve(&self, set: QueueSet) {
        let mut state = self.state();
        state.tenant_concurrency_max = set.tenant_concurrency_max;
        state.serving = set.queues.into_iter().map(|queue| ((queue.tenant, queue.plugin), queue.concurrency_max)).collect();
        let State { queues, serving, cache, .. } = &mut *state;
        for (number, queue) in queues.iter_mut() {
            queue.served = serving.get(&(queue.tenant.clone(), queue.plugin.clone())).copied();
            if queue.served.is_none() {
                cache.drop_queue(*number);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Lends the next leg, if one can run.
    pub(super) fn pick(&self, now: Instant) -> Option<Picked> {
        let mut state = self.state();
        state.wake_due(now);
        let (queue, lone) = state.next_queue()?;
        let entry = state.queues.get_mut(&queue)?;
        let seq = if lone { entry.suspects.pop_front() } else { entry.ready.pop_front() }?;
        entry.leased += 1;
        let (tenant, plugin) = (entry.tenant.clone(), entry.plugin.clone());
        if let Some(tenant) = state.tenants.get_mut(&tenant) {
            tenant.leased += 1;
        }
        state.next_token += 1;
        let token = state.next_token;
        let leg = (seq, queue);
        state.loans.insert(leg, Loan { token, since: now, lone, settling: false, slot: None });
        Some(Picked { leg, plugin, token, fresh: state.cache.take(leg) })
    }

    /// Notes the in-flight slot of a loan.
    pub(super) fn note_slot(&self, leg: Key, token: u64, slot: usize) {
        if let Some(loan) = self.state().loans.get_mut(&leg).filter(|loan| loan.token == token) {
            loan.slot = Some(slot);
        }
    }

    /// Takes a loan back that nobody will settle; the leg runs next. Returns its in-flight slot.
    pub(super) fn give_back(&self, leg: Key, token: u64) -> Option<usize> {
        let mut state = self.state();
        if state.loans.get(&leg).is_none_or(|loan| loan.token != token || loan.settling) {
            return None;
        }
        let slot = state.end_loan(leg, true);
        drop(state);
        self.changed.notify_waiters();
        slot
    }

    /// Takes loans back that are older than [`LOAN_MAX`]. Returns their in-flight slots.
    pub(super) fn reclaim(&self, now: Instant) -> Vec<usize> {
        let mut state = self.state();
        let is_old = |loan: &Loan| !loan.settling && now.saturating_duration_since(loan.since) >= LOAN_MAX;
        let old: Vec<Key> = state.loans.iter().filter(|(_, loan)| is_old(loan)).map(|(leg, _)| *leg).collect();
        old.into_iter().filter_map(|leg| state.end_loan(leg, true)).collect()
    }

    /// When [`Schedule::pick`] may answer otherwise without a commit: the next due time or the next loan to reclaim.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let state = self.state();
        let due = state.due.peek().map(|Reverse((due, ..))| *due);
        let loan = state.loans.values().map(|loan| loan.since + LOAN_MAX).min();
        due.into_iter().chain(loan).min()
    }

    /// Claims a loan for its settlement: no reclaim from here. False where the token is not the loan's.
    pub(super) fn begin_settling(&self, leg: Key, token: u64) -> bool {
        match self.state().loans.get_mut(&leg) {
            Some(loan) if loan.token == token && !loan.settling => {
                loan.settling = true;
                true
            }
            _ => false,
        }
    }

    /// The settlement was not committed: the leg stays on loan.
    pub(super) fn stop_settling(&self, leg: Key) {
        if let Some(loan) = self.state().loans.get_mut(&leg) {
            loan.settling = false;
        }
    }

    /// The number of a queue.
    pub(super) fn queue(&self, tenant: &TenantId, plugin: &PluginName) -> Option<i64> {
        self.state().ids.get(&(tenant.clone(), plugin.clone())).copied()
    }

    /// Bytes of bodies a tenant's open legs wait with.
    pub(super) fn waiting_bytes(&self, tenant: &TenantId) -> u64 {
        self.state().tenants.get(tenant).map_or(0, |tenant| tenant.waiting_bytes)
    }

    /// What memory knows better than the database of an open leg's state.
    pub(super) fn open_state(&self, leg: Key, stored: LegState) -> LegState {
        let state = self.state();
        if !stored.is_open() {
            stored
        } else if state.loans.contains_key(&leg) {
            LegState::Leased
        } else if state.queues.get(&leg.1).is_some_and(|queue| queue.served.is_none()) {
            LegState::Parked
        } else {
            stored
        }
    }

    /// The legs of every queue by state.
    pub(super) fn queues(&self) -> Vec<QueueView> {
        let mut views: Vec<_> = self.state().queues.values().map(QueueState::view).collect();
        views.sort_by(|a, b| (&a.tenant, &a.plugin).cmp(&(&b.tenant, &b.plugin)));
        views
    }

    /// The open counts and the dead count that belong to a commit: none where it is not here yet, or not any more.
    pub(super) fn counts_at(&self, commit: u64) -> Option<([u64; 4], u64)> {
        self.state().history.iter().rev().find(|(at, ..)| *at == commit).map(|(_, open, dead)| (*open, *dead))
    }

    /// Lends nothing from here on.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
    }

    /// Whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }
}

impl State {
    fn apply(&mut self, change: Change) -> Option<usize> {
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
            Change::Again { leg, due } => {
                let slot = self.end_loan(leg, due.is_none());
                if let Some(due) = due {
                    self.wait(leg, due);
                }
                return slot;
            }
            Change::Dead { queue, by } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.dead = queue.dead.saturating_add_signed(by);
                }
            }
        }
        None
    }

    fn add_queue(&mut self, queue: i64, tenant: TenantId, plugin: PluginName) {
        if self.queues.contains_key(&queue) {
            return;
        }
        let served = self.serving.get(&(tenant.clone(), plugin.clone())).copied();
        self.ids.insert((tenant.clone(), plugin.clone()), queue);
        if !self.tenants.contains_key(&tenant) {
            self.turns.push_back(tenant.clone());
        }
        self.tenants.entry(tenant.clone()).or_default().queues.push_back(queue);
        let (ready, suspects) = (VecDeque::new(), VecDeque::new());
        self.queues.insert(queue, QueueState { tenant, plugin, served, ready, suspects, retry: 0, leased: 0, dead: 0 });
    }

    fn open(&mut self, leg: Key, bytes: u64, due: Option<Instant>, fresh: Option<Arc<Delivery>>) {
        let Some(queue) = self.queues.get_mut(&leg.1) else { return };
        let is_served = queue.served.is_some();
        if let Some(tenant) = self.tenants.get_mut(&queue.tenant) {
            tenant.waiting_bytes += bytes;
        }
        self.bytes.insert(leg, u32::try_from(bytes).unwrap_or(u32::MAX));
        match due {
            Some(due) => self.wait(leg, due),
            None => queue.ready.push_back(leg.0),
        }
        if let Some(delivery) = fresh.filter(|_| is_served) {
            self.cache.put(leg, delivery);
        }
    }

    fn wait(&mut self, leg: Key, due: Instant) {
        if let Some(queue) = self.queues.get_mut(&leg.1) {
            queue.retry += 1;
            self.due.push(Reverse((due, leg.0, leg.1)));
        }
    }

    fn wake_due(&mut self, now: Instant) {
        while self.due.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, seq, queue))) = self.due.pop() else { return };
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.retry -= 1;
                queue.ready.push_back(seq);
            }
        }
    }

    /// The queue whose turn it is, and whether its leg is a suspect that runs alone.
    fn next_queue(&mut self) -> Option<(i64, bool)> {
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
            let can_run = |number: &i64| {
                self.queues.get(number).is_some_and(|queue| !queue.ready.is_empty() && queue.served.is_some_and(|max| queue.leased < max))
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
    fn end_loan(&mut self, leg: Key, again: bool) -> Option<usize> {
        let loan = self.loans.remove(&leg)?;
        let queue = self.queues.get_mut(&leg.1)?;
        queue.leased = queue.leased.saturating_sub(1);
        if again && loan.lone {
            queue.suspects.push_front(leg.0);
        } else if again {
            queue.ready.push_front(leg.0);
        }
        if let Some(tenant) = self.tenants.get_mut(&queue.tenant) {
            tenant.leased = tenant.leased.saturating_sub(1);
        }
        loan.slot
    }

    fn forget_bytes(&mut self, leg: Key) {
        let Some(bytes) = self.bytes.remove(&leg) else { return };
        let tenant = self.queues.get(&leg.1).and_then(|queue| self.tenants.get_mut(&queue.tenant));
        if let Some(tenant) = tenant {
            tenant.waiting_bytes = tenant.waiting_bytes.saturating_sub(bytes.into());
        }
    }

    fn counts(&self) -> ([u64; 4], u64) {
        let mut open = [0; 4];
        let mut dead = 0;
        for view in self.queues.values().map(QueueState::counts) {
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
    /// Waiting, leased, retry, parked.
    fn counts(&self) -> [u64; 4] {
        let (ready, leased) = ((self.ready.len() + self.suspects.len()) as u64, self.leased as u64);
        if self.served.is_some() { [ready, leased, self.retry, 0] } else { [0, leased, 0, ready + self.retry] }
    }

    fn view(&self) -> QueueView {
        let [waiting, leased, retry, parked] = self.counts();
        QueueView { tenant: self.tenant.clone(), plugin: self.plugin.clone(), waiting, leased, retry, parked, dead: self.dead }
    }
}
