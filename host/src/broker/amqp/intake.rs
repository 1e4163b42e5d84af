//! From RabbitMQ to the ledger: a connection for consuming, and a consumer for each queue that is worked on.
//!
//! The connection is not the publisher's, because that one stops altogether while the broker has an alarm, acknowledgements included. It lives
//! once and is followed by another, for ever. Within it each queue has a channel and a task, so that one queue that is deleted, or refused,
//! or ended by the broker, is found again without touching the others. A stream that ends is a failure like any other.

use std::{collections::HashMap, sync::Arc, time::Duration};

use lapin::{
    Channel, Connection, Event,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    handling::Handling,
    link::{self, Address, Lost, Patience, next, within},
    publisher::Connected,
};
use crate::{
    delivery::{PluginName, TenantId},
    ledger::{Arrival, QueueSet},
    tasks::Tasks,
};

/// Messages of a plugin's queue that are held here beyond those that run.
const PREFETCH_MIN: usize = 10;
/// The most: all of them are delivered again, and counted, when the connection is lost.
const PREFETCH_MAX: usize = 300;
/// Of the queues between.
const PREFETCH_BETWEEN: u16 = 64;
/// How long the handling of messages that have come may take when a consumer is stopped.
const GRACE: Duration = Duration::from_secs(5);
/// How long the first connection waits for the queues to be made.
const LAID_MAX: Duration = Duration::from_secs(2);

/// What a message came from, which decides what is done with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A plugin's queue.
    Legs(TenantId, PluginName),
    /// Waits that are over.
    Due,
    /// What found no queue.
    Unrouted,
    /// Dead letters for the archive.
    Dead,
}

impl Source {
    /// Whether a leg may come from there: a plugin's queue has its own legs only.
    pub(super) fn may_hold(&self, arrival: &Arrival) -> bool {
        match self {
            Self::Legs(tenant, plugin) => arrival.delivery.tenant == *tenant && arrival.leg.plugin == *plugin,
            Self::Due | Self::Unrouted | Self::Dead => true,
        }
    }
}

/// What consumes.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) address: Address,
    pub(super) name: String,
    pub(super) handling: Arc<Handling>,
    /// What is consumed beside the plugins' queues.
    pub(super) between: Vec<Source>,
    pub(super) served: watch::Receiver<QueueSet>,
    /// None while it is connected, otherwise why it is not.
    pub(super) away: watch::Sender<Option<String>>,
}

/// A consumer that runs.
struct Running {
    stop: CancellationToken,
    prefetch: u16,
}

impl Intake {
    /// Consumes until the tasks are told to stop.
    pub(super) async fn run(mut self, tasks: Tasks) {
        let mut patience = Patience::default();
        tokio::select! {
            () = tasks.stopping() => return,
            () = self.laid() => {}
        }
        loop {
            let opened = tokio::select! {
                biased;
                () = tasks.stopping() => return,
                opened = self.address.connect(&self.name) => opened,
            };
            let lost = match opened {
                Ok(connection) => {
                    patience.reset();
                    self.away.send_replace(None);
                    let connection = Arc::new(connection);
                    // Its consumers are its own: they end with it, and are waited for.
                    let consumers = Tasks::new();
                    let lost = self.serve(&connection, &consumers, &tasks).await;
                    consumers.stop(GRACE * 2).await;
                    link::close(&connection).await;
                    lost
                }
                Err(lost) => lost,
            };
            self.away.send_replace(Some(lost.to_string()));
            if tasks.is_stopping() {
                return;
            }
            tracing::warn!(broker = %self.address, connection = self.name, %lost, "broker_lost");
            tokio::select! {
                () = tasks.stopping() => return,
                () = tokio::time::sleep(patience.next()) => {}
            }
        }
    }

    /// Waits a moment for the publisher, which makes the queues that are consumed: at a first start they are not there yet. Where it cannot, what is
    /// there is consumed all the same.
    async fn laid(&self) {
        let mut connected = self.handling.relay.publisher.connected();
        let is_laid = connected.wait_for(|connected| !matches!(connected, Connected::Away(_)));
        let _ = tokio::time::timeout(LAID_MAX, is_laid).await;
    }

    /// Keeps one consumer for each served queue until the connection ends; says why it did.
    async fn serve(&mut self, connection: &Arc<Connection>, consumers: &Tasks, tasks: &Tasks) -> Lost {
        let mut events = connection.events_listener();
        let mut running: HashMap<Source, Running> = HashMap::new();
        loop {
            let wanted = self.wanted();
            running.retain(|source, consumer| {
                let stays = wanted.get(source) == Some(&consumer.prefetch);
                if !stays {
                    consumer.stop.cancel();
                }
                stays
            });
            for (source, prefetch) in wanted {
                if running.contains_key(&source) {
                    continue;
                }
                let stop = CancellationToken::new();
                let consumer = Consumer {
                    connection: Arc::clone(connection),
                    handling: Arc::clone(&self.handling),
                    source: source.clone(),
                    prefetch,
                    stop: stop.clone(),
                    all: consumers.clone(),
                };
                consumers.spawn("consume", consumer.run());
                running.insert(source, Running { stop, prefetch });
            }
            tokio::select! {
                biased;
                () = tasks.stopping() => return Lost("the host stops".to_owned()),
                event = next(&mut events) => match event {
                    // What ends a channel only is told here too, and its consumer hears it by itself.
                    Some(Event::Error(error)) if !connection.status().connected() => return Lost(error.to_string()),
                    None => return Lost("the connection has ended".to_owned()),
                    Some(_) => {}
                },
                changed = self.served.changed() => if changed.is_err() {
                    return Lost("nobody works any more".to_owned());
                },
            }
        }
    }

    fn wanted(&mut self) -> HashMap<Source, u16> {
        let served = self.served.borrow_and_update();
        let prefetch = |concurrency: usize| {
            let prefetch = (concurrency + concurrency / 2).clamp(PREFETCH_MIN, PREFETCH_MAX);
            u16::try_from(prefetch).unwrap_or(PREFETCH_BETWEEN)
        };
        let queues = served.queues.iter().map(|queue| {
            let source = Source::Legs(queue.tenant.clone(), queue.plugin.clone());
            (source, prefetch(queue.concurrency_max.min(served.tenant_concurrency_max)))
        });
        self.between.iter().map(|source| (source.clone(), PREFETCH_BETWEEN)).chain(queues).collect()
    }
}

/// One queue's consumer on one connection.
struct Consumer {
    connection: Arc<Connection>,
    handling: Arc<Handling>,
    source: Source,
    prefetch: u16,
    stop: CancellationToken,
    /// All consumers of the connection; they are told to stop when it has ended.
    all: Tasks,
}

impl Consumer {
    async fn run(self) {
        let mut patience = Patience::default();
        let queue = self.handling.queue_of(&self.source);
        loop {
            let number = self.handling.inbox.new_channel();
            let handlers = Tasks::new();
            let ended = match self.open(&queue).await {
                Ok((channel, consumer)) => {
                    let ended = self.take(consumer, (&channel, number), &handlers, &mut patience).await;
                    handlers.stop(GRACE).await;
                    // One that is dropped is closed by lapin in its own time, and told as an error where the connection is closed first.
                    link::close_channel(&channel).await;
                    ended
                }
                Err(lost) => Err(lost),
            };
            self.handling.lost(number).await;
            match ended {
                Ok(()) => return,
                Err(lost) => tracing::warn!(queue, %lost, "consumer_lost"),
            }
            tokio::select! {
                () = self.all.stopping() => return,
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(patience.next()) => {}
            }
        }
    }

    /// A channel with a consumer of the queue.
    async fn open(&self, queue: &str) -> Result<(Channel, lapin::Consumer), Lost> {
        if let Source::Legs(..) = self.source {
            let laying = link::channel(&self.connection).await?;
            self.handling.relay.topology.lay_queue(&laying, queue).await?;
            link::close_channel(&laying).await;
        }
        let channel = link::channel(&self.connection).await?;
        within("asking for a prefetch", channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let consuming = channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let consumer = within("consuming", consuming).await?;
        tracing::debug!(queue, prefetch = self.prefetch, "consumer_started");
        Ok((channel, consumer))
    }

    /// Takes what comes until told to stop (`Ok`), or until the stream ends.
    async fn take(
        &self,
        mut consumer: lapin::Consumer,
        (channel, number): (&Channel, u64),
        handlers: &Tasks,
        patience: &mut Patience,
    ) -> Result<(), Lost> {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.all.stopping() => return Ok(()),
                () = self.stop.cancelled() => {
                    let tag = consumer.tag();
                    within("cancelling", channel.basic_cancel(tag, BasicCancelOptions::default())).await?;
                    self.drain(number, handlers).await;
                    return Ok(());
                }
                delivery = next(&mut consumer) => delivery,
            };
            match delivery {
                Some(Ok(delivery)) => {
                    patience.reset();
                    let (handling, source) = (Arc::clone(&self.handling), self.source.clone());
                    handlers.spawn_brief(async move { handling.handle(delivery, number, &source).await });
                }
                Some(Err(error)) => return Err(Lost(error.to_string())),
                None => return Err(Lost("the broker ended the consumer (the queue may have been deleted)".to_owned())),
            }
        }
    }

    /// Gives back what does not run yet, and waits until the rest is settled.
    async fn drain(&self, number: u64, handlers: &Tasks) {
        handlers.stop(GRACE).await;
        self.handling.give_back(number).await;
        tokio::select! {
            () = self.all.stopping() => {}
            () = self.handling.inbox.empty(number) => {}
        }
    }
}
