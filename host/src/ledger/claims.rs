//! What a run takes of the host before its leg is lent: memory and a place among the runs at once, in fair turns between tenants.
//!
//! Who waits holds nothing that others need. A tenant whose share is used up has one claim, which stands in the pool's queue; it has no leg on
//! loan for it, no place and no line in the in-flight file, and everybody else's legs pass. Memory comes first and the place second: a place is
//! free again after each run, so that memory which waits for one does not wait for long, and nobody who has a place waits for memory.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::{Shared, schedule::Picked};
use crate::{
    delivery::TenantId,
    shares::{Held, Holder, Resource, Shares},
};

/// Memory of the host that one run of a queue takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunMemory {
    /// Bytes, for an empty document.
    pub bytes: u64,
    /// Bytes more for each byte of the document.
    pub per_body_byte: u64,
}

impl RunMemory {
    /// Bytes for a document of that size.
    #[must_use]
    pub fn of(self, body_bytes: u64) -> u64 {
        self.bytes.saturating_add(self.per_body_byte.saturating_mul(body_bytes))
    }
}

/// What was taken for a lease, until somebody takes it over or the lease is dropped; copies of the lease share it.
#[derive(Clone, Debug, Default)]
pub struct Taken(Arc<Mutex<Option<Held>>>);

impl Taken {
    /// Takes it over; nothing where that has been done.
    #[must_use]
    pub fn take(&self) -> Option<Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives it back, for as long as the lease is there.
    pub fn put_back(&self, held: Held) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }

    /// Gives all but so much of it back to the pool; nothing where somebody has taken it over.
    pub fn shrink(&self, amount: u64) {
        if let Some(held) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            held.shrink(amount);
        }
    }
}

impl From<Held> for Taken {
    fn from(held: Held) -> Self {
        Self(Arc::new(Mutex::new(Some(held))))
    }
}

/// What a tenant's next leg needs.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) tenant: TenantId,
    pub(super) memory_bytes: u64,
}

/// A tenant's turn has come: what its next run takes.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) tenant: TenantId,
    pub(super) memory: Held,
    pub(super) slot: Held,
}

/// The claims that wait, one a tenant at most, and those whose turn has come.
#[derive(Default)]
pub(super) struct Claims {
    waiting: Vec<Pin<Box<dyn Future<Output = Granted> + Send>>>,
    /// Whose they are.
    claimants: BTreeSet<TenantId>,
    granted: VecDeque<Granted>,
}

impl Claims {
    /// Completes when the turn of one has come. Nothing is lost where the future is dropped.
    pub(super) async fn turn(&mut self) {
        poll_fn(|context| if self.look(context) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// The next leg for which there is memory and a place.
    pub(super) fn next(&mut self, shared: &Shared, now: Instant) -> Option<(Picked, Granted)> {
        // Whose turn came meanwhile goes before who asks only now.
        self.look(&mut Context::from_waker(Waker::noop()));
        loop {
            let Some(granted) = self.granted.pop_front() else {
                let want = shared.schedule.want(now, |tenant| self.claimants.contains(tenant))?;
                self.claim(&shared.settings.shares, want);
                continue;
            };
            if let Some(picked) = pick(shared, granted, now) {
                return Some(picked);
            }
        }
    }

    /// Nobody claims anything any more.
    pub(super) fn give_up(&mut self) {
        *self = Self::default();
    }

    fn claim(&mut self, shares: &Shares, Want { tenant, memory_bytes }: Want) {
        let (shares, claimer) = (shares.clone(), tenant.clone());
        let claim = async move {
            let holder = Holder::tenant(&claimer);
            let memory = shares.pool(Resource::RunMemory).take(&holder, memory_bytes).await;
            let slot = shares.pool(Resource::RunSlots).take(&holder, 1).await;
            Granted { tenant: claimer, memory, slot }
        };
        let mut claim: Pin<Box<dyn Future<Output = Granted> + Send>> = Box::pin(claim);
        match claim.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(granted) => self.granted.push_back(granted),
            Poll::Pending => {
                self.waiting.push(claim);
                self.claimants.insert(tenant);
            }
        }
    }

    /// Whether the turn of any has come.
    fn look(&mut self, context: &mut Context<'_>) -> bool {
        let Self { waiting, claimants, granted } = self;
        waiting.retain_mut(|claim| match claim.as_mut().poll(context) {
            Poll::Ready(turn) => {
                claimants.remove(&turn.tenant);
                granted.push_back(turn);
                false
            }
            Poll::Pending => true,
        });
        !granted.is_empty()
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("waiting", &self.waiting.len()).field("granted", &self.granted).finish_non_exhaustive()
    }
}

/// The leg of a tenant whose turn has come. None where it has no more, or one that needs more than was taken: then it claims anew.
fn pick(shared: &Shared, mut granted: Granted, now: Instant) -> Option<(Picked, Granted)> {
    let share = shared.settings.shares.pool(Resource::RunMemory).limit_of(&Holder::tenant(&granted.tenant)).share;
    let needed = shared.schedule.needs(&granted.tenant)?.min(share);
    let taken = granted.memory.amount();
    if needed > taken {
        granted.memory.grow(needed - taken).ok()?;
    } else {
        granted.memory.shrink(needed);
    }
    Some((shared.schedule.pick(now, &granted.tenant)?, granted))
}
