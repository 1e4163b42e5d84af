//! From the ledger to RabbitMQ, one leg at a time and many at once.
//!
//! A leg is the ledger's until it is confirmed. Whatever else is heard (refused, unknown, nothing at all) leaves it there, and only its own
//! queue waits before the next try: a full queue of one plugin costs no other plugin anything.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    engine::Settings,
    envelope::Decoder,
    inbox::Inbox,
    marks::Marks,
    names::Rung,
    publisher::{Connected, Message, Prepare, Published, Publisher, Settings as PublisherSettings},
    queues::{BACK_OFF_MAX, Queues},
    topology::Topology,
    waiters::Waiters,
};
use crate::{
    clock::Clock,
    delivery::{PluginName, TenantId},
    ledger::{Ledger, LedgerError, Outbound},
    observe::{Observer, Readiness},
    shares::Shares,
    tasks::Tasks,
};

/// After a publish without an answer.
const PAUSE: Duration = Duration::from_millis(200);
/// Legs on their way at once; the publisher bounds their bytes.
const WINDOW: usize = 512;
/// The note in `readyz` that names plugins' queues which cannot be used.
const UNUSABLE: &str = "rabbitmq_queue_unusable";
/// What a message is larger than its document and head, with room.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;

/// What gives legs to RabbitMQ.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) ledger: Ledger,
    pub(super) publisher: Publisher,
    pub(super) topology: Topology,
    pub(super) inbox: Arc<Inbox>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) clock: Clock,
    /// Writes messages, and reads them.
    pub(super) decoder: Arc<Decoder>,
    /// Room for documents that are unpacked, and threads to do it on.
    pub(super) shares: Shares,
    /// This ledger's number.
    pub(super) origin: u64,
    /// Larger messages are not published.
    pub(super) message_bytes_max: usize,
    /// Legs too big for RabbitMQ can be run in this process.
    pub(super) runs_here: bool,
    pub(super) queues: Queues,
    marks: Marks,
    /// Counts what becomes of messages.
    pub(super) observer: Observer,
    /// Hears of queues that cannot be used.
    readiness: Readiness,
    vhost: String,
}

impl Relay {
    /// A relay whose publisher connects by itself, and finds or makes what is there once before it publishes.
    pub(super) async fn new(
        settings: &Settings,
        ledger: &Ledger,
        (clock, observer, readiness): (&Clock, &Observer, &Readiness),
        tasks: &Tasks,
    ) -> Result<Self, LedgerError> {
        let origin = ledger.instance().await?;
        let decoder = Decoder::new(settings.keys.clone(), settings.topology.names.clone(), settings.document_bytes_max());
        let topology = settings.topology.clone();
        let prepare: Prepare = Arc::new(move |channel| {
            let topology = topology.clone();
            Box::pin(async move { topology.lay(&channel).await })
        });
        let publishing = PublisherSettings::new(format!("{} publishes", name(origin)));
        Ok(Self {
            ledger: ledger.clone(),
            publisher: Publisher::start(tasks, settings.address.clone(), publishing, prepare),
            topology: settings.topology.clone(),
            inbox: Arc::default(),
            waiters: Arc::default(),
            clock: clock.clone(),
            decoder: Arc::new(decoder),
            shares: settings.shares.clone(),
            origin,
            message_bytes_max: settings.message_bytes_max,
            runs_here: settings.works,
            queues: Queues::default(),
            marks: Marks::new(ledger, tasks),
            observer: observer.clone(),
            readiness: readiness.clone(),
            vhost: settings.address.vhost().to_owned(),
        })
    }

    /// Where at the broker everything is.
    pub(super) fn vhost(&self) -> &str {
        &self.vhost
    }

    /// What the broker's operator sees of this host.
    pub(super) fn name(&self) -> String {
        name(self.origin)
    }

    /// Relays until the tasks are told to stop.
    pub(super) async fn run(self: Arc<Self>, tasks: Tasks) {
        let window = Arc::new(Semaphore::new(WINDOW));
        let mut connected = self.publisher.connected();
        loop {
            let next = async {
                if connected.wait_for(|connected| *connected == Connected::Ready).await.is_err() {
                    return None;
                }
                let room = Arc::clone(&window).acquire_owned().await.ok()?;
                Some((self.ledger.next_outbound().await?, room))
            };
            let (outbound, room) = tokio::select! {
                biased;
                () = tasks.stopping() => return,
                next = next => match next {
                    Some(next) => next,
                    None => return,
                },
            };
            tasks.spawn_brief(Arc::clone(&self).hand_over(outbound, room));
        }
    }

    /// Gives one leg to RabbitMQ and tells the ledger what came of it.
    async fn hand_over(self: Arc<Self>, outbound: Outbound, room: OwnedSemaphorePermit) {
        self.give(&outbound).await;
        // Confirmed or kept: either way the leg is safe without the messages of the run before.
        for message in self.inbox.handed_over(&outbound.leg) {
            message.ack().await;
        }
        drop(room);
    }

    async fn give(&self, outbound: &Outbound) {
        let queue = self.topology.names.queue(&outbound.delivery.tenant, &outbound.leg.plugin);
        let message = self.message(outbound, &queue);
        if outbound.body_corrupt
            || !self.decoder.may_travel(outbound)
            || message.body.len() + MESSAGE_OVERHEAD_BYTES > self.message_bytes_max
        {
            return self.keep(outbound, message.body.len());
        }
        if outbound.due_at.is_none() && self.queues.drops(&queue) {
            tracing::debug!(queue, "queue_may_drop");
            self.ledger.not_relayed(outbound, Some(self.clock.instant() + BACK_OFF_MAX));
            return self.waiters.refused(outbound.leg.delivery);
        }
        if outbound.due_at.is_none()
            && let Err(lost) = self.lay(&outbound.delivery.tenant, &outbound.leg.plugin).await
        {
            tracing::warn!(queue, %lost, "queue_not_laid");
            return self.ledger.not_relayed(outbound, Some(self.clock.instant() + self.queues.refused(&queue)));
        }
        let published = self.publisher.publish(message).await;
        self.observer.relayed(published.slug());
        match published {
            Published::Confirmed => {
                self.queues.took(&queue);
                self.waiters.confirmed(&outbound.leg);
                match self.marks.mark(outbound.mark()).await {
                    Ok(()) => self.waiters.marked(outbound.leg.delivery),
                    Err(error) => {
                        tracing::warn!(leg_id = %outbound.leg, %error, "relayed_leg_not_marked");
                        self.ledger.not_relayed(outbound, Some(self.clock.instant() + PAUSE));
                    }
                }
            }
            Published::Refused => {
                let back_off = self.queues.refused(&queue);
                tracing::debug!(queue, back_off_s = back_off.as_secs_f64(), "queue_refused");
                if back_off == BACK_OFF_MAX {
                    self.publisher.renew();
                }
                self.ledger.not_relayed(outbound, Some(self.clock.instant() + back_off));
                self.waiters.refused(outbound.leg.delivery);
            }
            Published::Unknown(why) | Published::NotSent(why) => {
                tracing::debug!(leg_id = %outbound.leg, why, "leg_not_relayed");
                self.queues.forget();
                self.ledger.not_relayed(outbound, Some(self.clock.instant() + PAUSE));
            }
        }
    }

    /// Gives dead letters to the archive; true where there may be more.
    pub(super) async fn bury(&self) -> bool {
        let dead = match self.ledger.outbound_dead().await {
            Ok(dead) => dead,
            Err(error) => {
                tracing::warn!(%error, "dead_letters_not_read");
                return false;
            }
        };
        let mut buried = 0;
        for outbound in &dead {
            let message = self.decoder.encode(outbound, self.origin, (self.topology.names.dead(), String::new()));
            if !self.decoder.may_travel(outbound) || message.body.len() + MESSAGE_OVERHEAD_BYTES > self.message_bytes_max {
                tracing::error!(leg_id = %outbound.leg, "dead_letter_too_big_for_rabbitmq");
                continue;
            }
            let published = self.publisher.publish(message).await;
            self.observer.relayed(published.slug());
            if published != Published::Confirmed {
                return false;
            }
            match self.marks.mark(outbound.mark()).await {
                Ok(()) => buried += 1,
                Err(error) => tracing::warn!(leg_id = %outbound.leg, %error, "relayed_leg_not_marked"),
            }
            for message in self.inbox.handed_over(&outbound.leg) {
                message.ack().await;
            }
        }
        buried > 0
    }

    fn message(&self, outbound: &Outbound, queue: &str) -> Message {
        let names = &self.topology.names;
        let wait = outbound.due_at.map(|due_at| Rung::not_before(due_at.since(self.clock.now())));
        let place = match wait {
            Some(rung) => (names.retry(), rung.name.to_owned()),
            None => (names.legs(), queue.to_owned()),
        };
        self.decoder.encode(outbound, self.origin, place)
    }

    /// What RabbitMQ cannot have runs here; a host that runs nothing keeps it, and says so.
    fn keep(&self, outbound: &Outbound, bytes: usize) {
        if self.runs_here {
            return self.ledger.run_here(outbound);
        }
        let (leg, bytes_max) = (&outbound.leg, self.message_bytes_max);
        tracing::error!(leg_id = %leg, bytes, bytes_max, "leg_too_big_for_rabbitmq");
        self.ledger.not_relayed(outbound, Some(self.clock.instant() + BACK_OFF_MAX));
    }

    /// Makes sure that a plugin's queue is there.
    pub(super) async fn lay(&self, tenant: &TenantId, plugin: &PluginName) -> Result<(), super::Lost> {
        let queue = self.topology.names.queue(tenant, plugin);
        if self.queues.is_laid(&queue) {
            return Ok(());
        }
        let topology = self.topology.clone();
        let name = queue.clone();
        let laid = self
            .publisher
            .run_errand(Arc::new(move |channel| {
                let (topology, name) = (topology.clone(), name.clone());
                Box::pin(async move { topology.lay_queue(&channel, &name).await })
            }))
            .await;
        let unusable = laid.as_ref().err().filter(|lost| lost.is_the_brokers_word()).map(ToString::to_string);
        match self.queues.unusable(&queue, unusable) {
            Some(words) => self.readiness.note(UNUSABLE, format!("legs for it wait in the ledger: {words}")),
            None => self.readiness.clear_note(UNUSABLE),
        }
        laid?;
        self.queues.laid(&queue);
        Ok(())
    }
}

fn name(origin: u64) -> String {
    format!("hookyard {origin:016x}")
}
