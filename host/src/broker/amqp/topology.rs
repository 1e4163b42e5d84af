//! Bringing the objects of `names` into being, or finding that they are there.
//!
//! What decides about loss stands in arguments of our own, not in policies: quorum queues, at-least-once dead-lettering, refusal instead of
//! dropping when full. Declaring is idempotent; RabbitMQ refuses where an object exists with other arguments, and that refusal is told as it
//! is, because it names the queue and the argument. Nothing is ever deleted here.

use std::collections::BTreeMap;

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::{
    link::{Lost, within},
    names::{Names, RUNGS},
    onlookers::{EMITS, EVENTS},
};

/// Deliveries of one message before RabbitMQ gives up on it: a net only, our own count of attempts ends far below.
const DELIVERY_LIMIT: i64 = 1000;

/// How objects come into being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The names.
    pub names: Names,
    /// Objects are only looked for: an administrator makes them.
    pub passive: bool,
    /// Messages a plugin's queue holds before it refuses more.
    pub queue_messages_max: u64,
    /// Bytes a plugin's queue holds before it refuses more.
    pub queue_bytes_max: u64,
}

/// One argument of a queue or exchange.
fn arguments(texts: &[(&str, &str)], numbers: &[(&str, u64)]) -> FieldTable {
    let mut table = BTreeMap::new();
    for (name, text) in texts {
        table.insert((*name).into(), AMQPValue::LongString((*text).into()));
    }
    for (name, number) in numbers {
        table.insert((*name).into(), AMQPValue::LongLongInt(i64::try_from(*number).unwrap_or(i64::MAX)));
    }
    table.into()
}

impl Topology {
    /// Everything that is there once.
    pub(super) async fn lay(&self, channel: &Channel) -> Result<(), Lost> {
        let names = &self.names;
        let unrouted = names.unrouted();
        let alternate = || arguments(&[("alternate-exchange", &unrouted)], &[]);
        self.exchange(channel, &unrouted, ExchangeKind::Fanout, FieldTable::default()).await?;
        self.exchange(channel, &names.legs(), ExchangeKind::Direct, alternate()).await?;
        self.exchange(channel, &names.retry(), ExchangeKind::Direct, alternate()).await?;
        self.exchange(channel, &names.dead(), ExchangeKind::Fanout, alternate()).await?;
        for onlookers in [EVENTS, EMITS] {
            self.exchange(channel, onlookers, ExchangeKind::Topic, FieldTable::default()).await?;
        }
        let quorum = || arguments(&[("x-queue-type", "quorum")], &[]);
        self.queue(channel, &unrouted, quorum()).await?;
        self.bind(channel, &unrouted, &unrouted, "").await?;
        self.queue(channel, &names.due(), quorum()).await?;
        self.queue(channel, &names.rejected(), quorum()).await?;
        let mut archived = quorum();
        archived.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        self.queue(channel, &names.dead(), archived).await?;
        self.bind(channel, &names.dead(), &names.dead(), "").await?;
        for rung in RUNGS {
            let texts = [
                ("x-queue-type", "quorum"),
                ("x-dead-letter-exchange", ""),
                ("x-dead-letter-routing-key", &names.due()),
                ("x-dead-letter-strategy", "at-least-once"),
                ("x-overflow", "reject-publish"),
            ];
            let ttl_ms = u64::try_from(rung.wait.as_millis()).unwrap_or(u64::MAX);
            self.queue(channel, &names.wait(rung), arguments(&texts, &[("x-message-ttl", ttl_ms)])).await?;
            self.bind(channel, &names.wait(rung), &names.retry(), rung.name).await?;
        }
        Ok(())
    }

    /// The queue of one plugin, bound to the exchange of legs.
    pub(super) async fn lay_queue(&self, channel: &Channel, queue: &str) -> Result<(), Lost> {
        let dead = self.names.dead();
        let texts = [
            ("x-queue-type", "quorum"),
            ("x-dead-letter-exchange", dead.as_str()),
            ("x-dead-letter-strategy", "at-least-once"),
            ("x-overflow", "reject-publish"),
        ];
        let numbers = [
            ("x-delivery-limit", DELIVERY_LIMIT.unsigned_abs()),
            ("x-max-length", self.queue_messages_max),
            ("x-max-length-bytes", self.queue_bytes_max),
        ];
        self.queue(channel, queue, arguments(&texts, &numbers)).await?;
        self.bind(channel, queue, &self.names.legs(), queue).await
    }

    async fn exchange(&self, channel: &Channel, name: &str, kind: ExchangeKind, arguments: FieldTable) -> Result<(), Lost> {
        let options = ExchangeDeclareOptions { durable: true, passive: self.passive, ..ExchangeDeclareOptions::default() };
        let declared = within("declaring", channel.exchange_declare(name.into(), kind, options, arguments)).await;
        declared.map_err(|lost| self.explain("exchange", name, &lost))
    }

    async fn queue(&self, channel: &Channel, name: &str, arguments: FieldTable) -> Result<(), Lost> {
        let options = QueueDeclareOptions { durable: true, passive: self.passive, ..QueueDeclareOptions::default() };
        let declared = within("declaring", channel.queue_declare(name.into(), options, arguments)).await;
        declared.map(drop).map_err(|lost| self.explain("queue", name, &lost))
    }

    async fn bind(&self, channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), Lost> {
        if self.passive {
            // Nothing in AMQP tells whether a binding is there: what has none goes to the alternate exchange, and is seen there.
            return Ok(());
        }
        let bound = channel.queue_bind(queue.into(), exchange.into(), key.into(), QueueBindOptions::default(), FieldTable::default());
        within("binding", bound).await.map_err(|lost| self.explain("binding of queue", queue, &lost))
    }

    /// What an operator can do about a refusal.
    fn explain(&self, kind: &str, name: &str, Lost(why): &Lost) -> Lost {
        if why.contains("PRECONDITION") {
            return Lost(format!(
                "the {kind} `{name}` is there with other settings than this host's: {why}. Change the configuration to them, or drain the \
                 {kind} and delete it (nothing is deleted by Hookyard)"
            ));
        }
        if why.contains("NOT_FOUND") && self.passive {
            return Lost(format!(
                "the {kind} `{name}` is not there, and `broker.rabbitmq.topology` is \"passive\": have it made as docs/rabbitmq.md says, or \
                 use \"declare\""
            ));
        }
        Lost(format!("the {kind} `{name}`: {why}"))
    }
}
