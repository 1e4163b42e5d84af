//! What everything at RabbitMQ is made of: pure. `topology` brings it into being, `audit` compares what is there with it.
//!
//! What decides about loss stands in arguments of our own: quorum queues, at-least-once dead-lettering, refusal instead of dropping when full.

use lapin::ExchangeKind;

use super::{
    names::{Names, RUNGS},
    onlookers::{EMITS, EVENTS},
};

/// Deliveries of one message before RabbitMQ gives up on it: a net only, our own count of attempts ends far below.
const DELIVERY_LIMIT: u64 = 1000;

/// What is put aside, at most: beyond it the oldest goes. A queue that refused instead would leave what nobody believes in the queues of legs.
const REJECTED_MESSAGES_MAX: u64 = 10_000;
/// Its bytes.
const REJECTED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// An argument of a queue or an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Text(String),
    Number(u64),
    Truth(bool),
}

/// Arguments by name.
pub(super) type Arguments = Vec<(&'static str, Argument)>;

/// A durable exchange.
#[derive(Clone, Debug)]
pub(super) struct ExchangePlan {
    pub(super) name: String,
    pub(super) kind: ExchangeKind,
    pub(super) arguments: Arguments,
}

/// A durable queue.
#[derive(Clone, Debug)]
pub(super) struct QueuePlan {
    pub(super) name: String,
    pub(super) arguments: Arguments,
}

/// A queue's binding.
#[derive(Clone, Debug)]
pub(super) struct BindingPlan {
    pub(super) exchange: String,
    pub(super) queue: String,
    pub(super) key: String,
}

/// Objects in the order they are made in.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) exchanges: Vec<ExchangePlan>,
    pub(super) queues: Vec<QueuePlan>,
    pub(super) bindings: Vec<BindingPlan>,
}

fn text(text: impl Into<String>) -> Argument {
    Argument::Text(text.into())
}

impl Plan {
    /// Everything that is there once.
    pub(super) fn once(names: &Names) -> Self {
        let mut plan = Self::default();
        let alternate = || vec![("alternate-exchange", text(names.unrouted()))];
        plan.exchange(names.unrouted(), ExchangeKind::Fanout, Vec::new());
        plan.exchange(names.legs(), ExchangeKind::Direct, alternate());
        plan.exchange(names.retry(), ExchangeKind::Direct, alternate());
        plan.exchange(names.dead(), ExchangeKind::Fanout, alternate());
        for onlookers in [EVENTS, EMITS] {
            plan.exchange(onlookers.to_owned(), ExchangeKind::Topic, Vec::new());
        }
        plan.queue(names.unrouted(), Vec::new());
        plan.bind(names.unrouted(), names.unrouted(), "");
        plan.queue(names.due(), Vec::new());
        let rejected = vec![
            ("x-overflow", text("drop-head")),
            ("x-max-length", Argument::Number(REJECTED_MESSAGES_MAX)),
            ("x-max-length-bytes", Argument::Number(REJECTED_BYTES_MAX)),
        ];
        plan.queue(names.rejected(), rejected);
        plan.queue(names.dead(), vec![("x-single-active-consumer", Argument::Truth(true))]);
        plan.bind(names.dead(), names.dead(), "");
        for rung in RUNGS {
            let ttl_ms = u64::try_from(rung.wait.as_millis()).unwrap_or(u64::MAX);
            let arguments = vec![
                ("x-dead-letter-exchange", text("")),
                ("x-dead-letter-routing-key", text(names.due())),
                ("x-dead-letter-strategy", text("at-least-once")),
                ("x-overflow", text("reject-publish")),
                ("x-message-ttl", Argument::Number(ttl_ms)),
            ];
            plan.queue(names.wait(rung), arguments);
            plan.bind(names.wait(rung), names.retry(), rung.name);
        }
        plan
    }

    /// The queue of one plugin, which holds so much before it refuses more.
    pub(super) fn of_plugin(names: &Names, queue: &str, (messages_max, bytes_max): (u64, u64)) -> Self {
        let mut plan = Self::default();
        let arguments = vec![
            ("x-dead-letter-exchange", text(names.dead())),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
            ("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)),
            ("x-max-length", Argument::Number(messages_max)),
            ("x-max-length-bytes", Argument::Number(bytes_max)),
        ];
        plan.queue(queue.to_owned(), arguments);
        plan.bind(queue.to_owned(), names.legs(), queue);
        plan
    }

    /// Both, one after the other.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.exchanges.extend(other.exchanges);
        self.queues.extend(other.queues);
        self.bindings.extend(other.bindings);
        self
    }

    fn exchange(&mut self, name: String, kind: ExchangeKind, arguments: Arguments) {
        self.exchanges.push(ExchangePlan { name, kind, arguments });
    }

    fn queue(&mut self, name: String, mut arguments: Arguments) {
        arguments.push(("x-queue-type", text("quorum")));
        self.queues.push(QueuePlan { name, arguments });
    }

    fn bind(&mut self, queue: String, exchange: String, key: &str) {
        self.bindings.push(BindingPlan { exchange, queue, key: key.to_owned() });
    }
}
