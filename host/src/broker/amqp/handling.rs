//! What is done with a message, by where it came from. Nothing is acknowledged before what it stands for is safe somewhere else.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lapin::message::Delivery as Received;
use tokio::sync::watch;

use super::{
    envelope::{Decoder, Headers, Unreadable},
    inbox::{Held, Inbox},
    intake::Source,
    names::{RUNGS, Rung},
    publisher::{HeaderValue, Message, Published},
    relay::Relay,
};
use crate::ledger::{Arrival, Arrived};

/// Before a message that cannot be dealt with now is given back: it comes again at once.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a message waits whose queue is full or was not there.
const AGAIN_S: u64 = 5;

/// Deals with messages.
#[derive(Debug)]
pub(super) struct Handling {
    pub(super) relay: Arc<Relay>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) decoder: Decoder,
    /// Told once when a leg of another host comes.
    pub(super) foreign: watch::Sender<bool>,
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

impl Handling {
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

    /// Deals with one message.
    pub(super) async fn handle(&self, received: Received, channel: u64, source: &Source) {
        let message = self.inbox.message(received.acker.clone(), channel);
        let headers = Headers::read(received.properties.headers().as_ref());
        let id = received.properties.message_id().as_ref().map_or_else(String::new, ToString::to_string);
        let body = Bytes::from(received.data);
        let fate = match source {
            Source::Legs(..) => match self.decoder.decode(&body, &headers) {
                Ok(arrival) if source.may_hold(&arrival) && is_of(&headers, &arrival) => self.arrive(arrival, &headers, &message).await,
                Ok(_) => self.reject(body, "it says it is another queue's").await,
                Err(unreadable) => self.unreadable(unreadable, &headers, (body, id)).await,
            },
            Source::Due => {
                let wait = headers.due_at().map(|due| due.since(self.relay.clock.now())).filter(|wait| !wait.is_zero());
                self.pass_on(&headers, (body, id), wait.map(Rung::not_before)).await
            }
            Source::Unrouted => self.unrouted(&headers, (body, id)).await,
            Source::Dead => self.archive(&headers, (body, id)).await,
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

    async fn arrive(&self, arrival: Arrival, headers: &Headers, message: &Held) -> Fate {
        if headers.origin() != Some(self.relay.origin) {
            self.foreign.send_if_modified(|foreign| !std::mem::replace(foreign, true));
        }
        let leg = arrival.leg.clone();
        self.inbox.hold(&leg, message.clone());
        match self.relay.ledger.arrive(arrival).await {
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
                tracing::warn!(%leg, %error, "leg_not_taken_in");
                self.inbox.let_go(&leg, message);
                Fate::Again
            }
        }
    }

    async fn unreadable(&self, unreadable: Unreadable, headers: &Headers, (body, id): (Bytes, String)) -> Fate {
        match unreadable {
            Unreadable::Newer(_) => {
                tracing::warn!(message = id, %unreadable, "envelope_left_to_others");
                self.pass_on(headers, (body, id), Some(Rung::not_before(Duration::from_secs(30)))).await
            }
            Unreadable::Foreign(why) => self.reject(body, why).await,
        }
    }

    /// To the leg's queue, or to a wait before it. A queue that refuses costs its own message a wait, and nobody else anything.
    async fn pass_on(&self, headers: &Headers, (body, id): (Bytes, String), wait: Option<Rung>) -> Fate {
        let names = &self.relay.topology.names;
        let may_drop = || headers.queue().is_some_and(|(tenant, plugin)| self.relay.queues.drops(&names.queue(&tenant, &plugin)));
        let wait = wait.or_else(|| may_drop().then(|| Rung::not_before(Duration::from_secs(AGAIN_S))));
        let Some(message) = headers.passed_on(names, body.clone(), id.clone(), wait) else {
            return self.reject(body, "its headers do not say whose it is").await;
        };
        match self.relay.publisher.publish(message).await {
            Published::Confirmed => Fate::Done,
            Published::Refused if wait.is_none() => {
                let again = headers.passed_on(names, body, id, Some(Rung::not_before(Duration::from_secs(AGAIN_S))));
                match again {
                    Some(again) => self.publish(again).await,
                    None => Fate::Again,
                }
            }
            Published::Refused | Published::Unknown(_) | Published::NotSent(_) => Fate::Again,
        }
    }

    /// The queue was not there: it is made, and the message tries again. Not at once, because RabbitMQ (3.10.8) does not tell consumers of a quorum
    /// queue that it was deleted where another of the same name is there before it has: they would hold its messages and never see them.
    async fn unrouted(&self, headers: &Headers, (body, id): (Bytes, String)) -> Fate {
        if let Some((tenant, plugin)) = headers.queue() {
            tracing::warn!(%tenant, %plugin, message = id, "leg_found_no_queue");
            tokio::time::sleep(PAUSE).await;
            self.relay.queues.forget();
            if let Err(lost) = self.relay.lay(&tenant, &plugin).await {
                tracing::warn!(%tenant, %plugin, %lost, "queue_not_laid");
            }
        }
        self.pass_on(headers, (body, id), Some(Rung::not_before(Duration::from_secs(AGAIN_S)))).await
    }

    async fn archive(&self, headers: &Headers, (body, id): (Bytes, String)) -> Fate {
        let Some(death) = headers.death() else {
            // RabbitMQ gave up on it, we did not: our own count of attempts decides.
            tracing::warn!(message = id, "dead_letter_of_the_broker_put_back");
            return self.pass_on(headers, (body, id), Some(RUNGS[0])).await;
        };
        match self.decoder.decode(&body, headers) {
            Ok(arrival) if is_of(headers, &arrival) => match self.relay.ledger.archive(arrival, death).await {
                Ok(true) => Fate::Done,
                Ok(false) => Fate::Again,
                Err(error) => {
                    tracing::warn!(message = id, %error, "dead_letter_not_archived");
                    Fate::Again
                }
            },
            Ok(_) => self.reject(body, "its head and its headers name two legs").await,
            Err(Unreadable::Newer(_)) => Fate::Again,
            Err(Unreadable::Foreign(why)) => self.reject(body, why).await,
        }
    }

    /// Puts a message aside that is no leg of ours: it may be evidence.
    pub(super) async fn reject(&self, body: Bytes, why: &'static str) -> Fate {
        tracing::error!(why, bytes = body.len(), "message_rejected");
        let message = Message {
            exchange: String::new(),
            routing_key: self.relay.topology.names.rejected(),
            message_id: String::new(),
            content_type: "application/octet-stream",
            headers: vec![("hookyard-why", HeaderValue::Text(why.to_owned()))],
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
                tracing::warn!(%leg, %error, "leg_not_retracted");
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
                Err(error) => tracing::warn!(%leg, %error, "leg_not_retracted"),
            }
        }
    }
}

/// Whether the headers, which decide about its way, name the leg of the head, which decides what runs.
pub(super) fn is_of(headers: &Headers, arrival: &Arrival) -> bool {
    headers.queue().is_some_and(|(tenant, plugin)| tenant == arrival.delivery.tenant && plugin == arrival.leg.plugin)
}
