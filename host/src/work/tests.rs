//! The workers as a whole.

use super::{
    doubles::{ScriptedBroker, ScriptedPlugin, Shelf, ack, lease},
    *,
};
use crate::{
    broker::{Queue, RunMemory, Settled},
    delivery::Timestamp,
};

/// Longer than any run here takes, so that a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(30);

fn workers(broker: Arc<ScriptedBroker>, plugin: ScriptedPlugin) -> (Workers, watch::Sender<QueueSet>) {
    let clock = Clock::manual(Timestamp::from_unix_ms(0));
    let (sender, queues) = watch::channel(QueueSet::default());
    let abandoned = Arc::<Abandoned>::default();
    let serving = Serving { broker: broker.clone(), queues, known: Box::new(Known::new), abandoned, clock: clock.clone() };
    let (threads, tasks) = (Threads::start(2).unwrap(), Tasks::new());
    let slow_lane = SlowLane::new(threads.slow.handle().clone(), Shares::default().pool(Resource::SlowLane).clone(), tasks.clone());
    let (versions, observer, turns) = (Box::new(Shelf(Some(plugin))), Observer::new(clock.clone()), Turns::new(LONG));
    let steady = Steady::new(clock.clone());
    let worker = Worker { broker, versions, observer, clock, steady, turns, slow_lane };
    (Workers::start_worker((threads, tasks), worker, serving), sender)
}

#[tokio::test]
async fn every_leg_that_is_lent_is_settled() {
    let (broker, mut settled) = ScriptedBroker::with_slots(8, (0..50).map(lease).collect(), Ok(Settled::Committed));
    let (workers, _queues) = workers(broker, ScriptedPlugin::new(ack()));
    let mut tokens = Vec::new();
    for _ in 0..50 {
        tokens.push(settled.recv().await.unwrap().0.token);
    }
    tokens.sort_unstable();
    assert_eq!(tokens, (0..50).collect::<Vec<_>>());
    assert!(workers.stop(LONG).await.is_empty());
}

#[tokio::test]
async fn no_leg_is_leased_without_a_free_slot() {
    let (broker, mut settled) = ScriptedBroker::with_slots(2, (0..5).map(lease).collect(), Ok(Settled::Committed));
    let plugin = ScriptedPlugin::gated(ack());
    let mut begun = plugin.begun.subscribe();
    let (workers, _queues) = workers(Arc::clone(&broker), plugin.clone());
    begun.wait_for(|begun| *begun == 2).await.unwrap();
    assert_eq!(broker.to_lend.lock().unwrap().len(), 3, "two run, three are still in the queue");
    plugin.gate.add_permits(1);
    settled.recv().await.unwrap();
    begun.wait_for(|begun| *begun == 3).await.unwrap();
    assert_eq!(broker.to_lend.lock().unwrap().len(), 2);
    plugin.gate.add_permits(100);
    for _ in 0..4 {
        settled.recv().await.unwrap();
    }
    assert!(workers.stop(LONG).await.is_empty());
}

#[tokio::test]
async fn runs_that_have_something_in_common_take_turns_and_others_do_not_wait_for_them() {
    let (broker, mut settled) = ScriptedBroker::new((0..50).map(lease).collect(), Ok(Settled::Committed));
    let plugin = ScriptedPlugin { lanes: Some(2), ..ScriptedPlugin::gated(ack()) };
    let mut begun = plugin.begun.subscribe();
    let (workers, _queues) = workers(Arc::clone(&broker), plugin.clone());
    // One of each lane runs and ends only now; a second of a lane meanwhile would have been a panic, and never be settled.
    begun.wait_for(|begun| *begun == 2).await.unwrap();
    plugin.gate.add_permits(50);
    for _ in 0..50 {
        tokio::time::timeout(LONG, settled.recv()).await.unwrap().unwrap();
    }
    assert!(workers.stop(LONG).await.is_empty());
}

#[tokio::test]
async fn a_turn_that_does_not_come_is_given_up_and_a_key_nobody_holds_is_forgotten() {
    let turns = Turns::new(Duration::ZERO);
    let key = |text: &str| crate::delivery::Digest::of(&[text.as_bytes()]);
    let first = turns.take(key("a")).await.unwrap();
    assert!(turns.take(key("a")).await.is_none());
    drop(first);
    assert!(turns.take(key("a")).await.is_some());
    assert!(turns.take(key("b")).await.is_some());
    assert_eq!(turns.keys(), 1, "only the last one is still known");
}

#[tokio::test]
async fn a_stop_leases_no_more_waits_for_what_runs_and_names_what_does_not_end() {
    let (broker, mut settled) = ScriptedBroker::with_slots(2, (1..=3).map(lease).collect(), Ok(Settled::Committed));
    let plugin = ScriptedPlugin::gated(ack());
    let mut begun = plugin.begun.subscribe();
    let (workers, _queues) = workers(Arc::clone(&broker), plugin.clone());
    begun.wait_for(|begun| *begun == 2).await.unwrap();
    plugin.gate.add_permits(1);
    settled.recv().await.unwrap();
    begun.wait_for(|begun| *begun == 3).await.unwrap();
    let left = workers.stop(Duration::ZERO).await;
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn an_idle_stop_does_not_wait_for_a_leg() {
    let (broker, _settled) = ScriptedBroker::new(vec![], Ok(Settled::Committed));
    let (workers, _queues) = workers(broker, ScriptedPlugin::new(ack()));
    assert!(tokio::time::timeout(LONG, workers.stop(LONG * 2)).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_broker_is_told_which_queues_are_served_now_and_later() {
    let (broker, _settled) = ScriptedBroker::new(vec![], Ok(Settled::Committed));
    let mut served = broker.served.subscribe();
    let (_workers, queues) = workers(Arc::clone(&broker), ScriptedPlugin::new(ack()));
    let queue =
        Queue { tenant: "acme".parse().unwrap(), plugin: "triage".parse().unwrap(), concurrency_max: 4, run_memory: RunMemory::default() };
    let set = QueueSet { queues: vec![queue], tenant_concurrency_max: 8 };
    queues.send_replace(set.clone());
    served.wait_for(|served| *served == set).await.unwrap();
}

#[test]
fn guests_run_on_threads_of_their_own() {
    let threads = Threads::start(2).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    threads.guests.handle().spawn(async move { sender.send(std::thread::current().name().map(str::to_owned)).unwrap() });
    assert!(receiver.recv().unwrap().unwrap().starts_with("guest-"));
}

#[tokio::test]
async fn a_worker_that_panics_is_known() {
    let (broker, settled) = ScriptedBroker::new(vec![lease(1)], Ok(Settled::Committed));
    // The scripted broker panics when nobody takes what is settled.
    drop(settled);
    let (workers, _queues) = workers(broker, ScriptedPlugin::new(ack()));
    tokio::time::timeout(LONG, workers.failed()).await.unwrap();
    assert!(workers.stop(LONG).await.is_empty(), "a run that panicked is no run under way");
}
