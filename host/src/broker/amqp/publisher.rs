//! Publishing with confirms: the one way a message of ours reaches RabbitMQ.
//!
//! One task owns the connection and its channel and is the only one to publish on it. That is not style: lapin gives out the number of a
//! confirm and sends the frames under two different locks, so two tasks on one channel may be handed each other's confirms, and a refused
//! message is reported as stored. The owner takes requests in batches, polls each publish for the first time in order, and hands every
//! requester its own confirm to wait for, so that a slow queue delays nobody else's answer.
//!
//! What is known afterwards is one of four words ([`Published`]), and only one of them means that the message is safe. A message that was
//! returned as unroutable says nothing here (lapin attaches returns to the wrong confirms): exchanges that must not lose have an alternate
//! exchange. The connection is for publishing only, because a broker that is short of memory or disk stops reading from it altogether. It is
//! rebuilt for ever; while it is away or blocked, requests are answered at once and nothing is queued in memory.

mod owner;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use lapin::{Channel, Confirmation, PublisherConfirm};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::link::{ANSWER_MAX, Address, Lost};
use crate::tasks::Tasks;
use owner::Owner;

/// Errands that wait for the owner.
const ERRANDS_MAX: usize = 64;
/// Confirms nobody waits for any more are kept by lapin until the channel goes; past so many it has to.
const FORGOTTEN_MAX: u64 = 1024;
/// How a publisher behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The connection's name, for the broker's operator.
    pub name: String,
    /// Messages that wait for their confirm at once.
    pub window_messages: usize,
    /// Their bytes.
    pub window_bytes: usize,
    /// How long a confirm may take before its outcome counts as unknown.
    pub confirm_max: Duration,
}

impl Settings {
    /// 512 messages or 32 MiB under way, ten seconds for a confirm.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), window_messages: 512, window_bytes: 32 * 1024 * 1024, confirm_max: ANSWER_MAX }
    }
}

/// A header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
}

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Message {
    /// The exchange; empty for the default one.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// What consumers tell repeats by.
    pub message_id: String,
    /// Media type of the body.
    pub content_type: &'static str,
    /// Headers.
    pub headers: Vec<(Cow<'static, str>, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// What is known of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// The broker has it, on its disk where the queue is a quorum queue.
    Confirmed,
    /// The broker refused it: a queue it is routed to is full. It may have been stored in others.
    Refused,
    /// It was given to the connection, and no confirm came: it may be there or not. Publish it again.
    Unknown(String),
    /// The broker is away or takes nothing at the moment: nothing was sent.
    NotSent(String),
}

impl Published {
    /// As a label.
    pub(super) fn slug(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::Unknown(_) => "unknown",
            Self::NotSent(_) => "not_sent",
        }
    }
}

/// Whether the broker takes messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connected {
    /// No connection, and why.
    Away(String),
    /// It takes messages.
    Ready,
    /// The broker has raised an alarm and reads nothing; its reason.
    Blocked(String),
}

/// What is done on each new connection before the first message: declaring what it will be published to.
pub type Prepare = Arc<dyn Fn(Channel) -> Pin<Box<dyn Future<Output = Result<(), Lost>> + Send>> + Send + Sync>;

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Publisher(Arc<Shared>);

struct Shared {
    requests: mpsc::Sender<Request>,
    errands: mpsc::Sender<Errand>,
    renew: Arc<Notify>,
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    window_bytes: usize,
    confirm_max: Duration,
    connected: watch::Receiver<Connected>,
}

/// A message for the owner. It answers with `NotSent` in words; a request that is dropped may have been written.
struct Request {
    message: Message,
    sent: oneshot::Sender<Result<Sent, Published>>,
}

/// Something to do on a channel of its own, and where its end is told.
struct Errand {
    work: Prepare,
    done: oneshot::Sender<Result<(), Lost>>,
}

/// A message that was written, and where its confirm will come.
struct Sent {
    confirm: PublisherConfirm,
    session: Arc<Session>,
}

/// One life of the connection.
#[derive(Debug, Default)]
struct Session {
    ended: CancellationToken,
    confirmed: AtomicU64,
    forgotten: AtomicU64,
}

impl Publisher {
    /// Starts the owner; it connects by itself and goes on until the tasks are told to stop.
    #[must_use]
    pub fn start(tasks: &Tasks, address: Address, settings: Settings, prepare: Prepare) -> Self {
        let (requests, taken) = mpsc::channel(settings.window_messages.max(1));
        let (errands, sent_on) = mpsc::channel(ERRANDS_MAX);
        let (sender, connected) = watch::channel(Connected::Away("not connected yet".to_owned()));
        let renew = Arc::new(Notify::new());
        let shared = Shared {
            requests,
            errands,
            renew: Arc::clone(&renew),
            messages: Arc::new(Semaphore::new(settings.window_messages.max(1))),
            bytes: Arc::new(Semaphore::new(settings.window_bytes.max(1))),
            window_bytes: settings.window_bytes.max(1),
            confirm_max: settings.confirm_max,
            connected,
        };
        let owner = Owner { address, settings, prepare, requests: taken, errands: sent_on, renew, connected: sender };
        let stop = tasks.clone();
        tasks.spawn("publish", async move { owner.run(&stop).await });
        Self(Arc::new(shared))
    }

    /// Whether the broker takes messages now, and a way to wait for a change.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<Connected> {
        self.0.connected.clone()
    }

    /// Waits for room in the window, publishes, waits for the confirm. May be dropped at any time; the message may be published then.
    pub async fn publish(&self, message: Message) -> Published {
        let shared = &self.0;
        if let Some(not_sent) = not_now(&shared.connected.borrow()) {
            return not_sent;
        }
        let Some(_room) = self.room(message.body.len()).await else { return Published::NotSent("the publisher has ended".to_owned()) };
        let (sender, sent) = oneshot::channel();
        if shared.requests.send(Request { message, sent: sender }).await.is_err() {
            return Published::NotSent("the publisher has ended".to_owned());
        }
        match tokio::time::timeout(shared.confirm_max, sent).await {
            Ok(Ok(Ok(sent))) => sent.confirmation(shared.confirm_max).await,
            Ok(Ok(Err(not_sent))) => not_sent,
            Ok(Err(_)) => Published::Unknown("the connection ended while it was written".to_owned()),
            Err(_) => Published::Unknown("it could not be written in time".to_owned()),
        }
    }

    /// Does something on a channel of its own of the same connection, between two batches: declaring what is published to next.
    ///
    /// # Errors
    /// There is no connection, or the work's own.
    pub async fn run_errand(&self, work: Prepare) -> Result<(), Lost> {
        let ended = || Lost("the publisher has ended".to_owned());
        let (done, told) = oneshot::channel();
        self.0.errands.send(Errand { work, done }).await.map_err(|_| ended())?;
        told.await.unwrap_or_else(|_| Err(Lost("the connection ended meanwhile".to_owned())))
    }

    /// Goes on with another channel, at most once in ten seconds. A channel of RabbitMQ (3.10.8) that has published to a quorum queue while it
    /// had no leader may be refused by that queue for as long as it lives, though the queue has room.
    pub fn renew(&self) {
        self.0.renew.notify_one();
    }

    async fn room(&self, bytes: usize) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let message = Arc::clone(&self.0.messages).acquire_owned().await.ok()?;
        let permits = u32::try_from(bytes.clamp(1, self.0.window_bytes)).ok()?;
        let bytes = Arc::clone(&self.0.bytes).acquire_many_owned(permits).await.ok()?;
        Some((message, bytes))
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("connected", &*self.0.connected.borrow()).finish_non_exhaustive()
    }
}

impl Request {
    fn refuse(self, connected: &Connected) {
        let why = not_now(connected).unwrap_or_else(|| Published::NotSent("the connection is being opened".to_owned()));
        let _ = self.sent.send(Err(why));
    }
}

impl Sent {
    async fn confirmation(self, confirm_max: Duration) -> Published {
        let Self { confirm, session } = self;
        let confirmed_before = session.confirmed.load(Ordering::Relaxed);
        let answer = tokio::select! {
            answer = tokio::time::timeout(confirm_max, confirm) => answer,
            () = session.ended.cancelled() => return Published::Unknown("the connection was lost before the confirm".to_owned()),
        };
        match answer {
            Ok(Ok(Confirmation::Ack(_))) => {
                session.confirmed.fetch_add(1, Ordering::Relaxed);
                Published::Confirmed
            }
            Ok(Ok(Confirmation::Nack(_))) => {
                session.confirmed.fetch_add(1, Ordering::Relaxed);
                Published::Refused
            }
            Ok(Ok(Confirmation::NotRequested)) => {
                session.ended.cancel();
                Published::Unknown("the channel does not confirm".to_owned())
            }
            Ok(Err(error)) => Published::Unknown(format!("no confirm: {error}")),
            Err(_) => {
                // Nothing at all was confirmed meanwhile: not one slow queue, the whole connection.
                let stalled = session.confirmed.load(Ordering::Relaxed) == confirmed_before;
                if session.forgotten.fetch_add(1, Ordering::Relaxed) >= FORGOTTEN_MAX || stalled {
                    session.ended.cancel();
                }
                Published::Unknown(format!("no confirm within {} s", confirm_max.as_secs()))
            }
        }
    }
}

/// Why nothing can be sent in this state.
fn not_now(connected: &Connected) -> Option<Published> {
    match connected {
        Connected::Ready => None,
        Connected::Away(why) => Some(Published::NotSent(why.clone())),
        Connected::Blocked(why) => Some(Published::NotSent(format!("the broker is blocked: {why}"))),
    }
}
