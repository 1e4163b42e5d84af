//! Who can write to RabbitMQ, and cannot forge, crash or exhaust a host: messages that were invented, changed, blown up and sent again, put into every
//! queue a host reads.

use std::time::Duration;

use bytes::Bytes;
use hookyard::{
    broker::{
        Broker, Lease,
        amqp::{Decoder, HeaderValue, Keys, Message, Names, Settings},
    },
    clock::Clock,
    delivery::{DeadReason, DeliveryId, DeliveryKey, Settlement, TenantId},
    observe::Scrape,
    signature::Secret,
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::Delivery,
    options::{BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use system_tests::{
    amqp::{KEY, Node, PATIENCE, settings},
    contract::{finished, offer, queues},
    rabbit::{self, Vhost},
};

const QUEUE: &str = "hookyard.leg.default.a";

async fn lease(node: &Node) -> Lease {
    tokio::time::timeout(PATIENCE, node.engine.lease()).await.expect("a leg comes in time").expect("the queue is open")
}

async fn settle(node: &Node, lease: &Lease, settlement: Settlement) {
    node.engine.settle(lease.clone(), finished(lease, settlement, Clock::system().now())).await.expect("the queue works");
}

async fn accept(node: &Node, number: u32) {
    let clock = Clock::system();
    let offered = offer(number, &["a"], clock.now());
    node.engine.offer(offered, clock.instant() + Duration::from_secs(8)).await.expect("it is accepted");
}

/// That a host is well: what it accepts runs, and nothing else has come to run before it.
async fn works(node: &Node, number: u32) {
    accept(node, number).await;
    let own = lease(node).await;
    assert_eq!(own.delivery.document, format!("{{\"number\":{number}}}"), "nothing but the host's own runs");
    settle(node, &own, Settlement::Ack).await;
}

/// Waits until so many legs are at RabbitMQ.
async fn relayed(node: &Node, legs: u64) {
    let waiting = async {
        while node.ledger.queues().await.expect("a readable ledger").iter().map(|queue| queue.relayed).sum::<u64>() != legs {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("RabbitMQ takes the legs in time");
}

async fn channel(vhost: &Vhost) -> (Connection, Channel) {
    let connection = Connection::connect(vhost.url(), ConnectionProperties::default()).await.expect("RabbitMQ");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

/// A message of a queue, as soon as there is one.
async fn message(channel: &Channel, queue: &str) -> Delivery {
    let waiting = async {
        loop {
            if let Some(message) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.expect("a queue") {
                return message.delivery;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no message in {queue}"))
}

/// Publishes what somebody wrote to a queue, by the default exchange, or to an exchange.
async fn publish(channel: &Channel, (exchange, key): (&str, &str), properties: BasicProperties, body: &[u8]) {
    let options = BasicPublishOptions::default();
    channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.expect("a channel").await.expect("a broker");
}

async fn publish_again(channel: &Channel, place: (&str, &str), captured: &Delivery) {
    publish(channel, place, captured.properties.clone(), &captured.data).await;
}

fn text(delivery: &Delivery, header: &str) -> String {
    let value = delivery.properties.headers().as_ref().and_then(|headers| headers.inner().get(header));
    let Some(AMQPValue::LongString(text)) = value else { return String::new() };
    String::from_utf8_lossy(text.as_bytes()).into_owned()
}

/// Waits until so many messages were put aside, each for this reason.
async fn put_aside(channel: &Channel, count: usize, reason: &str) {
    for _ in 0..count {
        let rejected = message(channel, "hookyard.rejected").await;
        assert_eq!(text(&rejected, "hookyard-rejection"), reason, "{}", text(&rejected, "hookyard-why"));
        assert!(!text(&rejected, "hookyard-why").is_empty() && !text(&rejected, "hookyard-queue").is_empty());
    }
}

fn counted(node: &Node, reason: &str) -> String {
    let line = format!("hookyard_messages_rejected_total{{reason=\"{reason}\"}} ");
    let text = node.observer.encode(&Scrape::default());
    text.lines().find_map(|found| found.strip_prefix(&line)).unwrap_or("0").to_owned()
}

/// A frame of zstd that is `length` blanks: four bytes for every 128 KiB.
fn blanks(length: u32) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend_from_slice(&length.to_le_bytes());
    let mut rest = length;
    while rest > 0 {
        let block = rest.min(128 * 1024);
        rest -= block;
        // Whether it is the last, its kind (a repeated byte), its length.
        let head = u32::from(rest == 0) | 1 << 1 | block << 3;
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.push(b' ');
    }
    frame
}

/// What somebody invents: a delivery that no host has accepted, for an installation of his choice, of a document of so many blanks.
fn invented(number: u32, length: u32) -> Vec<u8> {
    let (mut hash, piece) = (Sha256::new(), vec![b' '; 1 << 16]);
    for at in (0..length).step_by(piece.len()) {
        hash.update(&piece[..piece.len().min((length - at) as usize)]);
    }
    let document_sha256: [u8; 32] = hash.finalize().into();
    let (tenant, source) = (TenantId::default_tenant(), "github".parse().expect("a name"));
    let provider_id = format!("invented-{number}");
    let key = DeliveryKey { tenant: &tenant, source: &source, hook_id: "", provider_id: &provider_id, body_sha256: &document_sha256 };
    let head = json!({
        "tenant": "default", "plugin": "a", "id": DeliveryId::derive(&key).to_string(), "source": "github", "provider_id": provider_id,
        "hook_id": null, "event": "issues", "action": "opened", "repository": "victim/repository", "installation_id": 666,
        "received_ms": 1_767_225_600_000_i64, "form": false, "headers": [], "body_sha256": document_sha256,
        "document_sha256": document_sha256, "document_bytes": length,
    });
    let head = serde_json::to_vec(&head).expect("a head");
    let length_of_head = u32::try_from(head.len()).expect("a short head").to_le_bytes();
    [b"HKY\x01".as_slice(), &length_of_head, &head, &blanks(length)].concat()
}

fn numbers((attempts, runs): (i64, i64)) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in [("hookyard-tenant", "default"), ("hookyard-plugin", "a")] {
        table.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let all = [("hookyard-generation", 0), ("hookyard-runs", runs), ("hookyard-attempts", attempts), ("hookyard-crashes", 0)];
    for (name, value) in all {
        table.insert(name.into(), AMQPValue::LongLongInt(value));
    }
    table
}

fn forged(table: FieldTable) -> BasicProperties {
    BasicProperties::default().with_message_id("forged".into()).with_headers(table)
}

/// Sealed by somebody who has the key: what lies behind the seal is held, too.
fn sealed(table: &FieldTable, body: Vec<u8>) -> (BasicProperties, Bytes) {
    let keys = Keys::new(vec![Secret::new(KEY).expect("a key")]).expect("a long key");
    let decoder = Decoder::new(keys, Names::new("hookyard").expect("a prefix"), 1 << 30);
    let message = decoder.sealed("forged", Some(table), body.into()).expect("headers of our form").message(String::new(), String::new());
    let Message { headers, body, .. } = message;
    let mut table = FieldTable::default();
    for (name, value) in headers {
        let value = match value {
            HeaderValue::Text(text) => AMQPValue::LongString(text.into()),
            HeaderValue::Number(number) => AMQPValue::LongLongInt(number),
        };
        table.insert(name.as_ref().into(), value);
    }
    (forged(table), body)
}

/// The most memory this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invented_leg_runs_nowhere_whichever_queue_it_is_put_into() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = Node::start(settings(vhost.url()), Clock::system()).await;
    host.engine.serve(queues());
    works(&host, 1).await;
    let (_connection, channel) = channel(&vhost).await;
    let places = [
        ("hookyard.legs", QUEUE),
        ("hookyard.legs", "no such queue"),
        ("", QUEUE),
        ("", "hookyard.due"),
        ("", "hookyard.unrouted"),
        ("hookyard.retry", "1s"),
        ("hookyard.dead", ""),
    ];
    for (number, place) in (0..).zip(places) {
        publish(&channel, place, forged(numbers((0, 0))), &invented(number, 100)).await;
    }
    put_aside(&channel, places.len(), "unsealed").await;
    assert_eq!(counted(&host, "unsealed"), places.len().to_string());
    let mut guessed = numbers((0, 0));
    let seal = format!("1.{}.{}", "0".repeat(8), "0".repeat(64));
    guessed.insert("hookyard-seal".into(), AMQPValue::LongString(seal.into()));
    publish(&channel, ("hookyard.legs", QUEUE), forged(guessed), &invented(9, 100)).await;
    put_aside(&channel, 1, "unknown_key").await;
    works(&host, 2).await;
    assert!(host.ledger.queues().await.unwrap().iter().all(|queue| queue.waiting + queue.leased == 0), "and nothing else is there");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_at_the_end_of_their_types_end_no_host_and_not_its_next_start() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = Node::start(settings(vhost.url()), Clock::system()).await;
    host.engine.serve(queues());
    works(&host, 1).await;
    let (_connection, channel) = channel(&vhost).await;
    let extremes = [(i64::from(u32::MAX), 0), (0, i64::MAX), (i64::from(u32::MAX), i64::MAX), (-1, 0), (i64::MIN, i64::MIN)];
    for (number, extreme) in (0..).zip(extremes) {
        publish(&channel, ("hookyard.legs", QUEUE), forged(numbers(extreme)), &invented(number, 100)).await;
        let (properties, body) = sealed(&numbers(extreme), invented(number, 100));
        publish(&channel, ("hookyard.legs", QUEUE), properties.clone(), &body).await;
        publish(&channel, ("hookyard.dead", ""), properties, &body).await;
    }
    let waiting = async {
        while counted(&host, "unsealed") != "5" || counted(&host, "out_of_range") == "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("all are put aside");
    works(&host, 2).await;
    let dir = host.stop().await;
    let host = Node::start_in(dir, settings(vhost.url()), Clock::system()).await;
    host.engine.serve(queues());
    works(&host, 3).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_inflate_take_no_more_than_the_budget_of_all() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = Node::start(settings(vhost.url()), Clock::system()).await;
    host.engine.serve(queues());
    works(&host, 1).await;
    let (_connection, channel) = channel(&vhost).await;
    let before = peak_mib();
    for number in 0..24 {
        let bomb = invented(number, 120 << 20);
        assert!(bomb.len() < 4_900, "{} bytes", bomb.len());
        publish(&channel, ("hookyard.legs", QUEUE), forged(numbers((0, 0))), &bomb).await;
        let (properties, body) = sealed(&numbers((0, 0)), bomb);
        publish(&channel, ("hookyard.legs", QUEUE), properties, &body).await;
    }
    let waiting = async {
        while counted(&host, "unsealed") != "24" || counted(&host, "document_too_large") != "24" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("all are put aside");
    // As large as a document may be, and genuine: they wait for each other, and for their turn on disk.
    for number in 100..124 {
        let (properties, body) = sealed(&numbers((0, 0)), invented(number, 48 << 20));
        publish(&channel, ("hookyard.legs", QUEUE), properties, &body).await;
    }
    for _ in 0..24 {
        let leased = lease(&host).await;
        assert_eq!(leased.delivery.document.len(), 48 << 20);
        settle(&host, &leased, Settlement::Ack).await;
    }
    let grown = peak_mib() - before;
    assert!(grown < 700, "24 messages of 48 MiB took {grown} MiB");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_message_that_is_sent_again_runs_nothing_twice() {
    let Some(vhost) = rabbit::vhost() else { return };
    let door = Node::start(Settings { works: false, archives: false, ..settings(vhost.url()) }, Clock::system()).await;
    accept(&door, 1).await;
    relayed(&door, 1).await;
    let (_connection, channel) = channel(&vhost).await;
    let captured = message(&channel, QUEUE).await;
    let worker = Node::start(Settings { archives: false, ..settings(vhost.url()) }, Clock::system()).await;
    worker.engine.serve(queues());
    for _ in 0..3 {
        publish_again(&channel, ("hookyard.legs", QUEUE), &captured).await;
    }
    // Dead letters are seen by whoever binds a queue to their exchange.
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("spy".into(), options, FieldTable::default()).await.unwrap();
    channel.queue_bind("spy".into(), "hookyard.dead".into(), "".into(), QueueBindOptions::default(), FieldTable::default()).await.unwrap();
    let first = lease(&worker).await;
    assert_eq!(&first.delivery.document[..], b"{\"number\":1}");
    settle(&worker, &first, Settlement::Retry { after: Duration::ZERO, counted: true }).await;
    publish_again(&channel, ("hookyard.legs", QUEUE), &captured).await;
    let second = lease(&worker).await;
    assert_eq!((second.leg.clone(), second.attempt), (first.leg.clone(), 2), "the copy of the first run is older, and dropped");
    settle(&worker, &second, Settlement::DeadLetter(DeadReason::Rejected)).await;
    let dead = message(&channel, "spy").await;
    for place in [("hookyard.legs", QUEUE), ("", QUEUE), ("", "hookyard.due"), ("hookyard.retry", "1s")] {
        publish_again(&channel, place, &captured).await;
        publish_again(&channel, place, &dead).await;
    }
    // A dead letter in a queue of legs runs nothing; anywhere else it goes on to the archive.
    put_aside(&channel, 2, "misplaced").await;
    for _ in 0..2 {
        assert_eq!(message(&channel, "spy").await.data, dead.data);
    }
    works(&worker, 2).await;
    let attempts = worker.ledger.queues().await.unwrap();
    assert!(attempts.iter().all(|queue| queue.waiting + queue.leased + queue.retry == 0), "{attempts:?}");
    door.stop().await;
    worker.stop().await;
}

/// The client library reads lists in lists by recursion. What RabbitMQ hands on of this message ends a process that reads it so, in every build.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_would_end_the_process_are_taken_out_before_they_are_read() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = Node::start(settings(vhost.url()), Clock::system()).await;
    host.engine.serve(queues());
    works(&host, 1).await;
    let (_connection, channel) = channel(&vhost).await;
    let depth = 10_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for exchange in ["hookyard.legs", "hookyard.dead"] {
        let path = format!("/api/exchanges/{}/{exchange}/publish", vhost.name());
        let body = format!(
            "{{\"properties\":{{\"headers\":{{\"x\":{nested}}}}},\"routing_key\":\"{QUEUE}\",\"payload\":\"x\",\"payload_encoding\":\"string\"}}"
        );
        let answer = tokio::task::block_in_place(|| vhost.management().call("POST", &path, &body)).expect("RabbitMQ takes it");
        assert!(answer.contains("true"), "{answer}");
    }
    put_aside(&channel, 2, "uncarried").await;
    works(&host, 2).await;
    host.stop().await;
}
