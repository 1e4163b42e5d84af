//! What is done with a message, by where it came from. Nothing is acknowledged before what it stands for is safe somewhere else.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lapin::{
    message::Delivery as Received,
    types::{FieldTable, ShortString},
};
use tokio::sync::watch;

use super::{
    envelope::{Genuine, Unreadable},
    headers::{self, Headers},
    inbox::{Held, Inbox},
    intake::Source,
    names::{RUNGS, Rung},
    opening::{Opened, Opening},
    publisher::{HeaderValue, Message, Published},
    rejection::Rejection,
    relay::Relay,
    sieve::{WITHOUT_BODY, WITHOUT_PROPERTIES},
};
use crate::{ledger::Arrived, observe::facts::MessageRejected};

/// Before a message that cannot be dealt with now is given back: it comes again at once.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a message waits whose queue is full or was not there.
const AGAIN_S: u64 = 5;
/// How long a message waits that only a later version can read.
const NEWER_S: u64 = 30;
/// How far the clocks of two hosts may be apart: a retry that one has called due does not wait again for the other.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(2);

/// Deals with messages.
#[derive(Debug)]
pub(super) struct Handling {
    pub(super) relay: Arc<Relay>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) opening: Opening,
    /// Told once when a leg of another host comes.
    pub(super) foreign: watch::Sender<bool>,
}

/// A message as it came, which nobody believes yet.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    id: String,
    table: Option<FieldTable>,
    body: Bytes,
    /// The sieve has taken something out of it.
    cut: Option<&'static str>,
    /// The queue it came from.
    queue: String,
}

/// What a message became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It can go.
    Done,
    /// It is held for its leg.
    Held,
    /// It must come again.
    Again,
}

impl Raw {
    pub(super) fn new(received: Received, queue: String) -> Self {
        let id = received.properties.message_id().as_ref().map_or_else(String::new, ToString::to_string);
        let content_type = received.properties.content_type().as_ref().map(ShortString::as_str);
        let cut = [
            (
                WITHOUT_PROPERTIES,
                "its properties are longer, nest deeper or have more values than any of ours, or are no text where they must be",
            ),
            (WITHOUT_BODY, "it is longer than any message of ours"),
        ];
        let cut = cut.into_iter().find(|(cut, _)| content_type == Some(cut)).map(|(_, words)| words);
        Self { id, table: received.properties.headers().clone(), body: received.data.into(), cut, queue }
    }
}

impl Handling {
    /// For what a relay's publisher and ledger belong to.
    pub(super) fn new(relay: Arc<Relay>, foreign: watch::Sender<bool>) -> Self {
        Self { inbox: Arc::clone(&relay.inbox), opening: Opening::new(Arc::clone(&relay.decoder), relay.shares.clone()), relay, foreign }
    }

    /// The queue of a source.
    pub(super) fn queue_of(&self, source: &Source) -> String {
        let names = &self.relay.topology.names;
        match source {
            Source::Legs(tenant, plugin) => names.queue(tenant, plugin),
            Source::Due => names.due(),
            Source::Unrouted => names.unrouted(),
            Source::Dead => names.dead(),
        }
    }

    /// The message whose seal holds; only what it says is acted on.
    pub(super) fn genuine(&self, raw: &Raw) -> Result<Genuine, Rejection> {
        if let Some(cut) = raw.cut {
            return Err(Rejection::Uncarried(cut));
        }
        self.opening.decoder.open(&raw.id, raw.table.as_ref(), &raw.body)
    }

    /// Deals with one message.
    pub(super) async fn handle(&self, received: Received, channel: u64, source: &Source) {
        let message = self.inbox.message(received.acker.clone(), channel);
        let raw = Raw::new(received, self.queue_of(source));
        let dealt = match self.genuine(&raw) {
            Ok(genuine) => match source {
                Source::Legs(..) => self.leg(&genuine, source, &message).await,
                Source::Due => self.due(&genuine).await,
                Source::Unrouted => self.unrouted(&genuine).await,
                Source::Dead => self.archive(&genuine).await,
            },
            Err(rejection) => Err(rejection),
        };
        let fate = match dealt {
            Ok(fate) => fate,
            Err(rejection) => self.reject(raw, &rejection).await,
        };
        match fate {
            Fate::Done => message.ack().await,
            Fate::Held => {}
            Fate::Again => {
                tokio::time::sleep(PAUSE).await;
                message.give_back().await;
            }
        }
    }

    async fn leg(&self, genuine: &Genuine, source: &Source, message: &Held) -> Result<Fate, Rejection> {
        if genuine.headers().death()?.is_some() {
            return Err(Rejection::Misplaced("it is a dead letter, in a queue of legs that run"));
        }
        if let Some(rung) = self.wait(genuine, CLOCKS_APART_MAX)? {
            return self.pass_on(genuine, Some(rung)).await;
        }
        match self.opening.open(genuine).await {
            Ok(opened) if source.may_hold(&opened.arrival) => Ok(self.arrive(opened, genuine.headers(), message).await),
            Ok(_) => Err(Rejection::Misplaced("it says it is another queue's")),
            Err(newer @ Unreadable::Newer(_)) => {
                tracing::warn!(message_id = genuine.id(), %newer, "envelope_left_to_others");
                self.pass_on(genuine, Some(Rung::not_before(Duration::from_secs(NEWER_S)))).await
            }
            Err(Unreadable::Rejected(rejection)) => Err(rejection),
        }
    }

    /// The wait that is still before a message, where that is longer than what does not count.
    fn wait(&self, genuine: &Genuine, beyond: Duration) -> Result<Option<Rung>, Rejection> {
        let due_at = genuine.headers().due_at()?;
        let wait = due_at.map(|due_at| due_at.since(self.relay.clock.now()));
        Ok(wait.filter(|wait| *wait > beyond).map(Rung::not_before))
    }

    async fn due(&self, genuine: &Genuine) -> Result<Fate, Rejection> {
        let wait = self.wait(genuine, Duration::ZERO)?;
        self.pass_on(genuine, wait).await
    }

    async fn arrive(&self, Opened { arrival, held }: Opened, headers: &Headers, message: &Held) -> Fate {
        if headers.origin() != Some(self.relay.origin) {
            self.foreign.send_if_modified(|foreign| !std::mem::replace(foreign, true));
        }
        let leg = arrival.leg.clone();
        self.inbox.hold(&leg, message.clone());
        let arrived = self.relay.ledger.arrive(arrival).await;
        drop(held);
        match arrived {
            Ok(Arrived::Ready | Arrived::AlreadyHere) => {
                for older in self.inbox.older(&leg) {
                    older.ack().await;
                }
                Fate::Held
            }
            Ok(Arrived::Stale) => {
                self.inbox.let_go(&leg, message);
                Fate::Done
            }
            Ok(Arrived::Busy) => {
                self.inbox.let_go(&leg, message);
                Fate::Again
            }
            Err(error) => {
                tracing::warn!(leg_id = %leg, %error, "leg_not_taken_in");
                self.inbox.let_go(&leg, message);
                Fate::Again
            }
        }
    }

    /// To the leg's queue, or to a wait before it. A queue that refuses costs its own message a wait, and nobody else anything.
    async fn pass_on(&self, genuine: &Genuine, wait: Option<Rung>) -> Result<Fate, Rejection> {
        let names = &self.relay.topology.names;
        let (tenant, plugin) = genuine.headers().queue()?;
        let again = Rung::not_before(Duration::from_secs(AGAIN_S));
        let wait = wait.or_else(|| self.relay.queues.drops(&names.queue(&tenant, &plugin)).then_some(again));
        match self.relay.publisher.publish(genuine.passed_on(names, wait)?).await {
            Published::Confirmed => Ok(Fate::Done),
            Published::Refused if wait.is_none() => Ok(self.publish(genuine.passed_on(names, Some(again))?).await),
            Published::Refused | Published::Unknown(_) | Published::NotSent(_) => Ok(Fate::Again),
        }
    }

    /// The queue was not there: it is made, and the message tries again. Not at once, because RabbitMQ (3.10.8) does not tell consumers of a quorum
    /// queue that it was deleted where another of the same name is there before it has: they would hold its messages and never see them.
    async fn unrouted(&self, genuine: &Genuine) -> Result<Fate, Rejection> {
        let (tenant, plugin) = genuine.headers().queue()?;
        tracing::warn!(%tenant, %plugin, message_id = genuine.id(), "leg_found_no_queue");
        tokio::time::sleep(PAUSE).await;
        self.relay.queues.forget();
        if let Err(lost) = self.relay.lay(&tenant, &plugin).await {
            tracing::warn!(%tenant, %plugin, %lost, "queue_not_laid");
        }
        self.pass_on(genuine, Some(Rung::not_before(Duration::from_secs(AGAIN_S)))).await
    }

    async fn archive(&self, genuine: &Genuine) -> Result<Fate, Rejection> {
        let Some(death) = genuine.headers().death()? else {
            // RabbitMQ gave up on it, we did not: our own count of attempts decides.
            tracing::warn!(message_id = genuine.id(), "dead_letter_of_the_broker_put_back");
            return self.pass_on(genuine, Some(RUNGS[0])).await;
        };
        let opened = match self.opening.open(genuine).await {
            Ok(opened) => opened,
            Err(Unreadable::Newer(_)) => return Ok(Fate::Again),
            Err(Unreadable::Rejected(rejection)) => return Err(rejection),
        };
        let archived = self.relay.ledger.archive(opened.arrival, death).await;
        drop(opened.held);
        match archived {
            Ok(true) => Ok(Fate::Done),
            Ok(false) => Ok(Fate::Again),
            Err(error) => {
                tracing::warn!(message_id = genuine.id(), %error, "dead_letter_not_archived");
                Ok(Fate::Again)
            }
        }
    }

    /// Puts a message aside that is not believed, as it came: it may be evidence, and where only a key was missing it can be put back.
    pub(super) async fn reject(&self, Raw { id, table, body, queue, .. }: Raw, rejection: &Rejection) -> Fate {
        let fact = MessageRejected { reason: rejection.slug(), queue, bytes: body.len(), detail: rejection.to_string() };
        self.relay.observer.record(&fact);
        let why = [(headers::WHY, fact.detail), (headers::REJECTION, fact.reason.to_owned()), (headers::QUEUE, fact.queue)];
        let why = why.into_iter().map(|(name, text)| (name.into(), HeaderValue::Text(text)));
        let message = Message {
            exchange: String::new(),
            routing_key: self.relay.topology.names.rejected(),
            message_id: id,
            content_type: "application/octet-stream",
            headers: Headers::evidence(table.as_ref()).into_iter().map(|(name, value)| (name.into(), value)).chain(why).collect(),
            body,
        };
        self.publish(message).await
    }

    async fn publish(&self, message: Message) -> Fate {
        match self.relay.publisher.publish(message).await {
            Published::Confirmed => Fate::Done,
            Published::Refused | Published::Unknown(_) | Published::NotSent(_) => Fate::Again,
        }
    }

    /// A channel has ended: legs whose last message came on it are RabbitMQ's again, unless they run.
    pub(super) async fn lost(&self, channel: u64) {
        for leg in self.inbox.lost(channel) {
            if let Err(error) = self.relay.ledger.retract(&leg).await {
                tracing::warn!(leg_id = %leg, %error, "leg_not_retracted");
            }
        }
    }

    /// A queue is not served any more: what does not run yet goes back, for others to run.
    pub(super) async fn give_back(&self, channel: u64) {
        for leg in self.inbox.legs_of(channel) {
            match self.relay.ledger.retract(&leg).await {
                Ok(true) => {
                    for message in self.inbox.settled(&leg) {
                        message.give_back().await;
                    }
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(leg_id = %leg, %error, "leg_not_retracted"),
            }
        }
    }
}
