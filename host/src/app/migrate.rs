//! Changing the engine: moving a host's open legs from one queue to the other, while no host runs on its ledger.

use anyhow::Context as _;

use super::queue;
use crate::{
    broker::{
        Kind,
        amqp::{Migration, Moved, Progress},
    },
    clock::Clock,
    config::{self, Config},
    ledger::{Ledger, Unaccounted},
};

/// Where the legs are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// In the ledger.
    Embedded,
    /// In RabbitMQ.
    RabbitMq,
}

/// Moves every open leg to `engine`. Can be ended at any moment and begun again. What has been moved is told as it goes. Legs that RabbitMQ should
/// have and has not are settled by `unaccounted`; with `same_broker` the configured one is taken for the one that has them.
pub async fn migrate(
    config: Config,
    engine: Engine,
    (unaccounted, same_broker): (Option<Unaccounted>, bool),
    tell: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<Moved> {
    config::keep_amqp_key(&config).context("the key of messages at RabbitMQ")?;
    let Kind::RabbitMq(settings) = config.broker else { anyhow::bail!("the configuration does not tell where RabbitMQ is") };
    let clock = Clock::system();
    let ledger = {
        let (settings, clock) = (config.ledger, clock.clone());
        tokio::task::spawn_blocking(move || Ledger::open(settings, clock)).await?.context("the ledger")?
    };
    queue::give_to(&ledger, &settings, same_broker).await?;
    let migration = Migration { settings: *settings, ledger: ledger.clone(), clock };
    let moved = match engine {
        Engine::RabbitMq => migration.to_rabbitmq(tell).await,
        Engine::Embedded => migration.to_embedded(unaccounted, tell).await,
    };
    let gap = ledger.books().await?.gap;
    ledger.close().await;
    let moved = moved?;
    anyhow::ensure!(gap == 0, "the books of the ledger do not balance any more (gap {gap}); keep the folder, and report it");
    Ok(moved)
}
