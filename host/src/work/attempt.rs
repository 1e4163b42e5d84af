//! One lease to its settlement: a straight line, with no early return but the run that is not made.
//!
//! Absence is an ordinary outcome. A leg is leased only while its queue is served, so a plugin that is missing here left between the lease and
//! this line: its leg goes back uncounted and parks. Only a leg of a queue that was abandoned 72 hours ago dies as `no_plugin`.

use std::{sync::Arc, time::Duration};

use super::{
    judge::{found, judge},
    slow_lane::SlowLane,
    turns::{Turn, Turns},
    versions::{Version, Versions},
};
use crate::{
    broker::{Broker, Finished, Lease, Settled},
    clock::{Clock, Steady},
    delivery::{AttemptRecord, Digest, Effects, Fault, FaultKind, Outcome, RetryPolicy, Settlement, Timestamp, Tries, view::HostCall},
    observe::{
        Observer,
        facts::{AttemptFinished, HostCallTally, SettlementVoid},
    },
    runtime::RunReport,
};

/// Deaths of the host in runs of one leg after which it is not run again, whatever its policy says.
const CRASHES_MAX: u32 = 8;
/// How the runtime's journal writes that a call was not done.
const DENIALS: [&str; 6] = ["Denied", "InvalidName", "Quota", "Timeout", "TooLarge", "Unavailable"];

/// Runs leases, one at a time a call.
pub(super) struct Worker {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) versions: Box<dyn Versions>,
    pub(super) observer: Observer,
    pub(super) clock: Clock,
    /// What the time of a leg's attempts is counted by.
    pub(super) steady: Steady,
    pub(super) turns: Turns,
    pub(super) slow_lane: SlowLane,
}

impl Worker {
    /// From a lease to its settlement, and the word about it. A settlement the broker does not take leaves the leg on loan until its engine
    /// hands it out again; the run's effects are gone with it, so that is harmless.
    pub(super) async fn attempt(&self, mut lease: Lease) {
        let (version, turn) = self.version(&lease).await;
        let tried_at = *lease.tried_at.get_or_insert(self.steady.now());
        let started_at = self.clock.now();
        let policy = version.as_ref().map_or_else(RetryPolicy::default, |version| version.retry());
        let spared = spared(&lease, &policy).or_else(|| turn.as_ref().err().cloned());
        let version = version.filter(|_| spared.is_none());
        let (digest, mut report) = match (spared, &version) {
            (Some(fault), _) => (None, not_run(fault)),
            (None, None) => (None, not_run(self.absence(&lease, started_at))),
            (None, Some(version)) => {
                let owner = (lease.delivery.tenant.clone(), lease.leg.plugin.clone());
                (Some(version.digest()), self.slow_lane.make(owner, version.invoke(&lease, started_at)).await)
            }
        };
        let outcome = report.outcome.clone();
        let tries = Tries { attempt: lease.attempt, spent: self.steady.now().since(tried_at) };
        let settlement = judge(&report.outcome, tries, &policy, fastrand::f64());
        let found = found(std::mem::take(&mut report.upstreams), settlement);
        let finished = finish(lease.attempt, report, settlement, (started_at, digest));
        let fact = self.fact(&lease, &finished.record);
        let (leg, tenant, attempt) = (lease.leg.clone(), lease.delivery.tenant.clone(), lease.attempt);
        let void = |cause, detail: String| SettlementVoid { leg, tenant, attempt, cause, detail };
        match self.broker.settle(lease, finished).await {
            Ok(Settled::Committed) => {
                self.observer.record(&fact);
                if let Some(version) = version {
                    version.note(fact.leg.delivery, &outcome, &found);
                }
            }
            Ok(Settled::Conflict) => self.observer.record(&void("conflict", "a value the run has read was changed by another run".into())),
            Ok(Settled::Stale) => self.observer.record(&void("stale", "the leg was lent to another worker meanwhile".into())),
            Err(error) => self.observer.record(&void("unavailable", error.to_string())),
        }
    }

    /// The version that serves, once it is this leg's turn; the turn is held until the settlement. While it waited, another version may have
    /// come.
    async fn version(&self, lease: &Lease) -> (Option<Box<dyn Version>>, Result<Option<Turn>, Fault>) {
        let serving = || self.versions.serving(&lease.delivery.tenant, &lease.leg.plugin);
        let version = serving();
        let key = match &version {
            Some(version) => version.turn(lease).await,
            None => None,
        };
        let Some(key) = key else { return (version, Ok(None)) };
        if let Some(turn) = self.turns.try_take(key) {
            return (version, Ok(Some(turn)));
        }
        // Who waits for another run holds no more memory than its delivery is in; the run takes the rest anew.
        let delivery = &lease.delivery;
        lease.memory.shrink((delivery.document.len() + delivery.raw.as_ref().map_or(0, bytes::Bytes::len)) as u64);
        let late = || Fault::new(FaultKind::HostUnavailable, "other runs with the same `serialize_by` took all the time there was to wait");
        let turn = self.turns.take(key).await.map(Some).ok_or_else(late);
        (serving(), turn)
    }

    fn absence(&self, lease: &Lease, now: Timestamp) -> Fault {
        if self.versions.is_abandoned(&lease.delivery.tenant, &lease.leg.plugin, now) {
            return Fault::new(FaultKind::NoPlugin, "no plugin of this name has been there for 72 hours; deploy it again, then replay");
        }
        Fault::new(FaultKind::HostUnavailable, "the plugin was unloaded between the lease and the run")
    }

    fn fact(&self, lease: &Lease, record: &AttemptRecord) -> AttemptFinished {
        let delivery = &lease.delivery;
        let is_settled = !matches!(record.settlement, Settlement::Retry { .. });
        AttemptFinished {
            leg: lease.leg.clone(),
            tenant: delivery.tenant.clone(),
            source: delivery.source.clone(),
            event: delivery.event.clone(),
            attempt: lease.attempt,
            outcome: record.outcome.slug(),
            detail: record.outcome.detail().to_owned(),
            settlement: record.settlement.slug(),
            digest: record.digest,
            fuel: record.fuel,
            memory_peak_bytes: record.memory_peak_bytes,
            took: record.duration,
            age: is_settled.then(|| self.clock.now().since(delivery.received_at)),
            host_calls: tally(&record.host_calls),
        }
    }
}

/// Why this lease is not run at all, whoever would run it.
fn spared(lease: &Lease, policy: &RetryPolicy) -> Option<Fault> {
    if lease.body_corrupt {
        return Some(Fault::new(
            FaultKind::BodyCorrupt,
            "what is stored of this delivery does not match its checksum; restore it from a backup",
        ));
    }
    // Runs that killed the host were charged at the restart, where nobody could judge them: this is the first chance to.
    if lease.crashes > 0 && (lease.attempt > policy.attempts_max() || lease.crashes >= CRASHES_MAX) {
        let detail = format!("the host died {} times while this run, and only this run, was under way", lease.crashes);
        return Some(Fault::new(FaultKind::HostCrashed, detail));
    }
    None
}

fn not_run(fault: Fault) -> RunReport {
    RunReport {
        outcome: Outcome::Fault(fault),
        effects: Effects::default(),
        duration: Duration::ZERO,
        fuel: 0,
        fuel_max: 0,
        memory_peak_bytes: 0,
        memory_bytes_max: 0,
        logs: Vec::new(),
        host_calls: Vec::new(),
        upstreams: Vec::new(),
    }
}

fn finish(attempt: u32, report: RunReport, settlement: Settlement, (started_at, digest): (Timestamp, Option<Digest>)) -> Finished {
    // The runtime leaves effects empty unless the plugin acked or skipped; a retried leg must not keep any, whoever forgets it.
    let keeps_effects = matches!(settlement, Settlement::Ack | Settlement::Skip);
    let effects = if keeps_effects { report.effects } else { Effects::default() };
    let record = AttemptRecord {
        attempt,
        started_at,
        duration: report.duration,
        outcome: report.outcome,
        settlement,
        fuel: report.fuel,
        memory_peak_bytes: report.memory_peak_bytes,
        digest,
        logs: report.logs,
        host_calls: report.host_calls,
    };
    Finished { record, effects }
}

/// Sums up a run's calls; it makes few kinds, so a list is searched faster than a map. The journal's last entry may say how many calls it cut:
/// that is no call.
fn tally(calls: &[HostCall]) -> Vec<HostCallTally> {
    let mut tallies: Vec<HostCallTally> = Vec::new();
    for call in calls.iter().filter(|call| call.call != "…") {
        let word = call.answer.split_once(':').map_or(call.answer.as_str(), |(word, _)| word);
        let result = if DENIALS.contains(&word) { "error" } else { "ok" };
        match tallies.iter_mut().find(|tally| tally.call == call.call && tally.result == result) {
            Some(tally) => tally.count += 1,
            None => tallies.push(HostCallTally { call: call.call.clone(), result, count: 1 }),
        }
    }
    tallies
}

#[cfg(test)]
mod tests;
