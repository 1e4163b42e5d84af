//! Changing the engine with `hookyard queue migrate`, as a process that may be killed at any moment, against a real broker.

mod desk;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hookyard::{
    broker::amqp::Settings,
    clock::Clock,
    delivery::{DeadReason, DeliveryId, LegId, LegState, Settlement, Timestamp},
    ledger::{Lease, QueueSet},
};
use system_tests::{
    amqp::{Node, PATIENCE, settings},
    contract::{finished, offer},
    rabbit::{self, Vhost},
};

use desk::{Desk, Standing, accept, served, words};

const HOUR: Duration = Duration::from_hours(1);
/// Kills of each way.
const KILLS: u32 = 25;

/// What is done in turn with the legs that come, besides those that are left.
fn settlement(turn: usize) -> Settlement {
    match turn % 4 {
        0 | 1 => Settlement::Ack,
        2 => Settlement::Retry { after: HOUR, counted: true },
        _ => Settlement::DeadLetter(DeadReason::Rejected),
    }
}

/// Legs that were run before: some done, some to be retried, some dead, one on loan, the rest waiting, those of `c` parked.
async fn fill(desk: &Desk) -> BTreeSet<DeliveryId> {
    let (clock, mut ids) = (Clock::system(), BTreeSet::new());
    let ledger = desk.open(&clock);
    ledger.serve(served(&["a", "b"]));
    for number in 0..200 {
        accept(&ledger, number, &["a", "b", "c"], &mut ids).await;
    }
    for turn in 0..60 {
        let lease = ledger.lease().await.expect("an open ledger");
        ledger.settle(lease.clone(), finished(&lease, settlement(turn), clock.now())).await.expect("a ledger that works");
    }
    let _left_on_loan = ledger.lease().await.expect("an open ledger");
    ledger.close().await;
    ids
}

/// A host works on RabbitMQ for a while and leaves legs in a leg's queue, a wait queue, `hookyard.dead` and `hookyard.unrouted`; returns what it
/// settled for good, and when its retries are due at the earliest and the latest.
async fn work_on_rabbitmq(desk: Desk, vhost: &Vhost, ids: &mut BTreeSet<DeliveryId>) -> (Desk, BTreeSet<LegId>, (Timestamp, Timestamp)) {
    let Desk { data, config } = desk;
    let (clock, mut acked) = (Clock::system(), BTreeSet::new());
    let worker = Node::start_in(data, Settings { archives: false, ..settings(vhost.url()) }, clock.clone()).await;
    hookyard::broker::Broker::serve(&*worker.engine, served(&["a", "b"]));
    let from = clock.now();
    for turn in 0..40 {
        let lease: Lease = tokio::time::timeout(PATIENCE, worker.ledger.lease()).await.expect("a leg in time").expect("an open ledger");
        hookyard::broker::Broker::settle(&*worker.engine, lease.clone(), finished(&lease, settlement(turn), clock.now()))
            .await
            .expect("an engine that works");
        if turn % 4 < 2 {
            acked.insert(lease.leg);
        }
    }
    let until = clock.now();
    // What it holds and has not begun goes back.
    hookyard::broker::Broker::serve(&*worker.engine, QueueSet::default());
    nothing_to_give(&worker).await;
    let data = worker.stop().await;
    let door = Node::start_in(data, Settings { works: false, archives: false, ..settings(vhost.url()) }, clock).await;
    accept(&door.ledger, 1000, &["c"], ids).await;
    nothing_to_give(&door).await;
    let binding = format!("/api/bindings/{0}/e/hookyard.legs/q/hookyard.leg.default.c/hookyard.leg.default.c", vhost.name());
    tokio::task::block_in_place(|| vhost.management().call("DELETE", &binding, "")).expect("a management API");
    accept(&door.ledger, 1001, &["c"], ids).await;
    nothing_to_give(&door).await;
    (Desk { data: door.stop().await, config }, acked, (from.after(HOUR), until.after(HOUR)))
}

/// Waits until RabbitMQ has every open leg of a host and all its dead letters.
async fn nothing_to_give(host: &Node) {
    tokio::time::timeout(PATIENCE, async {
        let is_here =
            |queue: &hookyard::delivery::view::QueueView| queue.waiting + queue.leased + queue.retry + queue.parked + queue.dead > 0;
        while host.ledger.queues().await.expect("a ledger that works").iter().any(is_here) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("RabbitMQ takes the legs in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_fifty_times_on_both_ways_it_loses_nothing_and_runs_no_settled_leg_again() {
    let Some(vhost) = rabbit::vhost() else { return };
    let mut desk = Desk::new(&vhost);
    let mut ids = fill(&desk).await;
    let before = desk.legs(&ids).await;
    let mut settled: BTreeSet<LegId> = before.iter().filter(|(_, leg)| leg.state == LegState::Acked).map(|(leg, _)| leg.clone()).collect();
    assert_eq!((before.len(), settled.len()), (600, 30));
    let mut kills = BTreeMap::from([("rabbitmq", 0), ("embedded", 0)]);
    let mut window = None;
    let (mut to, mut relayed, mut in_the_middle) = ("rabbitmq", 0, 0);
    let clock = Clock::system();
    // How long one call takes that does all; kills are spread over that.
    let mut whole = Duration::from_millis(400);
    while kills.values().any(|kills| *kills < KILLS) {
        let after = whole.mul_f64(fastrand::f64());
        let has_ended = kills[to] == KILLS || desk.migrate_and_kill(to, after).await;
        if !has_ended {
            *kills.get_mut(to).unwrap() += 1;
            let now = desk.legs(&ids).await;
            let is = |is: fn(LegState) -> bool| now.values().filter(|leg| is(leg.state)).count();
            let at_rabbitmq = is(|state| state == LegState::Relayed);
            in_the_middle += usize::from(at_rabbitmq != relayed && at_rabbitmq > 0 && at_rabbitmq < is(LegState::is_open));
            relayed = at_rabbitmq;
            for (leg, standing) in &now {
                let was = before.get(leg);
                assert!(!settled.contains(leg) || standing.state == LegState::Acked, "{leg} was settled and is {standing:?}");
                assert!(was.is_none_or(|was| standing.runs >= was.runs), "{leg} lost a record: {was:?} → {standing:?}");
            }
            if fastrand::u8(..8) > 0 {
                continue;
            }
        }
        // To the end, and then the other way.
        let begun = clock.instant();
        desk.migrate_all(to);
        whole = clock.instant().saturating_duration_since(begun);
        if to == "rabbitmq" && window.is_none() {
            let (after, acked, due) = work_on_rabbitmq(desk, &vhost, &mut ids).await;
            (desk, window) = (after, Some(due));
            settled.extend(acked);
        }
        relayed = desk.legs(&ids).await.values().filter(|leg| leg.state == LegState::Relayed).count();
        to = if to == "rabbitmq" { "embedded" } else { "rabbitmq" };
    }
    assert!(in_the_middle >= 5, "only {in_the_middle} of the kills came while legs moved");
    desk.migrate_all("embedded");
    let after = desk.legs(&ids).await;
    as_before(&before, &after, &settled, window.unwrap());
    run_the_rest(&desk, &ids, &after, &settled).await;
    let again = desk.migrate_all("embedded");
    assert_eq!((again["moved"].as_u64(), again["dropped"].as_u64(), again["dead"].as_u64()), (Some(0), Some(0), Some(0)), "{again}");
}

/// What was open is open, at its attempts and its time; what was settled is settled; what died is dead.
fn as_before(
    before: &BTreeMap<LegId, Standing>,
    after: &BTreeMap<LegId, Standing>,
    settled: &BTreeSet<LegId>,
    (earliest, latest): (Timestamp, Timestamp),
) {
    assert_eq!(after.len(), 602, "two came later");
    for (leg, standing) in after {
        let was = before.get(leg);
        assert_ne!(standing.state, LegState::Relayed, "{leg}");
        assert_eq!(settled.contains(leg), standing.state == LegState::Acked, "{leg}: {was:?} → {standing:?}");
        match was {
            Some(was) if was.due_at.is_some() => {
                assert_eq!((standing.due_at, standing.attempts), (was.due_at, was.attempts), "{leg} keeps its time and its attempts");
            }
            _ => {
                let is_due = |due| (earliest..=latest).contains(&due);
                assert!(standing.due_at.is_none_or(is_due), "{leg} has a time nobody gave it: {standing:?}");
            }
        }
    }
    let count = |is: fn(&Standing) -> bool| after.values().filter(|leg| is(leg)).count();
    assert_eq!(count(|leg| leg.state == LegState::Dead), 25, "fifteen died here and ten at RabbitMQ");
    assert_eq!(count(|leg| leg.due_at.is_some()), 25, "fifteen retries were given here and ten at RabbitMQ");
    assert_eq!(settled.len(), 50);
}

/// Runs everything that is open two hours later: each leg once, and none that was settled.
async fn run_the_rest(desk: &Desk, ids: &BTreeSet<DeliveryId>, legs: &BTreeMap<LegId, Standing>, settled: &BTreeSet<LegId>) {
    let clock = Clock::manual(Clock::system().now().after(HOUR * 2));
    let ledger = desk.open(&clock);
    ledger.serve(served(&["a", "b", "c"]));
    let open = legs.values().filter(|leg| leg.state.is_open()).count();
    let mut ran = BTreeSet::new();
    for _ in 0..open {
        let lease = tokio::time::timeout(PATIENCE, ledger.lease()).await.expect("a leg is ready").expect("an open ledger");
        assert!(!settled.contains(&lease.leg), "{} was settled and runs again", lease.leg);
        assert!(ran.insert(lease.leg.clone()), "{} runs twice", lease.leg);
        ledger.settle(lease.clone(), finished(&lease, Settlement::Ack, clock.now())).await.expect("a ledger that works");
    }
    assert!(ledger.queues().await.expect("a ledger that works").iter().all(|queue| queue.waiting
        + queue.retry
        + queue.parked
        + queue.relayed
        == 0));
    for id in ids {
        for leg in ledger.delivery(*id).await.expect("a readable ledger").expect("a delivery").legs {
            let of_a_leg = LegId { delivery: *id, plugin: leg.plugin.clone() };
            let acks = leg.history.iter().filter(|attempt| attempt.settlement == "ack").count();
            assert_eq!(acks, usize::from(leg.state == LegState::Acked), "{of_a_leg}: {leg:?}");
            assert!(leg.state == LegState::Acked || leg.state == LegState::Dead, "{of_a_leg}: {leg:?}");
        }
    }
    assert_eq!(ledger.books().await.expect("a ledger that works").gap, 0);
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_refuses_in_words_while_a_host_runs_or_another_works_there_or_nobody_answers() {
    let Some(vhost) = rabbit::vhost() else { return };
    let desk = Desk::new(&vhost);
    let ledger = desk.open(&Clock::system());
    let running = desk.migrate("rabbitmq", &[]);
    assert_eq!(running.status.code(), Some(1));
    assert!(
        words(&running).contains("in use by another hookyard process") && words(&running).contains("stop the host"),
        "{}",
        words(&running)
    );
    let mut ids = BTreeSet::new();
    accept(&ledger, 1, &["a"], &mut ids).await;
    ledger.close().await;
    assert_eq!(desk.migrate_all("rabbitmq")["moved"], 1);
    let serve = tokio::task::block_in_place(|| desk.command(&["serve"]).output()).unwrap();
    assert_eq!(serve.status.code(), Some(78));
    assert!(words(&serve).contains("hookyard queue migrate --to embedded"), "{}", words(&serve));
    let other = Node::start(settings(vhost.url()), Clock::system()).await;
    let clock = Clock::system();
    hookyard::broker::Broker::serve(&*other.engine, served(&["b"]));
    hookyard::broker::Broker::offer(&*other.engine, offer(2, &["b"], clock.now()), clock.instant() + Duration::from_secs(8)).await.unwrap();
    tokio::time::timeout(PATIENCE, hookyard::broker::Broker::lease(&*other.engine)).await.expect("it consumes").unwrap();
    let worked = desk.migrate("embedded", &[]);
    assert_eq!(worked.status.code(), Some(1));
    assert!(words(&worked).contains("consumer(s) are attached to the queue `hookyard."), "{}", words(&worked));
    other.stop().await;
    desk.configure(vhost.url(), "rabbitmq", "shared_work = true");
    let shared = desk.migrate("embedded", &[]);
    assert_eq!(shared.status.code(), Some(1));
    assert!(words(&shared).contains("shared_work = false"), "{}", words(&shared));
    let nowhere = Desk::at("amqp://guest:guest@127.0.0.1:1/%2f").migrate("rabbitmq", &[]);
    assert_eq!(nowhere.status.code(), Some(69), "{}", words(&nowhere));
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_that_rabbitmq_has_lost_are_told_by_number_and_go_on_by_the_operators_word() {
    let Some(vhost) = rabbit::vhost() else { return };
    let desk = Desk::new(&vhost);
    let (ledger, mut ids) = (desk.open(&Clock::system()), BTreeSet::new());
    for number in 0..3 {
        accept(&ledger, number, &["a"], &mut ids).await;
    }
    ledger.close().await;
    desk.migrate_all("rabbitmq");
    let purge = format!("/api/queues/{}/hookyard.leg.default.a/contents", vhost.name());
    tokio::task::block_in_place(|| vhost.management().call("DELETE", &purge, "")).unwrap();
    let missing = desk.migrate("embedded", &[]);
    assert_eq!(missing.status.code(), Some(1));
    let told = words(&missing);
    assert!(
        told.contains("3 legs of this host") && told.contains("hookyard.leg.default.a") && told.contains("--unaccounted run"),
        "{told}"
    );
    assert!(desk.legs(&ids).await.values().all(|leg| leg.state == LegState::Relayed), "nothing is decided without a word");
    let output = desk.migrate("embedded", &["--unaccounted", "run", "--json"]);
    assert!(output.status.success(), "{}", words(&output));
    let legs = desk.legs(&ids).await;
    assert!(legs.values().all(|leg| leg.state.is_open() && leg.state != LegState::Relayed && leg.generation == 1), "{legs:?}");
    // Lost once more, and given up this time.
    desk.migrate_all("rabbitmq");
    tokio::task::block_in_place(|| vhost.management().call("DELETE", &purge, "")).unwrap();
    let output = desk.migrate("embedded", &["--unaccounted", "discard", "--json"]);
    assert!(output.status.success(), "{}", words(&output));
    let legs = desk.legs(&ids).await;
    assert!(legs.values().all(|leg| leg.state == LegState::Discarded), "{legs:?}");
    let ledger = desk.open(&Clock::system());
    ledger.serve(served(&["a"]));
    assert!(ledger.queues().await.unwrap().iter().all(|queue| queue.waiting + queue.relayed + queue.parked == 0), "none of them runs");
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_does_not_start_under_other_names_while_legs_wait_under_the_former() {
    let Some(vhost) = rabbit::vhost() else { return };
    let desk = Desk::new(&vhost);
    let (ledger, mut ids) = (desk.open(&Clock::system()), BTreeSet::new());
    accept(&ledger, 1, &["a"], &mut ids).await;
    ledger.close().await;
    desk.migrate_all("rabbitmq");
    desk.configure(vhost.url(), "rabbitmq", "prefix = \"hooks\"");
    let serve = tokio::task::block_in_place(|| desk.command(&["serve"]).output()).unwrap();
    assert_eq!(serve.status.code(), Some(78), "{}", words(&serve));
    assert!(words(&serve).contains("prefix hookyard") && words(&serve).contains("prefix hooks"), "{}", words(&serve));
    let migrate = desk.migrate("embedded", &[]);
    assert_eq!(migrate.status.code(), Some(78), "{}", words(&migrate));
    // The same broker by another name, on the operator's word.
    let alias = vhost.url().replace("127.0.0.1", "localhost");
    desk.configure(&alias, "rabbitmq", "");
    assert_eq!(desk.migrate("embedded", &[]).status.code(), Some(78));
    let output = desk.migrate("embedded", &["--same-broker", "--json"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(desk.legs(&ids).await.values().all(|leg| leg.state != LegState::Relayed));
    // Without a leg there, any name will do.
    desk.configure(vhost.url(), "rabbitmq", "prefix = \"hooks\"");
    desk.migrate_all("rabbitmq");
}
