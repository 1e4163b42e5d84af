//! Where a stream goes.

use std::sync::Arc;

use super::{
    StreamSettings,
    rabbitmq::{Rabbitmq, RabbitmqSettings},
    record::Message,
    redis::{Redis, RedisSettings},
};
use crate::{delivery::report::Renewed, ledger::LedgerError, signature::Secret, tasks::Tasks};

/// Where, as the operator set it up.
#[derive(Clone, Debug)]
pub enum OutletSettings {
    /// Redis Streams.
    Redis(Arc<RedisSettings>),
    /// A topic exchange of RabbitMQ.
    Rabbitmq(Arc<RabbitmqSettings>),
}

impl OutletSettings {
    /// Its word in files and answers.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Rabbitmq(_) => "rabbitmq",
        }
    }

    /// Takes URL and certificates of another reading of the settings, for the next connection. Another kind takes a restart.
    pub fn renew(&self, new: &Self) -> Renewed {
        match (self, new) {
            (Self::Redis(now), Self::Redis(new)) => now.renew(new),
            (Self::Rabbitmq(now), Self::Rabbitmq(new)) => now.address.renew(&new.address),
            _ => Renewed::Elsewhere,
        }
    }
}

/// TLS beyond what the system trusts; PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutletTls {
    /// The authority to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Our certificate and its key.
    pub client: Option<(Vec<u8>, Secret)>,
}

/// Why a connection is given up, in words without a secret or a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failure(pub(super) String);

/// A publication that failed: the first `confirmed` messages are there all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unconfirmed {
    pub(super) confirmed: usize,
    pub(super) failure: Failure,
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self(error.to_string())
    }
}

/// The other side, for the life of a stream.
pub(super) enum Outlet {
    /// A connection, once there is one.
    Redis { settings: Arc<RedisSettings>, connection: Option<Redis> },
    /// It keeps itself connected.
    Rabbitmq(Box<Rabbitmq>),
}

impl Outlet {
    pub(super) fn start(stream: &StreamSettings, tasks: &Tasks) -> Self {
        match &stream.outlet {
            OutletSettings::Redis(settings) => Self::Redis { settings: Arc::clone(settings), connection: None },
            OutletSettings::Rabbitmq(settings) => {
                let rabbitmq = Rabbitmq::start(Arc::clone(settings), stream.name.as_str(), stream.followed, tasks);
                Self::Rabbitmq(Box::new(rabbitmq))
            }
        }
    }

    /// Connects anew, or waits until the other side takes messages.
    pub(super) async fn connect(&mut self) -> Result<(), Failure> {
        match self {
            Self::Redis { settings, connection } => {
                *connection = None;
                *connection = Some(Redis::connect(Arc::clone(settings)).await?);
                Ok(())
            }
            Self::Rabbitmq(rabbitmq) => rabbitmq.ready().await,
        }
    }

    /// Returns when the other side has confirmed every message; how many of them one of its readers has refused.
    pub(super) async fn publish(&mut self, messages: &[Message]) -> Result<usize, Unconfirmed> {
        match self {
            Self::Redis { connection: Some(redis), .. } => redis.publish(messages).await.map(|()| 0),
            Self::Redis { connection: None, .. } => Err(Unconfirmed { confirmed: 0, failure: Failure("not connected".to_owned()) }),
            Self::Rabbitmq(rabbitmq) => rabbitmq.publish(messages).await,
        }
    }

    /// Asks whether the other side is still there.
    pub(super) async fn ping(&mut self) -> Result<(), Failure> {
        match self {
            Self::Redis { connection: Some(redis), .. } => redis.ping().await,
            Self::Redis { connection: None, .. } => Err(Failure("not connected".to_owned())),
            Self::Rabbitmq(rabbitmq) => rabbitmq.still_ready(),
        }
    }
}
