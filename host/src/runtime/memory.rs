//! What a run takes of the host's memory, taken before it starts and given back after its store is gone.
//!
//! A guest's own limit bounds its linear memories and tables; the sum over all guests is bounded by [`Resource::RunMemory`], whose pool grants
//! in fair turns between tenants. Beside its memories a run has a stack, its document, what passes through its host calls, and what it leaves
//! behind for its record: those are counted with their bounds, since a hostile guest reaches them.

use super::{AdmissionError, Run};
use crate::{
    delivery::TenantId,
    ledger::RunMemory,
    shares::{Held, Holder, Resource, Shares, Unit},
    tenants::Budget,
};

/// Bytes a guest may move in one host call or answer, for an empty document.
pub(super) const HOSTCALL_BYTES: usize = 2 * 1024 * 1024;
/// The same, more for each byte of the document.
pub(super) const HOSTCALL_PER_BODY_BYTE: usize = 4;
/// Beside the host calls: a stack of 1 MiB, values and emits of 1 MiB each, a request and an answer of 1 MiB each, records and the rest. A
/// run of a shipped plugin needs a tenth of it.
const KEPT_BYTES: u64 = 6 * 1024 * 1024;

/// What one run with this budget takes, beside its memories included.
#[must_use]
pub fn run_memory(budget: &Budget) -> RunMemory {
    RunMemory {
        bytes: budget.memory_bytes_max.saturating_add(beside(0)),
        per_body_byte: budget.memory_per_body_byte.saturating_add(1 + HOSTCALL_PER_BODY_BYTE as u64),
    }
}

/// What a run with a document of that size has beside its memories.
pub(super) fn beside(document_bytes: u64) -> u64 {
    (HOSTCALL_BYTES as u64 + KEPT_BYTES).saturating_add(document_bytes.saturating_mul(1 + HOSTCALL_PER_BODY_BYTE as u64))
}

/// Takes what the run needs, in its turn; what was taken for it before counts. More than its tenant's share is taken as the share.
pub(super) async fn take(shares: &Shares, run: &Run, taken: Option<Held>) -> Held {
    let pool = shares.pool(Resource::RunMemory);
    let holder = Holder::tenant(&run.delivery.tenant);
    let needed = run_memory(&run.budget).of(run.delivery.document.len() as u64).min(pool.limit_of(&holder).share);
    if let Some(mut held) = taken {
        let more = needed.saturating_sub(held.amount());
        if held.grow(more).is_ok() {
            held.shrink(needed);
            return held;
        }
        // Given back here, so that nobody waits who holds something.
    }
    pool.take(&holder, needed).await
}

/// A manifest asks for more than a run can ever get.
pub(super) fn check(shares: &Shares, tenant: &TenantId, budget: &Budget) -> Result<(), AdmissionError> {
    let share = shares.pool(Resource::RunMemory).limit_of(&Holder::tenant(tenant)).share;
    let (asked, beside) = (budget.memory_bytes_max, beside(0));
    if asked.saturating_add(beside) <= share {
        return Ok(());
    }
    let [asked, beside, share, most] = [asked, beside, share, share.saturating_sub(beside)].map(|bytes| Unit::Bytes.shown(bytes));
    Err(AdmissionError::new(
        "needs_too_much",
        format!(
            "`limits.memory_bytes_max` comes to {asked}, a run takes {beside} beside that, and all runs of one tenant may have {share} \
             together; ask for at most {most}, or have the operator raise `shares.tenant_run_memory_bytes_max`"
        ),
    ))
}
