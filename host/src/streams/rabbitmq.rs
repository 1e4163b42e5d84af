//! RabbitMQ for onlookers: a topic exchange they bind their own queues to.
//!
//! A key is made by the host, of names that operators wrote and words that are known, so that no plugin and no stranger can make one that looks
//! like somebody else's; emits have an exchange of their own. A message nobody has bound a queue for is confirmed and gone: who wants to miss
//! nothing binds a queue before. A queue that is full and refuses keeps the message from nobody else: it is counted, not sent again, since
//! every repeat would reach all the others once more.

use std::{sync::Arc, time::Duration};

use super::{
    events,
    outlet::{Failure, Unconfirmed},
    record::{Message, Record},
};
use crate::{
    broker::amqp::{self, Address, Connected, EMITS, EVENTS, HeaderValue, Published, Publisher, PublisherSettings},
    ledger::Followed,
    tasks::Tasks,
};

/// How long a connection may take to be there before the stream says why it is not.
const READY_MAX: Duration = Duration::from_secs(10);
/// Longest key AMQP 0-9-1 can carry.
const KEY_BYTES_MAX: usize = 255;
/// The word of a delivery without an action.
const NO_ACTION: &str = "none";

/// A RabbitMQ and how it is written to.
#[derive(Clone, Debug)]
pub struct RabbitmqSettings {
    /// Where it is.
    pub address: Address,
    /// The broker's cap: a bigger payload is left out of its message.
    pub message_bytes_max: usize,
    /// The operator's subscriptions: event names in it are known.
    pub events: Vec<String>,
}

/// A connection that keeps itself.
pub(super) struct Rabbitmq {
    publisher: Publisher,
    settings: Arc<RabbitmqSettings>,
    exchange: &'static str,
}

impl Rabbitmq {
    pub(super) fn start(settings: Arc<RabbitmqSettings>, name: &str, followed: Followed, tasks: &Tasks) -> Self {
        let exchange = match followed {
            Followed::Deliveries => EVENTS,
            Followed::Emits => EMITS,
        };
        let publishing = PublisherSettings::new(format!("hookyard stream {name}"));
        let publisher = Publisher::start(tasks, settings.address.clone(), publishing, amqp::topic_exchange(exchange));
        Self { publisher, settings, exchange }
    }

    /// Waits until the broker takes messages.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        let mut connected = self.publisher.connected();
        let is_ready = tokio::time::timeout(READY_MAX, connected.wait_for(|connected| *connected == Connected::Ready)).await;
        if matches!(is_ready, Ok(Ok(_))) { Ok(()) } else { self.still_ready() }
    }

    pub(super) fn still_ready(&self) -> Result<(), Failure> {
        match &*self.publisher.connected().borrow() {
            Connected::Ready => Ok(()),
            Connected::Away(why) => Err(Failure(format!("RabbitMQ: {why}"))),
            Connected::Blocked(why) => Err(Failure(format!("RabbitMQ takes nothing at the moment: {why}"))),
        }
    }

    /// Publishes all and waits for their confirms; how many some queue has refused.
    pub(super) async fn publish(&self, messages: &[Message]) -> Result<usize, Unconfirmed> {
        let told = self.publisher.publish_all(messages.iter().map(|message| self.message(message)).collect()).await;
        for (confirmed, published) in told.iter().enumerate() {
            if let Published::Unknown(why) | Published::NotSent(why) = published {
                return Err(Unconfirmed { confirmed, failure: Failure(format!("RabbitMQ: {why}")) });
            }
        }
        Ok(told.iter().filter(|published| **published == Published::Refused).count())
    }

    fn message(&self, message: &Message) -> amqp::Message {
        let mut headers: Vec<_> =
            message.record.attributes().into_iter().map(|(name, value)| (name.into(), HeaderValue::Text(value))).collect();
        headers.push(("content_type".into(), HeaderValue::Text(message.content_type.clone())));
        let mut body = message.payload.clone();
        if body.len() > self.settings.message_bytes_max {
            headers.push(("omitted_bytes".into(), HeaderValue::Number(i64::try_from(body.len()).unwrap_or(i64::MAX))));
            body.clear();
        }
        amqp::Message {
            exchange: self.exchange.to_owned(),
            routing_key: key(&message.record, &self.settings.events),
            message_id: message.record.id().into_owned(),
            content_type: match message.content_type.as_str() {
                "application/json" => "application/json",
                "application/cloudevents+json" => "application/cloudevents+json",
                // A plugin's own word, which the header tells.
                _ => "application/octet-stream",
            },
            headers,
            body,
        }
    }
}

/// `ev.<tenant>.<source>.<event>.<action>` or `emit.<tenant>.<plugin>.<name>`. Tenants, sources and plugins have no dots; a name of an emit may
/// have some, behind all of ours.
fn key(record: &Record, named: &[String]) -> String {
    match record {
        Record::Delivery(delivery) => {
            let event = events::key(&delivery.event, named);
            let key = |action: &str| format!("ev.{}.{}.{event}.{action}", delivery.tenant, delivery.source);
            // The document says the action: it must be one word, and it must fit.
            let is_word = |action: &&str| !action.is_empty() && action.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            let action = delivery.action.as_deref().map_or(NO_ACTION, |action| Some(action).filter(is_word).unwrap_or(events::OTHER));
            Some(key(action)).filter(|key| key.len() <= KEY_BYTES_MAX).unwrap_or_else(|| key(events::OTHER))
        }
        Record::Emit(emit) => format!("emit.{}.{}.{}", emit.tenant, emit.plugin, emit.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{envelope::tests::emitted, template::tests::delivery};

    fn key_of(event: &str, action: Option<&str>) -> String {
        key(&Record::Delivery(delivery(event, action, "{}")), &[])
    }

    #[test]
    fn a_key_has_five_words_whatever_the_sender_says() {
        assert_eq!(key_of("pull_request", Some("opened")), "ev.red.github.pull_request.opened");
        assert_eq!(key_of("push", None), "ev.red.github.push.none");
        for hostile in ["a.b", "#", "*", "", "Opened", "ö", "a b"] {
            assert_eq!(key_of("push", Some(hostile)), "ev.red.github.push.other", "{hostile}");
        }
        assert_eq!(key_of("invented", Some("opened")), "ev.red.github.other.opened");
    }

    #[test]
    fn whatever_a_plugin_calls_its_emit_stands_behind_the_hosts_words() {
        for name in ["labelled", "ev.blue.github.push.none"] {
            assert_eq!(key(&emitted(name, "", b""), &[]), format!("emit.red.labels.{name}"));
        }
    }

    #[test]
    fn the_longest_key_fits() {
        let mut longest = delivery("secret_scanning_alert_location", Some(&"a".repeat(64)), "{}");
        longest.tenant = "t".repeat(63).parse().unwrap();
        longest.source = "s".repeat(63).parse().unwrap();
        let event = "e".repeat(64);
        longest.event.clone_from(&event);
        let key = key(&Record::Delivery(longest), &[event]);
        assert!(key.len() <= KEY_BYTES_MAX && key.rsplit('.').next() == Some(events::OTHER), "{key}");
    }
}
