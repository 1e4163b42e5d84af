//! The queue a host uses: the one place that names an engine.

use std::sync::Arc;

use crate::{
    broker::{Amqp, Broker, DeadLetters, Embedded, Kind, amqp},
    config::Roles,
    ledger::{KeptElsewhere, Ledger},
};

/// An engine.
#[derive(Clone, Debug)]
pub(super) enum Queue {
    Embedded(Arc<Embedded>),
    RabbitMq(Arc<Amqp>),
}

/// The configured broker is not the one that has the legs this host once accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitsElsewhere {
    /// They are at RabbitMQ, and the embedded queue is configured.
    #[error(
        "{legs} legs of this host are in RabbitMQ's keeping, and `broker.kind` is \"embedded\": they would not run. Take them back with \
         `hookyard queue migrate --to embedded`, or go on with `broker.kind = \"rabbitmq\"`"
    )]
    AtRabbitMq {
        /// How many.
        legs: u64,
    },
    /// They are at RabbitMQ, from a version whose messages had no seals.
    #[error(
        "{legs} legs of this host were given to RabbitMQ by a version that did not seal its messages: this version would put them aside. Go back \
         to that version and take them back with `hookyard queue migrate --to embedded`; or, where no message is left at RabbitMQ, say so with \
         `hookyard queue migrate --to rabbitmq --same-broker`"
    )]
    Unsealed {
        /// How many.
        legs: u64,
    },
    /// They are at another RabbitMQ, or under other names.
    #[error(
        "{legs} legs of this host are in the keeping of RabbitMQ at {keeper}, and `broker.rabbitmq` names {configured}: they would not run. Take them \
         back with `hookyard queue migrate --to embedded` under the former settings; or, where both are the same broker, say so with `hookyard \
         queue migrate --to rabbitmq --same-broker`"
    )]
    AtAnother {
        /// How many.
        legs: u64,
        /// Who has them.
        keeper: String,
        /// Who is configured.
        configured: String,
    },
}

/// Refuses where legs are in the keeping of another broker than the configured one; `is_same` is the operator's word that it is not another.
pub(super) async fn give_to(ledger: &Ledger, settings: &amqp::Settings, is_same: bool) -> anyhow::Result<()> {
    let configured = settings.keeper();
    match ledger.give_to(configured.clone(), is_same).await? {
        Some(KeptElsewhere { legs, keeper }) if format!("{keeper}{}", amqp::SEALED) == configured => {
            Err(WaitsElsewhere::Unsealed { legs }.into())
        }
        Some(KeptElsewhere { legs, keeper }) => Err(WaitsElsewhere::AtAnother { legs, keeper, configured }.into()),
        None => Ok(()),
    }
}

impl Queue {
    /// Starts the configured engine; refuses while legs wait in the other one.
    pub(super) async fn start(kind: &Kind, roles: Roles, parts: amqp::Parts) -> anyhow::Result<Self> {
        match kind {
            Kind::Embedded => {
                let legs = relayed(&parts.ledger).await?;
                if legs > 0 {
                    return Err(WaitsElsewhere::AtRabbitMq { legs }.into());
                }
                Ok(Self::Embedded(Arc::new(Embedded::new(parts.ledger))))
            }
            Kind::RabbitMq(settings) => {
                give_to(&parts.ledger, settings, false).await?;
                let settings = amqp::Settings { works: roles.work, ..(**settings).clone() };
                Ok(Self::RabbitMq(Amqp::start(settings, parts).await?))
            }
        }
    }

    pub(super) fn broker(&self) -> Arc<dyn Broker> {
        match self {
            Self::Embedded(queue) => Arc::clone(queue) as Arc<dyn Broker>,
            Self::RabbitMq(queue) => Arc::clone(queue) as Arc<dyn Broker>,
        }
    }

    pub(super) fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        match self {
            Self::Embedded(queue) => Arc::clone(queue) as Arc<dyn DeadLetters>,
            Self::RabbitMq(queue) => Arc::clone(queue) as Arc<dyn DeadLetters>,
        }
    }

    /// Completes when a part of it has panicked.
    pub(super) async fn failed(&self) {
        match self {
            Self::Embedded(_) => std::future::pending().await,
            Self::RabbitMq(queue) => queue.failed().await,
        }
    }

    /// What is under way ends; the ledger is closed after it.
    pub(super) async fn stop(&self) {
        if let Self::RabbitMq(queue) = self {
            queue.stop().await;
        }
    }
}

async fn relayed(ledger: &Ledger) -> anyhow::Result<u64> {
    Ok(ledger.queues().await?.iter().map(|queue| queue.relayed).sum())
}
