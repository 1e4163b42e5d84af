//! Moving a host's open legs to RabbitMQ or back, while no host runs on its ledger.
//!
//! Both ways can end at any moment and begin again. To RabbitMQ it is the relay that moves them: a leg is marked when its own confirm has come,
//! and what is published twice is known as older or the same by whoever takes it. Back, a message is acknowledged after its leg waits in the
//! ledger, on disk; a message that comes again finds a leg that waits here already, and is dropped. So nothing is lost, no settled leg is run
//! again, and what a crash repeats is a message and not a run.
//!
//! Messages may be under way inside RabbitMQ, from a wait queue to `hookyard.due`, where no count shows them. So the way back ends when every
//! queue is empty *and* no leg is RabbitMQ's by the ledger's own rows.

mod back;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{
    engine::Settings,
    handling::Handling,
    link::{self, Lost},
    publisher::Connected,
    relay::Relay,
};
use crate::{
    clock::Clock,
    ledger::{Ledger, LedgerError, Unaccounted},
    observe::{Observer, Readiness},
    tasks::Tasks,
};
use back::Back;

/// How long RabbitMQ may take to be there.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How often it is looked at how far things are.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Without progress for this long, something refuses.
const STALL_MAX: Duration = Duration::from_secs(30);

/// The ledger and the broker between which legs move. The ledger is open for this alone.
#[derive(Clone, Debug)]
pub struct Migration {
    /// The broker; its roles do not matter.
    pub settings: Settings,
    /// The ledger.
    pub ledger: Ledger,
    /// Dates.
    pub clock: Clock,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Legs that have moved in this call.
    pub moved: u64,
    /// Legs that are to move.
    pub left: u64,
}

/// What has been done when it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Legs that have moved in this call.
    pub moved: u64,
    /// Legs that stay here: too large for RabbitMQ, or damaged.
    pub kept: u64,
    /// Messages dropped because their leg is settled, has gone on or waits here already.
    pub dropped: u64,
    /// Dead letters taken into the ledger, or found to be there.
    pub dead: u64,
    /// Messages put aside in `hookyard.rejected`, because they are no leg.
    pub rejected: u64,
    /// Legs RabbitMQ should have had and had not, settled by the operator's word.
    pub unaccounted: u64,
}

/// Why it ended before all was done; what has moved has moved, and the next call goes on from there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stopped {
    /// No broker, or none any more.
    #[error("RabbitMQ at {0}: {1}")]
    Unreachable(String, Lost),
    /// Others take from the queues.
    #[error(
        "{consumers} consumer(s) are attached to the queue `{queue}`: another host works there, and what it holds cannot be taken back"
    )]
    InUse {
        /// Which queue.
        queue: String,
        /// How many.
        consumers: u32,
    },
    /// RabbitMQ takes no more.
    #[error(
        "RabbitMQ has taken none of the {left} legs that are left for {} s ({queues}): a queue is full, has other arguments or no leader, or \
         RabbitMQ has an alarm. They are safe in the ledger",
        STALL_MAX.as_secs()
    )]
    Refused {
        /// Legs that are left.
        left: u64,
        /// Of which queues.
        queues: String,
    },
    /// A message this program cannot read.
    #[error("the queue `{0}` has a message this program cannot read: {1}")]
    Newer(String, String),
    /// Every queue is empty, and legs are missing.
    #[error(
        "every queue is empty, and {legs} legs of this host are still RabbitMQ's by its ledger ({queues}). Another host may have settled them, or \
         their queue was purged or deleted; `{rejected}` holds {put_aside} messages that were put aside"
    )]
    Unaccounted {
        /// How many.
        legs: u64,
        /// Of which queues.
        queues: String,
        /// The queue of what was put aside.
        rejected: String,
        /// How many are there.
        put_aside: u32,
    },
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Migration {
    /// Gives every open leg to RabbitMQ.
    ///
    /// # Errors
    /// Why it could not give all of them.
    pub async fn to_rabbitmq(&self, tell: &(dyn Fn(Progress) + Sync)) -> Result<Moved, Stopped> {
        let tasks = Tasks::new();
        // What RabbitMQ cannot have stays, whatever this host's role is.
        let settings = Settings { works: true, ..self.settings.clone() };
        let relay = self.relay(&settings, &tasks).await?;
        let given = async {
            self.connected(&relay).await?;
            self.ledger.give_all();
            tasks.spawn("relay", Arc::clone(&relay).run(tasks.clone()));
            self.watch(tell).await
        }
        .await;
        tasks.stop(link::ANSWER_MAX).await;
        given
    }

    /// Waits until the relay has given all, as long as it gives any.
    async fn watch(&self, tell: &(dyn Fn(Progress) + Sync)) -> Result<Moved, Stopped> {
        let (all, _) = self.ledger.not_given();
        let (mut least, mut since) = (all, self.clock.instant());
        loop {
            let (left, kept) = self.ledger.not_given();
            let moved = all.saturating_sub(left + kept);
            tell(Progress { moved, left });
            if left == 0 {
                return Ok(Moved { moved, kept, ..Moved::default() });
            }
            if left < least {
                (least, since) = (left, self.clock.instant());
            }
            if self.clock.instant().saturating_duration_since(since) >= STALL_MAX {
                let queues = self.ledger.queues().await?.into_iter().filter(|queue| queue.waiting + queue.retry + queue.parked > 0);
                let queues = queues.map(|queue| self.settings.topology.names.queue(&queue.tenant, &queue.plugin)).collect::<Vec<_>>();
                return Err(Stopped::Refused { left, queues: queues.join(", ") });
            }
            sleep(LOOK_EVERY).await;
            self.ledger.give_all();
        }
    }

    /// Takes every leg back, and settles by `unaccounted` what RabbitMQ should have and has not.
    ///
    /// # Errors
    /// Why it could not take all of them.
    pub async fn to_embedded(&self, unaccounted: Option<Unaccounted>, tell: &(dyn Fn(Progress) + Sync)) -> Result<Moved, Stopped> {
        let tasks = Tasks::new();
        let relay = self.relay(&self.settings, &tasks).await?;
        let taken = async {
            // It lays what is there once; beyond that it publishes only what is to be put aside.
            self.connected(&relay).await?;
            let connecting = self.settings.address.connect(&format!("{} takes back", relay.name())).await;
            let connection = connecting.map_err(|lost| self.unreachable(lost))?;
            let handling = Handling::new(relay, watch::Sender::new(false));
            let back = Back { migration: self, handling: Arc::new(handling), connection: &connection };
            let taken = back.take_all(unaccounted, tell).await;
            link::close(&connection).await;
            taken
        }
        .await;
        tasks.stop(link::ANSWER_MAX).await;
        taken
    }

    /// A relay whose metrics and notes nobody reads.
    async fn relay(&self, settings: &Settings, tasks: &Tasks) -> Result<Arc<Relay>, LedgerError> {
        let observer = Observer::new(self.clock.clone());
        Relay::new(settings, &self.ledger, (&self.clock, &observer, &Readiness::new()), tasks).await.map(Arc::new)
    }

    async fn connected(&self, relay: &Relay) -> Result<(), Stopped> {
        let mut connected = relay.publisher.connected();
        // Whether it came, the time ran out or the publisher is gone: what stands there last is what is told.
        let _ = tokio::time::timeout(CONNECT_MAX, connected.wait_for(|connected| *connected == Connected::Ready)).await;
        let why = match &*connected.borrow() {
            Connected::Ready => return Ok(()),
            Connected::Away(why) => why.clone(),
            Connected::Blocked(why) => format!("it takes nothing at the moment: {why}"),
        };
        Err(self.unreachable(Lost(why)))
    }

    fn unreachable(&self, lost: Lost) -> Stopped {
        Stopped::Unreachable(self.settings.address.to_string(), lost)
    }
}
