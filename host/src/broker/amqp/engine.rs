//! The engine: the parts joined, behind the broker's traits.

use std::{sync::Arc, time::Instant};

use tokio::sync::{Notify, watch};

use super::{
    Address, Connected, Topology,
    audit::Audit,
    handling::Handling,
    inbox::Inbox,
    intake::{Intake, Source},
    management::Management,
    relay::Relay,
    seal::Keys,
    waiters::Waiters,
    watching::{Watching, unverified, watch_sharing, watch_unserved},
};
use crate::{
    broker::{
        BoxFuture, Broker, BrokerError, DeadLetterChange, DeadLetterFilter, DeadLetters, Embedded, Finished, Lease, Offer, OfferError,
        QueueSet, Settled,
    },
    clock::Clock,
    delivery::{
        DeliveryId, LegId, Receipt, Settlement, TenantId,
        view::{DeadLetterView, Page, QueueView},
    },
    ledger::{Ledger, LedgerError, RelayScope},
    observe::{Observer, Readiness},
    shares::{Holder, Resource, Shares},
    tasks::Tasks,
};

/// How often dead letters are looked for that could not be given to the archive before.
const DEAD_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// What a keeper has whose messages are sealed. Those of a version before seals have it not, and no host would take their legs any more.
pub(crate) const SEALED: &str = ", sealed";

/// How the engine is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where RabbitMQ is.
    pub address: Address,
    /// What is there.
    pub topology: Topology,
    /// What messages are sealed with and known by: the same on every host.
    pub keys: Keys,
    /// Whom to ask what AMQP does not tell: policies, bindings, arguments of what others made.
    pub management: Option<Management>,
    /// A sender is answered 202 only when RabbitMQ has confirmed every leg.
    pub ack_after_broker: bool,
    /// Larger messages are not published: their legs run here, or are refused where nothing runs.
    pub message_bytes_max: usize,
    /// Retries wait in this ledger and not in RabbitMQ: to the millisecond, but for this host alone.
    pub retries_in_ledger: bool,
    /// This process runs plugins.
    pub works: bool,
    /// This host keeps the dead letters of all.
    pub archives: bool,
    /// Other hosts run plugins from the same RabbitMQ.
    pub shared_work: bool,
    /// What documents may take while they are unpacked, and how large one may be.
    pub shares: Shares,
}

impl Settings {
    /// The largest document that is given to RabbitMQ or taken from there, in bytes.
    #[must_use]
    pub fn document_bytes_max(&self) -> usize {
        usize::try_from(self.shares.pool(Resource::OpenedBytes).limit().share).unwrap_or(usize::MAX)
    }

    /// What tells this broker's queues from all others: host, port, vhost and prefix.
    #[must_use]
    pub fn keeper(&self) -> String {
        format!("{}, vhost {}, prefix {}{SEALED}", self.address.authority(), self.address.vhost(), self.topology.names)
    }
}

/// What the engine is built from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where deliveries are accepted.
    pub ledger: Ledger,
    /// Dates.
    pub clock: Clock,
    /// Is told whether there is a connection.
    pub observer: Observer,
    /// Hears when senders cannot be answered without RabbitMQ.
    pub readiness: Readiness,
}

/// The queue of many machines.
#[derive(Debug)]
pub struct Amqp {
    settings: Settings,
    ledger: Ledger,
    local: Embedded,
    clock: Clock,
    relay: Arc<Relay>,
    inbox: Arc<Inbox>,
    waiters: Arc<Waiters>,
    served: watch::Sender<QueueSet>,
    died: Arc<Notify>,
    tasks: Tasks,
}

impl Amqp {
    /// Starts relay and consumers. RabbitMQ need not be there yet.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn start(settings: Settings, parts: Parts) -> Result<Arc<Self>, LedgerError> {
        let Parts { ledger, clock, observer, readiness } = parts;
        let (tasks, for_sharing) = (Tasks::new(), readiness.clone());
        let scope = RelayScope { all: !settings.works, outcomes_elsewhere: settings.shared_work || !settings.works };
        ledger.relay(scope);
        let relay = Arc::new(Relay::new(&settings, &ledger, (&clock, &observer, &readiness), &tasks).await?);
        let (inbox, waiters, died) = (Arc::clone(&relay.inbox), Arc::clone(&relay.waiters), Arc::<Notify>::default());
        tasks.spawn("relay", Arc::clone(&relay).run(tasks.clone()));
        let (served, _) = watch::channel(QueueSet::default());
        let (foreign, _) = watch::channel(settings.shared_work);
        let (away, consuming) = watch::channel(Some("not connected yet".to_owned()));
        let handling = Arc::new(Handling::new(Arc::clone(&relay), foreign.clone()));
        let mut between = if settings.works { vec![Source::Due, Source::Unrouted] } else { Vec::new() };
        between.extend(settings.archives.then_some(Source::Dead));
        let consumes = !between.is_empty();
        if consumes {
            let (address, name) = (settings.address.clone(), format!("{} consumes", relay.name()));
            let intake = Intake { address, name, handling, between, served: served.subscribe(), away };
            tasks.spawn("intake", intake.run(tasks.clone()));
        } else {
            away.send_replace(None);
        }
        if settings.works {
            let unserved = (served.subscribe(), ledger.clone(), Arc::clone(&relay), readiness.clone());
            tasks.spawn("watch_unserved", watch_unserved(unserved, tasks.clone()));
        }
        if !settings.archives {
            tasks.spawn("dead_letters", hand_over_dead(Arc::clone(&relay), Arc::clone(&died), tasks.clone()));
        }
        if settings.ack_after_broker {
            readiness.block("broker_away", "RabbitMQ: not connected yet");
        }
        readiness.note("rabbitmq_unverified", unverified(&settings));
        if let Some(audit) = Audit::new(&settings, &relay, &readiness) {
            tasks.spawn("audit", audit.run(served.subscribe(), tasks.clone()));
        }
        let watching =
            Watching { publishing: relay.publisher.connected(), consuming, observer, readiness, needed: settings.ack_after_broker };
        tasks.spawn("watch_broker", watching.run(tasks.clone()));
        tasks.spawn("watch_sharing", watch_sharing(foreign.subscribe(), ledger.clone(), (scope, for_sharing), tasks.clone()));
        let local = Embedded::new(ledger.clone());
        Ok(Arc::new(Self { settings, ledger, local, clock, relay, inbox, waiters, served, died, tasks }))
    }

    /// Relays and consumes no more; what is held is delivered again, here or elsewhere.
    pub async fn stop(&self) {
        self.tasks.stop(std::time::Duration::from_secs(20)).await;
    }

    /// Completes when a task of the engine has panicked.
    pub async fn failed(&self) {
        self.tasks.failed().await;
    }

    /// Waits until RabbitMQ has every leg of a delivery, or says that nobody knows.
    async fn confirmed(&self, waiting: &super::waiters::Waiting<'_>, receipt: &Receipt, id: DeliveryId) -> bool {
        if let Receipt::Accepted { legs, .. } = receipt {
            return waiting.all(*legs).await;
        }
        loop {
            // In hand since an earlier call: what that one heard is not known here, so the rows are asked.
            let news = waiting.news();
            match self.ledger.unconfirmed_legs(id).await {
                Ok(0) => return true,
                Ok(_) => news.await,
                Err(_) => return false,
            }
        }
    }

    async fn offer_and_wait(&self, offer: Offer, deadline: Instant) -> Result<Receipt, OfferError> {
        if *self.relay.publisher.connected().borrow() != Connected::Ready {
            return Err(OfferError::Unavailable);
        }
        let id = offer.delivery.id;
        let waiting = self.waiters.wait_for(id);
        let receipt = self.ledger.offer(offer, deadline).await?;
        let is_confirmed = tokio::select! {
            is_confirmed = self.confirmed(&waiting, &receipt, id) => is_confirmed,
            () = self.clock.sleep_until(deadline) => false,
        };
        // It is in the ledger and will go to RabbitMQ; but the sender asked for more, and may send it again without harm.
        if is_confirmed { Ok(receipt) } else { Err(OfferError::OutcomeUnknown) }
    }

    /// A host that runs nothing cannot keep what RabbitMQ cannot have.
    async fn fits(&self, offer: &Offer) -> bool {
        let bytes_max = self.settings.message_bytes_max / 2;
        if !self.settings.works && offer.delivery.document.len() > self.settings.document_bytes_max() {
            return false;
        }
        if self.settings.works || offer.delivery.document.len() < bytes_max {
            return true;
        }
        let document = offer.delivery.document.clone();
        let threads = self.settings.shares.threads(Holder::tenant(&offer.delivery.tenant));
        let compressed = threads.run(move || zstd::bulk::compress(&document, 1).map(|bytes| bytes.len())).await;
        compressed.is_ok_and(|bytes| bytes.is_ok_and(|bytes| bytes < self.settings.message_bytes_max - 64 * 1024))
    }
}

impl Broker for Amqp {
    fn offer(&self, offer: Offer, deadline: Instant) -> BoxFuture<'_, Result<Receipt, OfferError>> {
        Box::pin(async move {
            let fits = tokio::select! {
                biased;
                fits = self.fits(&offer) => fits,
                () = self.clock.sleep_until(deadline) => return Err(OfferError::TimedOut),
            };
            if !fits {
                return Err(OfferError::TooBig { bytes_max: self.settings.message_bytes_max });
            }
            if self.settings.ack_after_broker && !offer.legs.is_empty() {
                return self.offer_and_wait(offer, deadline).await;
            }
            self.ledger.offer(offer, deadline).await
        })
    }

    fn serve(&self, queues: QueueSet) {
        self.ledger.serve(queues.clone());
        self.served.send_replace(queues);
    }

    fn lease(&self) -> BoxFuture<'_, Option<Lease>> {
        Box::pin(self.ledger.lease())
    }

    fn settle(&self, lease: Lease, finished: Finished) -> BoxFuture<'_, Result<Settled, BrokerError>> {
        Box::pin(async move {
            let (leg, settlement) = (lease.leg.clone(), finished.record.settlement);
            let settled = if self.settings.retries_in_ledger {
                self.ledger.settle(lease, finished).await?
            } else {
                self.ledger.settle_for_relay(lease, finished).await?
            };
            if settled != Settled::Committed {
                return Ok(settled);
            }
            match settlement {
                Settlement::Retry { .. } if !self.settings.retries_in_ledger => self.inbox.await_relay(&leg),
                Settlement::DeadLetter(_) if !self.settings.archives => {
                    self.inbox.await_relay(&leg);
                    self.died.notify_one();
                }
                _ => {
                    for message in self.inbox.settled(&leg) {
                        self.tasks.spawn_brief(message.ack());
                    }
                }
            }
            Ok(settled)
        })
    }

    fn depth(&self) -> BoxFuture<'_, Result<Vec<QueueView>, BrokerError>> {
        self.local.depth()
    }
}

impl DeadLetters for Amqp {
    fn page(
        &self,
        filter: DeadLetterFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<DeadLetterView>, BrokerError>> {
        if !self.settings.archives {
            return Box::pin(async { Err(elsewhere()) });
        }
        self.local.page(filter, cursor, limit)
    }

    fn replay(&self, tenant: TenantId, leg: LegId) -> BoxFuture<'_, Result<DeadLetterChange, BrokerError>> {
        if !self.settings.archives {
            return Box::pin(async { Err(elsewhere()) });
        }
        self.local.replay(tenant, leg)
    }

    fn discard(&self, tenant: TenantId, leg: LegId) -> BoxFuture<'_, Result<DeadLetterChange, BrokerError>> {
        if !self.settings.archives {
            return Box::pin(async { Err(elsewhere()) });
        }
        self.local.discard(tenant, leg)
    }
}

fn elsewhere() -> BrokerError {
    BrokerError("this host does not keep the dead letters: ask the one with `broker.rabbitmq.archive = true`".to_owned())
}

/// Gives the dead letters of a host that does not archive to the one that does.
async fn hand_over_dead(relay: Arc<Relay>, died: Arc<Notify>, tasks: Tasks) {
    let mut connected = relay.publisher.connected();
    loop {
        tokio::select! {
            () = tasks.stopping() => return,
            ready = connected.wait_for(|connected| *connected == Connected::Ready) => if ready.is_err() { return },
        }
        let is_more = relay.bury().await;
        tokio::select! {
            () = tasks.stopping() => return,
            () = died.notified(), if !is_more => {}
            () = tokio::time::sleep(DEAD_EVERY), if !is_more => {}
            () = std::future::ready(()), if is_more => {}
        }
    }
}
