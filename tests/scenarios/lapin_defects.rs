//! The client library mixes up whose confirm is whose: once for channels that several tasks share, once for messages that come back. A host that
//! believed it would answer 202 for what the broker refused.
//!
//! The first two tests show that this fake broker provokes both in a bare client; the day they fail, the library is mended. The others hold our
//! engine to being immune.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hookyard::{
    broker::amqp::{Address, Connected, Message, Published, Publisher, PublisherSettings},
    tasks::Tasks,
};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
};
use system_tests::{
    fake_amqp::{Answer, FakeBroker},
    rabbit::{self, Vhost},
};

/// How many messages to try before the defect is called mended.
const TRIES_MAX: u64 = 200_000;
const WINDOW: usize = 64;

fn number(body: &[u8]) -> u64 {
    u64::from_be_bytes(body.try_into().expect("eight bytes"))
}

async fn channel(broker: &FakeBroker) -> (Connection, Channel) {
    let connection = Connection::connect(&broker.url(), ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    (connection, channel)
}

/// Publishes numbers until `next` has passed `TRIES_MAX` or something was `lost`; each confirm is shown to `is_wrong`.
async fn publish(channel: Channel, next: Arc<AtomicU64>, lost: Arc<AtomicU64>, is_wrong: fn(u64, &Confirmation) -> bool) {
    let mut pending = std::collections::VecDeque::new();
    loop {
        let id = next.fetch_add(1, Relaxed);
        let is_over = id >= TRIES_MAX || lost.load(Relaxed) > 0;
        if !is_over {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let body = id.to_be_bytes();
            let confirm = channel
                .basic_publish("x".into(), "k".into(), options, &body, BasicProperties::default())
                .await
                .expect("a published message");
            pending.push_back((id, confirm));
        }
        while pending.len() > WINDOW || (is_over && !pending.is_empty()) {
            let (id, confirm) = pending.pop_front().expect("one that waits");
            if is_wrong(id, &confirm.await.expect("a confirm")) {
                lost.fetch_add(1, Relaxed);
            }
        }
        if is_over {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bare_client_reports_refused_messages_as_stored_when_tasks_share_a_channel() {
    let broker = FakeBroker::start(|message| if number(&message.body).is_multiple_of(2) { Answer::Ack } else { Answer::Nack }).await;
    let (_connection, channel) = channel(&broker).await;
    let (next, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        tasks
            .spawn(publish(channel.clone(), Arc::clone(&next), Arc::clone(&lost), |id, confirm| !id.is_multiple_of(2) && confirm.is_ack()));
    }
    tasks.join_all().await;
    assert!(lost.load(Relaxed) > 0, "the library no longer crosses confirms; say so beside the publisher's guard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bare_client_hands_returned_messages_to_the_wrong_confirm() {
    let broker = FakeBroker::start(|message| if number(&message.body).is_multiple_of(10) { Answer::Return } else { Answer::Ack }).await;
    let (_connection, channel) = channel(&broker).await;
    let (next, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let is_wrong = |id: u64, confirm: &Confirmation| id.is_multiple_of(10) && matches!(confirm, Confirmation::Ack(None));
    publish(channel, next, Arc::clone(&lost), is_wrong).await;
    assert!(lost.load(Relaxed) > 0, "the library no longer misattributes returns; say so beside the publisher's guard");
}

/// Our publisher on a broker, once it is connected.
async fn publisher(tasks: &Tasks, url: &str) -> Publisher {
    let address = Address::parse(url).expect("an address");
    let publisher = Publisher::start(tasks, address, PublisherSettings::new("test"), Arc::new(|_| Box::pin(async { Ok(()) })));
    publisher.connected().wait_for(|connected| *connected == Connected::Ready).await.expect("the publisher runs");
    publisher
}

fn message(exchange: &str, routing_key: &str, id: u64) -> Message {
    Message {
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
        message_id: id.to_string(),
        content_type: "application/octet-stream",
        headers: vec![],
        body: id.to_be_bytes().to_vec().into(),
    }
}

/// What our publisher said of messages that eight tasks sent at once, by their number.
async fn outcomes(publisher: &Publisher, exchange: &'static str, key: fn(u64) -> &'static str, count: u64) -> Vec<(u64, Published)> {
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..8 {
        let publisher = publisher.clone();
        tasks.spawn(async move {
            let mut outcomes = Vec::new();
            for id in (first..count).step_by(8) {
                outcomes.push((id, publisher.publish(message(exchange, key(id), id)).await));
            }
            outcomes
        });
    }
    tasks.join_all().await.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn our_publisher_never_takes_a_refused_message_for_a_stored_one() {
    let broker = FakeBroker::start(|message| if number(&message.body).is_multiple_of(2) { Answer::Ack } else { Answer::Nack }).await;
    let tasks = Tasks::new();
    let publisher = publisher(&tasks, &broker.url()).await;
    for (id, outcome) in outcomes(&publisher, "x", |_| "k", 16_000).await {
        assert_eq!(outcome, if id.is_multiple_of(2) { Published::Confirmed } else { Published::Refused }, "message {id}");
    }
    tasks.stop(Duration::from_secs(5)).await;
}

/// On a real node: one queue is full, the other is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn our_publisher_never_takes_what_a_full_queue_refused_for_stored() {
    let Some(vhost) = rabbit::vhost() else { return };
    declare(&vhost, "open", "{\"x-queue-type\":\"quorum\"}");
    declare(&vhost, "full", "{\"x-queue-type\":\"quorum\",\"x-max-length\":1,\"x-overflow\":\"reject-publish\"}");
    let tasks = Tasks::new();
    let publisher = publisher(&tasks, vhost.url()).await;
    let key = |id: u64| if id.is_multiple_of(2) { "open" } else { "full" };
    let confirmed = outcomes(&publisher, "", key, 16_000).await;
    let confirmed =
        |queue| confirmed.iter().map(|(id, outcome)| u32::from(key(*id) == queue && *outcome == Published::Confirmed)).sum::<u32>();
    let (open, full) = (confirmed("open"), confirmed("full"));
    tasks.stop(Duration::from_secs(5)).await;
    assert_eq!((open, depth(&vhost, "open").await), (8_000, 8_000));
    // A queue takes some more than its limit while many are under way; each of them is really there.
    assert_eq!(full, depth(&vhost, "full").await, "confirmed and stored are the same messages");
}

/// On a real node: what has no queue is found where the alternate exchange leads, whatever the client says of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_without_a_queue_is_kept_by_the_alternate_exchange() {
    let Some(vhost) = rabbit::vhost() else { return };
    let api = |method: &str, path: &str, body: &str| vhost.management().call(method, path, body).expect("the broker does it");
    let name = vhost.name();
    declare(&vhost, "routed", "{\"x-queue-type\":\"quorum\"}");
    declare(&vhost, "unrouted", "{\"x-queue-type\":\"quorum\"}");
    api("PUT", &format!("/api/exchanges/{name}/stray"), r#"{"type":"fanout","durable":true}"#);
    api("PUT", &format!("/api/exchanges/{name}/legs"), r#"{"type":"direct","durable":true,"arguments":{"alternate-exchange":"stray"}}"#);
    api("POST", &format!("/api/bindings/{name}/e/stray/q/unrouted"), "{}");
    api("POST", &format!("/api/bindings/{name}/e/legs/q/routed"), r#"{"routing_key":"routed"}"#);
    let tasks = Tasks::new();
    let publisher = publisher(&tasks, vhost.url()).await;
    let outcomes = outcomes(&publisher, "legs", |id| if id.is_multiple_of(10) { "nowhere" } else { "routed" }, 2_000).await;
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == Published::Confirmed));
    tasks.stop(Duration::from_secs(5)).await;
    assert_eq!((depth(&vhost, "routed").await, depth(&vhost, "unrouted").await), (1_800, 200));
}

fn declare(vhost: &Vhost, queue: &str, arguments: &str) {
    let body = format!("{{\"durable\":true,\"arguments\":{arguments}}}");
    vhost.management().call("PUT", &format!("/api/queues/{}/{queue}", vhost.name()), &body).expect("a queue");
}

/// How many messages are ready in a queue; the management API tells it some seconds later.
async fn depth(vhost: &Vhost, queue: &str) -> u32 {
    let connection = Connection::connect(vhost.url(), ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("the queue").message_count()
}
