//! Which legs can run, in memory: the committer's view of the open legs, kept in step with the database after each commit.
//!
//! An entry is one number a leg, so that half a million waiting legs cost a few megabytes. Tenants take turns, and a tenant's queues take
//! turns, so that one backlog delays nobody else. Waiting for a time is done on monotonic time: a wall clock that jumps back must not push a
//! retry into next year. One mutex guards everything and is never held across an await.

mod relay;
mod state;

use std::{
    cmp::Reverse,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    Queue, QueueSet,
    cache::{Arrivals, BodyCache, Fresh},
    claims::Want,
    lend::Loaded,
    types::RelayScope,
};
use crate::delivery::{LegState, PluginName, TenantId, view::QueueView};

pub(super) use state::Waiting;
use state::{Lane, Loan, QueueState, Served, State};

/// A loan nobody settled for this long is given to somebody else; the late settlement is refused by its token.
pub(super) const LOAN_MAX: Duration = Duration::from_hours(1);
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
    Opened { leg: Key, bytes: u64, due: Option<Instant>, fresh: Option<Fresh> },
    /// A leg on loan is settled.
    Settled { leg: Key, dead: bool },
    /// A leg on loan stays open; `held` for the relay, which is to give it to RabbitMQ before its time.
    Again { leg: Key, due: Option<Instant>, held: bool },
    /// A queue has so many legs more in RabbitMQ's keeping, or less.
    Relayed { queue: i64, by: i64 },
    /// RabbitMQ has confirmed a leg that the relay took under this token.
    Confirmed { leg: Key, token: u64 },
    /// A leg came back from RabbitMQ to be run here.
    Arrived { leg: Key, loaded: Box<Loaded>, from: From },
    /// A leg that is open here has been taken out of every lane: another host went on with it.
    Withdrawn { leg: Key },
    /// A leg that waits for its time is the next of its queue.
    Hurried { leg: Key },
    /// A queue has so many dead letters more, or less.
    Dead { queue: i64, by: i64 },
}

/// Where a leg was before it came from RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Known to be in RabbitMQ's keeping.
    Relayed,
    /// In a lane here.
    Lane,
    /// Nowhere: it was settled or not known.
    Nowhere,
}

/// Where memory has an open leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On loan to a worker.
    Loan,
    /// Came from RabbitMQ and is ready to be lent.
    Arrived,
    /// To be run without another suspect, because the process died during a run of it.
    Suspected,
    /// The relay has it.
    Handing,
    /// Waiting for its time.
    Due,
    /// Waiting.
    Ready,
    /// In no lane: RabbitMQ has it, or nobody.
    Nowhere,
}

/// A leg that was picked.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) leg: Key,
    pub(super) plugin: PluginName,
    pub(super) token: u64,
    /// The process died during an earlier run of it.
    pub(super) is_suspect: bool,
    pub(super) fresh: Option<Fresh>,
    pub(super) loaded: Option<Box<Loaded>>,
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
        let state = State { cache: BodyCache::new(body_cache_bytes_max), loaded: Arrivals::new(body_cache_bytes_max), ..State::default() };
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

    /// Makes legs that were under way when the process died suspects, until each is settled for good.
    pub(super) fn suspect(&self, legs: &[Key]) {
        let mut state = self.state();
        for (seq, queue) in legs {
            if let Some(queue) = state.queues.get_mut(queue) {
                queue.suspected.insert(*seq);
                // One that waits for its time joins the others when it has come.
                if let Some(at) = queue.ready.iter().position(|ready| ready == seq) {
                    queue.ready.remove(at);
                    queue.suspects.push_back(*seq);
                }
            }
        }
    }

    /// Which queues may be leased from.
    pub(super) fn serve(&self, set: QueueSet) {
        let mut state = self.state();
        state.tenant_concurrency_max = set.tenant_concurrency_max;
        let served = |Queue { tenant, plugin, concurrency_max, run_memory }| ((tenant, plugin), Served { concurrency_max, run_memory });
        state.serving = set.queues.into_iter().map(served).collect();
        let State { queues, serving, cache, relay, .. } = &mut *state;
        for (number, queue) in queues.iter_mut() {
            queue.served = serving.get(&(queue.tenant.clone(), queue.plugin.clone())).copied();
            if queue.served.is_none() && relay.is_none_or(|relay| !relay.all) {
                cache.drop_queue(*number);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// What the next tenant in turn needs that has a leg to lend and no claim yet.
    pub(super) fn want(&self, now: Instant, has_claim: impl Fn(&TenantId) -> bool) -> Option<Want> {
        let mut state = self.state();
        state.wake_due(now);
        let mut without_claim = state.turns.iter().filter(|tenant| !has_claim(tenant));
        without_claim.find_map(|tenant| Some(Want { tenant: tenant.clone(), memory_bytes: state.needs(tenant)? }))
    }

    /// Bytes of memory that the run of a tenant's next leg takes; none where it has no leg to lend.
    pub(super) fn needs(&self, tenant: &TenantId) -> Option<u64> {
        self.state().needs(tenant)
    }

    /// Lends a tenant's next leg, if one can run.
    pub(super) fn pick(&self, now: Instant, tenant: &TenantId) -> Option<Picked> {
        let mut state = self.state();
        state.wake_due(now);
        let (queue, lane) = state.next_of(tenant)?;
        state.has_had_its_turn(tenant, queue);
        let entry = state.queues.get_mut(&queue)?;
        let seq = entry.lane(lane).pop_front()?;
        entry.leased += 1;
        let plugin = entry.plugin.clone();
        if let Some(tenant) = state.tenants.get_mut(tenant) {
            tenant.leased += 1;
        }
        state.next_token += 1;
        let token = state.next_token;
        let (leg, is_suspect) = ((seq, queue), lane == Lane::Suspects);
        if is_suspect {
            state.suspect = Some(leg);
        }
        state.loans.insert(leg, Loan { token, since: now, lane, settling: false, slot: None });
        Some(Picked { leg, plugin, token, is_suspect, fresh: state.cache.take(leg), loaded: state.loaded.take(leg) })
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
        let back_off = state.queues.values().filter(|queue| !queue.ready.is_empty()).filter_map(|queue| queue.back_off).min();
        let loan = state.loans.values().map(|loan| loan.since + LOAN_MAX).min();
        due.into_iter().chain(loan).chain(back_off).min()
    }

    /// The run of a leg on loan has ended, and its settlement begins: it kills nobody any more, so that the next suspect may be tried while this
    /// one waits to be settled. Returns its in-flight slot.
    pub(super) fn run_over(&self, leg: Key, token: u64) -> Option<usize> {
        let mut state = self.state();
        let slot = state.loans.get_mut(&leg).filter(|loan| loan.token == token)?.slot.take();
        if state.suspect == Some(leg) {
            state.suspect = None;
        }
        drop(state);
        self.changed.notify_waiters();
        slot
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

    /// Whose a queue is.
    pub(super) fn owner(&self, queue: i64) -> Option<TenantId> {
        self.state().queues.get(&queue).map(|queue| queue.tenant.clone())
    }

    /// Whether a queue can be worked on now.
    pub(super) fn is_served(&self, queue: i64) -> bool {
        self.state().queues.get(&queue).is_some_and(|queue| queue.served.is_some())
    }

    /// What a tenant's open legs wait with, what everybody's do, and how many tenants have some, this one among them.
    pub(super) fn waiting(&self, tenant: &TenantId) -> (Waiting, Waiting, usize) {
        let state = self.state();
        let own = state.tenants.get(tenant).map_or_else(Waiting::default, |tenant| tenant.waiting);
        (own, state.waiting, state.waiting_tenants + usize::from(own.legs == 0))
    }

    /// Those whose open legs have changed since the last look, and what they are now.
    pub(super) fn changed_waiting(&self) -> Vec<(TenantId, Waiting)> {
        let mut state = self.state();
        let changed = std::mem::take(&mut state.changed_waiting);
        changed
            .into_iter()
            .map(|tenant| (tenant.clone(), state.tenants.get(&tenant).map_or_else(Waiting::default, |it| it.waiting)))
            .collect()
    }

    /// What memory knows better than the database of an open leg's state.
    pub(super) fn open_state(&self, leg: Key, stored: LegState) -> LegState {
        let state = self.state();
        if !stored.is_open() {
            stored
        } else if state.loans.contains_key(&leg) {
            LegState::Leased
        } else if stored != LegState::Relayed && state.queues.get(&leg.1).is_some_and(|queue| !state.is_worked(queue)) {
            LegState::Parked
        } else {
            stored
        }
    }

    /// The oldest leg of each parked queue that waits for nothing else.
    pub(super) fn oldest_parked(&self) -> Vec<(TenantId, PluginName, u64)> {
        let state = self.state();
        let parked = state.queues.values().filter(|queue| !state.is_worked(queue));
        let oldest = |queue: &QueueState| queue.ready.iter().chain(&queue.suspects).min().copied();
        parked.filter_map(|queue| Some((queue.tenant.clone(), queue.plugin.clone(), oldest(queue)?))).collect()
    }

    /// The legs of every queue by state.
    pub(super) fn queues(&self) -> Vec<QueueView> {
        let state = self.state();
        let mut views: Vec<_> = state.queues.values().map(|queue| queue.view(state.is_worked(queue))).collect();
        drop(state);
        views.sort_by(|a, b| (&a.tenant, &a.plugin).cmp(&(&b.tenant, &b.plugin)));
        views
    }

    /// The open counts and the dead count that belong to a commit: none where it is not here yet, or not any more.
    pub(super) fn counts_at(&self, commit: u64) -> Option<([u64; 5], u64)> {
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
