//! Where a stream goes.

use std::sync::Arc;

use super::{
    record::Message,
    redis::{Redis, RedisSettings},
};
use crate::ledger::LedgerError;

/// Where, as the operator set it up.
#[derive(Clone, Debug)]
pub enum OutletSettings {
    /// Redis Streams.
    Redis(Arc<RedisSettings>),
}

impl OutletSettings {
    /// Its word in files and answers.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
        }
    }
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

/// A connection to the other side.
pub(super) enum Outlet {
    Redis(Redis),
}

impl Outlet {
    pub(super) async fn connect(settings: &OutletSettings) -> Result<Self, Failure> {
        match settings {
            OutletSettings::Redis(settings) => Redis::connect(Arc::clone(settings)).await.map(Self::Redis),
        }
    }

    /// Returns when the other side has confirmed every message.
    pub(super) async fn publish(&mut self, messages: &[Message]) -> Result<(), Unconfirmed> {
        match self {
            Self::Redis(redis) => redis.publish(messages).await,
        }
    }

    /// Asks whether the other side is still there.
    pub(super) async fn ping(&mut self) -> Result<(), Failure> {
        match self {
            Self::Redis(redis) => redis.ping().await,
        }
    }
}
