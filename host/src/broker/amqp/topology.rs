//! Bringing what `plan` says into being, or finding that it is there.
//!
//! Declaring is idempotent; RabbitMQ refuses where an object exists with other arguments, and that refusal is told as it is, because it names
//! the queue and the argument. Nothing is ever deleted here.

use std::collections::BTreeMap;

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::{
    link::{Lost, within},
    names::Names,
    plan::{Argument, Arguments, BindingPlan, Plan},
};

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

/// Arguments as they go over the wire.
fn table(arguments: &Arguments) -> FieldTable {
    let value = |argument: &Argument| match argument {
        Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
        Argument::Number(number) => AMQPValue::LongLongInt(i64::try_from(*number).unwrap_or(i64::MAX)),
        Argument::Truth(truth) => AMQPValue::Boolean(*truth),
    };
    let table: BTreeMap<_, _> = arguments.iter().map(|(name, argument)| ((*name).into(), value(argument))).collect();
    table.into()
}

impl Topology {
    /// Everything that is there once.
    pub(super) async fn lay(&self, channel: &Channel) -> Result<(), Lost> {
        self.carry_out(channel, &Plan::once(&self.names)).await
    }

    /// The queue of one plugin, bound to the exchange of legs.
    pub(super) async fn lay_queue(&self, channel: &Channel, queue: &str) -> Result<(), Lost> {
        self.carry_out(channel, &self.plan_of(queue)).await
    }

    /// What the queue of one plugin is made of.
    pub(super) fn plan_of(&self, queue: &str) -> Plan {
        Plan::of_plugin(&self.names, queue, (self.queue_messages_max, self.queue_bytes_max))
    }

    async fn carry_out(&self, channel: &Channel, plan: &Plan) -> Result<(), Lost> {
        for exchange in &plan.exchanges {
            self.exchange(channel, &exchange.name, exchange.kind.clone(), table(&exchange.arguments)).await?;
        }
        for queue in &plan.queues {
            self.queue(channel, &queue.name, table(&queue.arguments)).await?;
        }
        for BindingPlan { queue, exchange, key } in &plan.bindings {
            self.bind(channel, queue, exchange, key).await?;
        }
        Ok(())
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
