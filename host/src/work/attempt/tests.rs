//! One attempt, in its order.

use super::super::versions::Version as _;
use super::{
    super::doubles::{ScriptedBroker, ScriptedPlugin, Shelf, ack, lease},
    *,
};
use crate::{
    broker::BrokerError,
    delivery::{DeadReason, Timestamp, Verdict},
    observe::LiveEvent,
    shares::{Holder, Resource, Shares},
    tasks::Tasks,
};

/// What one attempt left behind.
struct Left {
    finished: Finished,
    events: Vec<LiveEvent>,
}

async fn attempt(lease: Lease, plugin: Option<ScriptedPlugin>, answer: Result<Settled, BrokerError>) -> Left {
    attempt_with(Turns::new(Duration::ZERO), lease, plugin, answer).await
}

async fn attempt_with(turns: Turns, lease: Lease, plugin: Option<ScriptedPlugin>, answer: Result<Settled, BrokerError>) -> Left {
    let clock = Clock::manual(Timestamp::from_unix_ms(5_000));
    let observer = Observer::new(clock.clone());
    let mut onlooker = observer.subscribe();
    let (broker, mut settled) = ScriptedBroker::new(vec![], answer);
    let worker = Worker {
        broker,
        versions: Box::new(Shelf(plugin)),
        observer,
        steady: Steady::new(clock.clone()),
        clock,
        turns,
        slow_lane: SlowLane::new(tokio::runtime::Handle::current(), Shares::default().pool(Resource::SlowLane).clone(), Tasks::new()),
    };
    worker.attempt(lease).await;
    let (_, finished) = settled.recv().await.unwrap();
    drop(worker);
    assert!(settled.try_recv().is_err(), "a lease is settled exactly once");
    let mut events = Vec::new();
    while let Ok(event) = onlooker.try_recv() {
        events.push(event);
    }
    Left { finished, events }
}

async fn committed(lease: Lease, plugin: Option<ScriptedPlugin>) -> Left {
    attempt(lease, plugin, Ok(Settled::Committed)).await
}

fn fault_of(left: &Left) -> FaultKind {
    match &left.finished.record.outcome {
        Outcome::Fault(fault) => fault.kind,
        verdict @ Outcome::Verdict(_) => panic!("expected a fault, found {verdict:?}"),
    }
}

#[tokio::test]
async fn an_ack_is_settled_with_its_effects_and_told_with_its_age() {
    let plugin = ScriptedPlugin::new(ack());
    let left = committed(lease(1), Some(plugin.clone())).await;
    let record = &left.finished.record;
    assert_eq!((record.settlement, record.attempt, record.started_at.unix_ms()), (Settlement::Ack, 1, 5_000));
    assert_eq!(record.digest, Some(plugin.digest()));
    assert_eq!(left.finished.effects.emits.len(), 1);
    assert_eq!(left.events.len(), 1);
    assert_eq!(left.events[0].kind, "attempt_finished");
    assert_eq!(left.events[0].fields["age_ms"], 5000.0);
}

#[tokio::test]
async fn a_run_that_is_tried_again_or_died_keeps_no_effects() {
    let retry = Outcome::Verdict(Verdict::Retry { after: None, reason: "later".into() });
    let left = committed(lease(1), Some(ScriptedPlugin::new(retry))).await;
    assert!(matches!(left.finished.record.settlement, Settlement::Retry { counted: true, .. }));
    assert_eq!(left.finished.effects, Effects::default());
    assert!(left.events[0].fields["age_ms"].is_null(), "a leg that runs again has no age yet");
    let left = committed(lease(1), Some(ScriptedPlugin::new(Outcome::Verdict(Verdict::Reject("bad".into()))))).await;
    assert_eq!(left.finished.effects, Effects::default());
}

#[tokio::test]
async fn a_plugin_that_left_after_the_lease_costs_no_attempt() {
    let left = committed(lease(1), None).await;
    assert_eq!(fault_of(&left), FaultKind::HostUnavailable);
    assert!(matches!(left.finished.record.settlement, Settlement::Retry { counted: false, .. }));
    assert_eq!(left.finished.record.digest, None);
}

#[tokio::test]
async fn a_corrupt_body_is_not_run_and_is_dead_at_once() {
    let plugin = ScriptedPlugin::new(ack());
    let left = committed(Lease { body_corrupt: true, ..lease(1) }, Some(plugin.clone())).await;
    assert_eq!(left.finished.record.settlement, Settlement::DeadLetter(DeadReason::Fault(FaultKind::BodyCorrupt)));
    assert_eq!((plugin.runs(), left.finished.record.digest), (0, None));
}

#[tokio::test]
async fn a_run_that_killed_the_host_as_often_as_allowed_is_not_run_again() {
    for (attempt, crashes, retry) in [(4, 3, ScriptedPlugin::new(ack()).retry), (9, 8, RetryPolicy::default())] {
        let plugin = ScriptedPlugin { retry, ..ScriptedPlugin::new(ack()) };
        let left = committed(Lease { attempt, crashes, ..lease(1) }, Some(plugin.clone())).await;
        assert_eq!(fault_of(&left), FaultKind::HostCrashed);
        assert_eq!(left.finished.record.settlement, Settlement::DeadLetter(DeadReason::AttemptsExhausted));
        assert_eq!(plugin.runs(), 0);
    }
}

#[tokio::test]
async fn the_time_of_a_leg_is_counted_from_its_first_attempt() {
    let retry = Outcome::Verdict(Verdict::Retry { after: None, reason: "later".into() });
    let within = RetryPolicy::within(Duration::from_secs(3), None, (Duration::from_secs(1), Duration::from_secs(1))).unwrap();
    let plugin = ScriptedPlugin { retry: within, ..ScriptedPlugin::new(retry) };
    // The clock stands at 5 s.
    let over = Settlement::DeadLetter(DeadReason::TimeExhausted);
    let again = |after_ms| Settlement::Retry { after: Duration::from_millis(after_ms), counted: true };
    for (tried_ms, expected) in [(None, again(1000)), (Some(4000), again(1000)), (Some(2500), again(500)), (Some(2000), over)] {
        let lease = Lease { attempt: 9, tried_at: tried_ms.map(Timestamp::from_unix_ms), ..lease(1) };
        let left = committed(lease, Some(plugin.clone())).await;
        assert_eq!(left.finished.record.settlement, expected, "{tried_ms:?}");
    }
}

#[tokio::test]
async fn a_last_attempt_is_run_after_a_crash_and_after_the_policy_was_tightened() {
    for (attempt, crashes) in [(3, 2), (9, 0)] {
        let plugin = ScriptedPlugin::new(ack());
        let left = committed(Lease { attempt, crashes, ..lease(1) }, Some(plugin.clone())).await;
        assert_eq!((plugin.runs(), left.finished.record.settlement), (1, Settlement::Ack), "attempt {attempt} after {crashes} crashes");
    }
}

#[tokio::test]
async fn a_settlement_that_changed_nothing_is_not_told_as_an_attempt() {
    let unavailable = Err(BrokerError("closed".into()));
    for (answer, cause) in [(Ok(Settled::Conflict), "conflict"), (Ok(Settled::Stale), "stale"), (unavailable, "unavailable")] {
        let left = attempt(lease(1), Some(ScriptedPlugin::new(ack())), answer).await;
        let kinds: Vec<_> = left.events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["settlement_void"]);
        assert_eq!(left.events[0].fields["cause"], cause);
    }
}

#[tokio::test]
async fn who_waits_for_its_turn_keeps_memory_for_its_delivery_and_who_has_run_until_it_is_settled() {
    let pool = Shares::default().pool(Resource::RunMemory).clone();
    let with_memory = || Lease { memory: pool.try_take(&Holder::Host, 1000).unwrap().into(), ..lease(1) };
    let (ran, waited) = (with_memory(), with_memory());
    let (memory, of_waiting) = (ran.memory.clone(), waited.memory.clone());
    committed(ran, Some(ScriptedPlugin::new(ack()))).await;
    assert_eq!(memory.take().map(|held| held.amount()), Some(1000), "the settlement gives it back");
    let plugin = ScriptedPlugin { lanes: Some(1), ..ScriptedPlugin::new(ack()) };
    let turns = Turns::new(Duration::ZERO);
    let _taken = turns.try_take(plugin.turn(&waited).await.unwrap());
    let left = attempt_with(turns, waited, Some(plugin), Ok(Settled::Committed)).await;
    assert_eq!((fault_of(&left), of_waiting.take().map(|held| held.amount())), (FaultKind::HostUnavailable, Some(2)), "as long as `{{}}`");
}

#[test]
fn host_calls_are_summed_by_call_and_answer() {
    let call = |call: &str, answer: &str| HostCall { call: call.into(), answer: answer.into(), ..HostCall::default() };
    let calls = [call("kv.get", "none"), call("kv.set", "ok"), call("kv.set", "Quota"), call("kv.get", "some"), call("…", "")];
    let tally_of = |call: &str, result, count| HostCallTally { call: call.into(), result, count };
    assert_eq!(tally(&calls), [tally_of("kv.get", "ok", 2), tally_of("kv.set", "ok", 1), tally_of("kv.set", "error", 1)]);
}
