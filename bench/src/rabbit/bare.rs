//! The bare loops on RabbitMQ: no ledger, no envelope, no retry; only what nobody can leave out.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_core::Stream;
use hookyard::{clock::Clock, tasks::Tasks};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, PublisherConfirm,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use crate::{
    bare,
    payload::{Key, push_document},
};

/// The one queue.
const QUEUE: &str = "bench";
/// Requests that wait to be published.
const REQUESTS_MAX: usize = 512;
/// Messages under way while the queue is filled.
const WINDOW: usize = 512;
/// What a consumer holds unacknowledged.
const PREFETCH: u16 = 300;
/// A message that does not come within this is no slow one.
const MESSAGE_MAX: Duration = Duration::from_secs(30);

/// Where the bare server puts what it has verified.
#[derive(Clone)]
pub(crate) struct Keeper(mpsc::Sender<(Bytes, oneshot::Sender<bool>)>);

impl Keeper {
    /// Whether the broker has it now.
    pub(crate) async fn keep(&self, body: Bytes) -> bool {
        let (answer, kept) = oneshot::channel();
        self.0.send((body, answer)).await.is_ok() && kept.await.unwrap_or(false)
    }
}

/// The bare server, answering only after one quorum queue has confirmed.
pub(crate) async fn serve_confirming(listen: SocketAddr, url: &str) -> anyhow::Result<()> {
    let (_connection, channel) = open(url).await?;
    let (sender, mut requests) = mpsc::channel::<(Bytes, oneshot::Sender<bool>)>(REQUESTS_MAX);
    let tasks = Tasks::new();
    let confirming = tasks.clone();
    // One task owns the channel: the library crosses confirms otherwise.
    tasks.spawn("bare_publish", async move {
        while let Some((body, answer)) = requests.recv().await {
            match publish(&channel, &body).await {
                Ok(confirm) => confirming.spawn_brief(async move {
                    // Who hung up does not want to know.
                    let _ = answer.send(confirm.await.is_ok_and(|confirm| confirm.is_ack()));
                }),
                // Its drop is the answer.
                Err(_) => return,
            }
        }
    });
    let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be listened on"))?;
    bare::accept(listener, Key::new()?, Some(Keeper(sender))).await
}

/// Fills the queue with so many pushes, then consumes and acknowledges them all; gives the rate of the second half.
pub(crate) async fn consume(url: &str, count: u64, clock: &Clock) -> anyhow::Result<f64> {
    let (connection, channel) = open(url).await?;
    let mut under_way = std::collections::VecDeque::new();
    for _ in 0..count {
        under_way.push_back(publish(&channel, &push_document()).await?);
        if under_way.len() >= WINDOW
            && let Some(confirm) = under_way.pop_front()
        {
            ensure!(confirm.await?.is_ack(), "the broker refused a message of the bench");
        }
    }
    for confirm in under_way {
        ensure!(confirm.await?.is_ack(), "the broker refused a message of the bench");
    }
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let began = clock.instant();
    let mut consumer = channel.basic_consume(QUEUE.into(), "bench".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    for _ in 0..count {
        let next = tokio::time::timeout(MESSAGE_MAX, next(&mut consumer)).await;
        next.context("the queue gave less than was put in")?.context("the consumer ended")??.ack(BasicAckOptions::default()).await?;
    }
    let elapsed = clock.instant().saturating_duration_since(began);
    connection.close(200, "done".into()).await?;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    Ok(count as f64 / elapsed.as_secs_f64())
}

async fn next(consumer: &mut Consumer) -> Option<lapin::Result<Delivery>> {
    std::future::poll_fn(|context| std::pin::Pin::new(&mut *consumer).poll_next(context)).await
}

async fn publish(channel: &Channel, body: &[u8]) -> lapin::Result<PublisherConfirm> {
    let properties = BasicProperties::default().with_delivery_mode(2);
    channel.basic_publish("".into(), QUEUE.into(), BasicPublishOptions::default(), body, properties).await
}

/// A connection whose one channel confirms, and the queue.
async fn open(url: &str) -> anyhow::Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.context("the bench's RabbitMQ")?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(QUEUE.into(), QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }, arguments).await?;
    Ok((connection, channel))
}
