//! The RabbitMQ engine against a real broker: what the contract suite cannot see.

use std::{collections::BTreeSet, time::Duration};

use hookyard::{
    broker::{
        Broker, DeadLetters, Lease,
        amqp::{Settings, Topology},
    },
    clock::Clock,
    delivery::{Receipt, Settlement},
    ledger::OfferError,
    observe::Scrape,
};
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicPublishOptions},
    types::{AMQPValue, FieldTable},
};
use system_tests::{
    amqp::{Node, PATIENCE, settings},
    contract::{finished, offer, queues},
    guests,
    host::TestHost,
    rabbit::{self, Queue},
};

/// Waits for the next leg to run, never for ever.
async fn lease(node: &Node) -> Lease {
    tokio::time::timeout(PATIENCE, node.engine.lease()).await.expect("a leg comes in time").expect("the queue is open")
}

async fn settle(node: &Node, lease: &Lease, settlement: Settlement) {
    let clock = Clock::system();
    node.engine.settle(lease.clone(), finished(lease, settlement, clock.now())).await.expect("the queue works");
}

async fn accept(node: &Node, number: u32, plugins: &[&str]) -> Result<Receipt, OfferError> {
    let clock = Clock::system();
    node.engine.offer(offer(number, plugins, clock.now()), clock.instant() + Duration::from_secs(8)).await
}

/// Waits until a ledger's legs at RabbitMQ are as many.
async fn relayed(node: &Node, legs: u64) {
    tokio::time::timeout(PATIENCE, async {
        while node.ledger.queues().await.expect("a readable ledger").iter().map(|queue| queue.relayed).sum::<u64>() != legs {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("RabbitMQ takes the legs in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_without_a_broker_runs_when_it_is_there() {
    let Some(node) = rabbit::node(&rabbit::Settings::default()) else { return };
    node.kill().unwrap();
    let host = Node::start(settings(&node.url()), Clock::system()).await;
    host.engine.serve(queues());
    for number in 0..20 {
        assert!(matches!(accept(&host, number, &["a", "b"]).await, Ok(Receipt::Accepted { legs: 2, .. })));
    }
    tokio::task::block_in_place(|| node.restart()).unwrap();
    let mut ran = BTreeSet::new();
    while ran.len() < 40 {
        let lease = lease(&host).await;
        settle(&host, &lease, Settlement::Ack).await;
        assert!(ran.insert(lease.leg), "a leg ran twice although nothing was lost");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_comes_back_from_rabbitmq_ten_times_and_not_before_its_time() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = Node::start(settings(vhost.url()), Clock::system()).await;
    host.engine.serve(queues());
    accept(&host, 1, &["a"]).await.unwrap();
    let clock = Clock::system();
    for attempt in 1..=10 {
        let leased = lease(&host).await;
        assert_eq!(leased.attempt, attempt);
        settle(&host, &leased, Settlement::Retry { after: Duration::from_secs(1), counted: true }).await;
        let settled = clock.instant();
        let again = lease(&host).await;
        let waited = clock.instant().saturating_duration_since(settled);
        assert!(waited >= Duration::from_secs(1), "attempt {} ran after {waited:?}", attempt + 1);
        assert!(waited < Duration::from_secs(10), "a wait of 1 s took {waited:?}");
        settle(&host, &again, Settlement::Retry { after: Duration::ZERO, counted: false }).await;
    }
    let last = lease(&host).await;
    assert_eq!((last.attempt, last.leg.plugin.as_str()), (11, "a"));
    settle(&host, &last, Settlement::Ack).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_keeps_its_legs_here_and_delays_no_other() {
    let Some(vhost) = rabbit::vhost() else { return };
    let small = settings(vhost.url());
    let small = Settings { topology: Topology { queue_messages_max: 1, ..small.topology.clone() }, works: false, archives: false, ..small };
    let door = Node::start(small.clone(), Clock::system()).await;
    for number in 0..30 {
        assert!(accept(&door, number, &["a"]).await.is_ok(), "a full queue refuses no sender");
    }
    for number in 100..103 {
        accept(&door, number, &["b"]).await.unwrap();
    }
    let worker = Node::start(Settings { works: true, archives: true, ..small }, Clock::system()).await;
    worker.engine.serve(queues());
    let mut ran = BTreeSet::new();
    while ran.len() < 33 {
        let lease = lease(&worker).await;
        settle(&worker, &lease, Settlement::Ack).await;
        ran.insert(lease.leg);
    }
    relayed(&door, 33).await;
    door.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_under_its_consumer_is_made_again() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = Node::start(settings(vhost.url()), Clock::system()).await;
    host.engine.serve(queues());
    accept(&host, 1, &["a"]).await.unwrap();
    let lease_of_1 = lease(&host).await;
    settle(&host, &lease_of_1, Settlement::Ack).await;
    vhost.management().call("DELETE", &format!("/api/queues/{}/hookyard.leg.default.a", vhost.name()), "").unwrap();
    accept(&host, 2, &["a"]).await.unwrap();
    let again = lease(&host).await;
    assert_ne!(again.leg, lease_of_1.leg);
    settle(&host, &again, Settlement::Ack).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_runs_it_and_its_dead_letter_is_listed_and_replayed_by_the_archive() {
    let Some(vhost) = rabbit::vhost() else { return };
    let all = Settings { shared_work: true, ..settings(vhost.url()) };
    let front = Node::start(Settings { works: false, ..all.clone() }, Clock::system()).await;
    let back = Node::start(Settings { archives: false, ..all }, Clock::system()).await;
    back.engine.serve(queues());
    accept(&front, 1, &["a"]).await.unwrap();
    let first = lease(&back).await;
    assert_eq!(&first.delivery.document[..], b"{\"number\":1}");
    settle(&back, &first, Settlement::DeadLetter(hookyard::delivery::DeadReason::Rejected)).await;
    let dead = tokio::time::timeout(PATIENCE, async {
        loop {
            let page = front.engine.page(hookyard::broker::DeadLetterFilter::default(), None, 10).await.unwrap();
            if let Some(dead) = page.items.into_iter().next() {
                return dead;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the archive has it in time");
    assert_eq!((dead.id, dead.reason.as_str(), dead.attempts), (first.leg.to_string(), "rejected", 1));
    assert!(back.engine.page(hookyard::broker::DeadLetterFilter::default(), None, 10).await.is_err(), "one archive, and the others say so");
    let tenant = first.delivery.tenant.clone();
    front.engine.replay(tenant, first.leg.clone()).await.unwrap();
    let again = lease(&back).await;
    assert_eq!((again.leg.clone(), again.generation, again.attempt), (first.leg, 1, 1));
    settle(&back, &again, Settlement::Ack).await;
    // What became of it is not known at the front: the same call runs again instead of being called a duplicate.
    relayed(&front, 1).await;
    assert!(matches!(accept(&front, 1, &["a"]).await, Ok(Receipt::Accepted { legs: 1, .. })));
    let third = lease(&back).await;
    assert_eq!(third.generation, 2);
    settle(&back, &third, Settlement::Ack).await;
    front.stop().await;
    back.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_too_big_for_rabbitmq_runs_where_it_was_accepted_or_is_refused_at_a_door_without_workers() {
    let Some(vhost) = rabbit::vhost() else { return };
    let small = Settings { message_bytes_max: 256 * 1024, ..settings(vhost.url()) };
    let clock = Clock::system();
    let mut big = offer(1, &["a"], clock.now());
    let mut noise = vec![0_u8; 400_000];
    fastrand::Rng::new().fill(&mut noise);
    big.delivery.document = noise.clone().into();
    let worker = Node::start(small.clone(), clock.clone()).await;
    worker.engine.serve(queues());
    worker.engine.offer(big.clone(), clock.instant() + Duration::from_secs(8)).await.unwrap();
    let lease = lease(&worker).await;
    assert!(lease.delivery.document == noise, "the document is the one that was sent");
    settle(&worker, &lease, Settlement::Ack).await;
    worker.stop().await;
    let door = Node::start(Settings { works: false, ..small }, clock.clone()).await;
    let refused = door.engine.offer(big, clock.instant() + Duration::from_secs(8)).await;
    assert!(matches!(refused, Err(OfferError::TooBig { .. })), "{refused:?}");
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_ack_after_broker_a_sender_hears_yes_only_when_rabbitmq_has_it() {
    let Some(vhost) = rabbit::vhost() else { return };
    let careful = Settings { ack_after_broker: true, works: false, ..settings(vhost.url()) };
    let one = Settings { topology: Topology { queue_messages_max: 1, ..careful.topology.clone() }, ..careful.clone() };
    let door = Node::start(one, Clock::system()).await;
    ready(&door).await;
    assert!(accept(&door, 1, &["b"]).await.is_ok());
    relayed(&door, 1).await;
    let mut answers = Vec::new();
    for number in 10..16 {
        answers.push(accept(&door, number, &["a"]).await);
    }
    let at_broker = door.ledger.queues().await.unwrap().iter().map(|queue| queue.relayed).sum::<u64>() - 1;
    let yes = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!(yes <= at_broker, "{yes} senders heard yes, RabbitMQ confirmed {at_broker}");
    assert!(answers.contains(&Err(OfferError::OutcomeUnknown)), "a full queue is no yes: {answers:?}");
    door.stop().await;
    let nowhere = Settings { ack_after_broker: true, ..settings("amqp://guest:guest@127.0.0.1:1/%2f") };
    let nowhere = Node::start(nowhere, Clock::system()).await;
    assert_eq!(accept(&nowhere, 1, &["a"]).await, Err(OfferError::Unavailable));
    nowhere.stop().await;
}

async fn ready(node: &Node) {
    tokio::time::timeout(PATIENCE, async {
        while !node.readiness.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("a connection in time");
}

/// A message of a queue, as soon as there is one.
async fn message(channel: &Channel, queue: &str) -> lapin::message::BasicGetMessage {
    tokio::time::timeout(PATIENCE, async {
        loop {
            let options = BasicGetOptions { no_ack: true };
            if let Some(message) = channel.basic_get(queue.into(), options).await.expect("a queue") {
                return message;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("a message in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_its_queues_is_put_aside_and_runs_nowhere() {
    let Some(vhost) = rabbit::vhost() else { return };
    let door = Node::start(Settings { works: false, archives: false, ..settings(vhost.url()) }, Clock::system()).await;
    accept(&door, 1, &["b"]).await.unwrap();
    accept(&door, 2, &["a"]).await.unwrap();
    relayed(&door, 2).await;
    let connection = Connection::connect(vhost.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let stolen = message(&channel, "hookyard.leg.default.b").await.delivery;
    // Once as it is, and once with headers that call it what its head does not say.
    let mut forged = FieldTable::default();
    for (name, value) in stolen.properties.headers().as_ref().unwrap() {
        let value = if name.as_str() == "hookyard-plugin" { AMQPValue::LongString("a".into()) } else { value.clone() };
        forged.insert(name.clone(), value);
    }
    for headers in [stolen.properties.headers().clone().unwrap(), forged] {
        let properties = stolen.properties.clone().with_headers(headers);
        let options = BasicPublishOptions::default();
        channel.basic_publish("".into(), "hookyard.leg.default.a".into(), options, &stolen.data, properties).await.unwrap().await.unwrap();
    }
    let worker = Node::start(settings(vhost.url()), Clock::system()).await;
    worker.engine.serve(queues());
    let mut reasons = Vec::new();
    for _ in 0..2 {
        let rejected = message(&channel, "hookyard.rejected").await.delivery;
        assert_eq!(rejected.data, stolen.data, "it may be evidence");
        let headers = rejected.properties.headers().as_ref().expect("headers").inner();
        let Some(AMQPValue::LongString(reason)) = headers.get("hookyard-rejection") else { panic!("no reason in {headers:?}") };
        reasons.push(reason.to_string());
        assert_eq!(headers.get("hookyard-queue"), Some(&AMQPValue::LongString("hookyard.leg.default.a".into())));
        assert!(headers.contains_key("hookyard-seal"), "it can be put back");
    }
    // Each is put aside by itself, so either may be there first.
    reasons.sort();
    assert_eq!(reasons, ["misplaced", "seal_broken"]);
    let own = lease(&worker).await;
    assert_eq!(&own.delivery.document[..], b"{\"number\":2}", "what is the queue's own runs");
    settle(&worker, &own, Settlement::Ack).await;
    assert!(worker.ledger.queues().await.unwrap().iter().all(|queue| queue.waiting + queue.leased == 0), "and nothing else");
    door.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_relay_does_is_counted_and_a_plugin_that_goes_has_its_queue_named() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = Node::start(settings(vhost.url()), Clock::system()).await;
    host.engine.serve(queues());
    accept(&host, 1, &["a", "b"]).await.unwrap();
    for _ in 0..2 {
        let leased = lease(&host).await;
        settle(&host, &leased, Settlement::Ack).await;
    }
    let text = host.observer.encode(&Scrape { relay_lag: host.ledger.relay_lag(), ..Scrape::default() });
    for line in ["hookyard_relay_messages_total{result=\"confirmed\"} 2", "hookyard_relay_lag 0", "hookyard_broker_blocked 0"] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    let mut left = queues();
    left.queues.retain(|queue| queue.plugin.as_str() == "a");
    host.engine.serve(left);
    let said = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some((_, said)) = host.readiness.notes().into_iter().find(|(note, _)| *note == "rabbitmq_queues_unserved") {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the queue is named in time");
    assert!(said.contains("hookyard.leg.default.b:") && !said.contains("hookyard.leg.default.a"), "{said}");
    assert!(said.contains(&format!("delete_queue --vhost {}", vhost.name())) && said.contains("purge_queue"), "{said}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_keeps_state_is_refused_where_work_is_shared() {
    let Some(vhost) = rabbit::vhost() else { return };
    let mut queue = Queue::of(&std::sync::Arc::new(vhost));
    queue.more.push_str("shared_work = true");
    let host =
        TestHost::builder().on(queue).plugin("counts", guests::component("count")).plugin("acks", guests::component("ack")).start().await;
    let refused = host.plugin("default", "counts", |view| view.refusal.is_some()).await.refusal.unwrap();
    assert_eq!(refused.code, "state_not_shared");
    assert!(refused.reason.contains("kv") && refused.reason.contains("shared_work"), "{}", refused.reason);
    assert!(host.plugin("default", "acks", |view| view.digest.is_some()).await.refusal.is_none(), "what keeps nothing serves");
}
