//! One run: a fresh store, three bounds, one call.
//!
//! Fuel bounds the work and is the same on every machine; the epoch gives the thread back each tick and interrupts a guest whose future is
//! never looked at; the wall clock covers the host calls, which neither of the two sees. All three are armed before instantiation, for a
//! start function is the guest's code like any other. The store is dropped after the run, whatever came of it: nothing of one delivery is
//! left for the next.

use std::time::Duration;

use wasmtime::{Engine, Result, Store, UpdateDeadline};

use super::{
    Component, Run, RunReport,
    bindings::exports::hookyard::plugin::handler,
    bindings::hookyard::plugin::types,
    engine::TICK,
    fault::{deadline_exceeded, fault_of},
    memory::{HOSTCALL_BYTES, HOSTCALL_PER_BODY_BYTE, beside},
    state::State,
};
use crate::{
    clock::Clock,
    delivery::{Delivery, Effects, Fault, FaultKind, Outcome, Verdict},
};

/// Fuel between two yields, some 0.1 ms of work: between two ticks other runs get their turn.
const YIELD_FUEL: u64 = 1_000_000;
/// Bytes of a guest's reason that are kept, as the contract says.
const REASON_BYTES_MAX: usize = 4096;

/// What one run may spend, for its very document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub(super) fuel: u64,
    pub(super) memory_bytes: u64,
    pub(super) hostcall_bytes: usize,
    pub(super) wall: Duration,
    pub(super) ticks: u64,
}

impl Allowance {
    /// The allowance that follows from the budget, the size of the document and what was taken of the host's memory.
    pub(super) fn of(run: &Run, taken_bytes: u64) -> Self {
        let (budget, document_bytes) = (run.budget, run.delivery.document.len());
        let bytes = document_bytes as u64;
        let memory_bytes = budget.memory_bytes_max.saturating_add(budget.memory_per_body_byte.saturating_mul(bytes));
        let ticks = u64::try_from(budget.wall.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX).saturating_add(2);
        Self {
            fuel: budget.fuel.saturating_add(budget.fuel_per_body_byte.saturating_mul(bytes)),
            memory_bytes: memory_bytes.min(taken_bytes.saturating_sub(beside(bytes))),
            hostcall_bytes: HOSTCALL_BYTES.saturating_add(document_bytes.saturating_mul(HOSTCALL_PER_BODY_BYTE)),
            wall: budget.wall,
            ticks,
        }
    }
}

/// A store with all bounds armed.
pub(super) fn armed_store(engine: &Engine, state: State, allowance: &Allowance) -> Result<Store<State>> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(allowance.hostcall_bytes);
    store.set_fuel(allowance.fuel)?;
    store.fuel_async_yield_interval(Some(YIELD_FUEL))?;
    store.epoch_deadline_callback(|mut store| {
        let state = store.data_mut();
        state.ticks_left = state.ticks_left.saturating_sub(1);
        Ok(if state.ticks_left == 0 { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
    });
    store.set_epoch_deadline(1);
    Ok(store)
}

/// Makes one run.
pub(super) async fn invoke((engine, clock): (&Engine, &Clock), component: &Component, run: Run, taken_bytes: u64) -> RunReport {
    let allowance = Allowance::of(&run, taken_bytes);
    let began = clock.instant();
    let mut store = match armed_store(engine, State::of(&run, &allowance), &allowance) {
        Ok(store) => store,
        Err(error) => return unavailable(&allowance, &error),
    };
    let answer = tokio::time::timeout(allowance.wall, call(&mut store, component, &run)).await;
    let duration = clock.instant().saturating_duration_since(began);
    let outcome = match answer {
        Ok(Ok(verdict)) => Outcome::Verdict(verdict_of(verdict)),
        Ok(Err(error)) => Outcome::Fault(fault_of(&error, store.data())),
        Err(_) => Outcome::Fault(deadline_exceeded()),
    };
    let left = store.get_fuel().unwrap_or(0);
    report(store.into_data(), outcome, &allowance, (left, duration))
}

async fn call(store: &mut Store<State>, component: &Component, run: &Run) -> Result<types::Verdict> {
    let delivery = &*run.delivery;
    let id = delivery.id.to_string();
    let headers: Vec<_> = delivery.headers.iter().map(|header| types::Header { name: &header.name, value: &header.value }).collect();
    let envelope = envelope(delivery, run, &id, &headers);
    let instance = component.pre().instantiate_async(&mut *store).await?;
    instance.hookyard_plugin_handler().call_handle(store, envelope).await
}

fn envelope<'a>(delivery: &'a Delivery, run: &Run, id: &'a str, headers: &'a [types::Header<'a>]) -> handler::Delivery<'a> {
    handler::Delivery {
        id,
        provider_id: &delivery.provider_id,
        tenant: delivery.tenant.as_str(),
        source: delivery.source.as_str(),
        event: &delivery.event,
        action: delivery.action.as_deref(),
        attempt: run.attempt,
        generation: run.generation,
        received_at_ms: u64::try_from(delivery.received_at.unix_ms()).unwrap_or(0),
        started_at_ms: u64::try_from(run.started_at.unix_ms()).unwrap_or(0),
        sequence: delivery.sequence,
        content_type: delivery.encoding.content_type(),
        headers,
        document: &delivery.document,
        extensions: &[],
    }
}

fn verdict_of(verdict: types::Verdict) -> Verdict {
    match verdict {
        types::Verdict::Ack => Verdict::Ack,
        types::Verdict::Skip(reason) => Verdict::Skip(kept(reason)),
        types::Verdict::Reject(reason) => Verdict::Reject(kept(reason)),
        types::Verdict::Retry(retry) => Verdict::Retry { after: retry.after_ms.map(Duration::from_millis), reason: kept(retry.reason) },
    }
}

fn kept(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX).rev().find(|&i| reason.is_char_boundary(i)).unwrap_or(0);
        reason.truncate(end);
    }
    reason
}

fn report(mut state: State, outcome: Outcome, allowance: &Allowance, (fuel_left, duration): (u64, Duration)) -> RunReport {
    state.drain_output();
    // wasmtime does not write fuel back when a guest traps, so that "burn, then trap" would be free: a fault costs the whole budget.
    let fuel = match &outcome {
        Outcome::Verdict(_) => allowance.fuel.saturating_sub(fuel_left),
        Outcome::Fault(fault) if fault.kind.is_hosts() => 0,
        Outcome::Fault(_) => allowance.fuel,
    };
    let upstreams = state.overlay.requests.upstreams();
    let commits = matches!(outcome, Outcome::Verdict(Verdict::Ack | Verdict::Skip(_)));
    RunReport {
        outcome,
        effects: if commits { state.overlay.into_effects() } else { Effects::default() },
        duration,
        fuel,
        fuel_max: allowance.fuel,
        memory_peak_bytes: state.memory.peak_bytes(),
        memory_bytes_max: allowance.memory_bytes,
        logs: state.log.into_lines(),
        host_calls: state.journal.into_calls(),
        upstreams,
    }
}

fn unavailable(allowance: &Allowance, error: &wasmtime::Error) -> RunReport {
    RunReport {
        outcome: Outcome::Fault(Fault::new(FaultKind::HostUnavailable, format!("no store could be made: {error:#}"))),
        effects: Effects::default(),
        duration: Duration::ZERO,
        fuel: 0,
        fuel_max: allowance.fuel,
        memory_peak_bytes: 0,
        memory_bytes_max: allowance.memory_bytes,
        logs: Vec::new(),
        host_calls: Vec::new(),
        upstreams: Vec::new(),
    }
}
