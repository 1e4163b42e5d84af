//! The client library mixes up whose confirm is whose: once for channels that several tasks share, once for messages that come back. A host that
//! believed it would answer 202 for what the broker refused.
//!
//! The first two tests show that this fake broker provokes both in a bare client; the day they fail, the library is mended. The others hold our
//! engine to being immune.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use system_tests::fake_amqp::{Answer, FakeBroker};

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
