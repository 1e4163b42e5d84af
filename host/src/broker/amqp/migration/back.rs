//! The way back: from every queue, by one connection, into the ledger.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lapin::{
    Connection,
    message::Delivery as Received,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::{sync::mpsc, time::sleep};

use super::{
    super::{
        envelope::Unreadable,
        handling::{Fate, Handling, Raw},
        intake::Source,
        link::{self, Lost, next, within},
        names::RUNGS,
        opening::Opened,
        rejection::Rejection,
    },
    LOOK_EVERY, Migration, Moved, Progress, Stopped,
};
use crate::{
    ledger::{LedgerError, Unaccounted},
    tasks::Tasks,
};

/// Messages of a queue taken at once.
const PREFETCH: u16 = 256;
/// A consumer that hears nothing for this long asks whether there is anything.
const QUIET: Duration = Duration::from_millis(100);
/// All queues are empty and legs are missing: how long a message may be under way inside RabbitMQ.
const TRANSIT_MAX: Duration = Duration::from_secs(10);
/// How long the consumer of a process that has just died may still be known.
const CONSUMER_GONE_MAX: Duration = Duration::from_secs(5);

/// The way back, on one connection.
pub(super) struct Back<'a> {
    pub(super) migration: &'a Migration,
    pub(super) handling: Arc<Handling>,
    pub(super) connection: &'a Connection,
}

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Moved,
    Dropped,
    Dead,
    Rejected,
}

impl Back<'_> {
    pub(super) async fn take_all(&self, unaccounted: Option<Unaccounted>, tell: &(dyn Fn(Progress) + Sync)) -> Result<Moved, Stopped> {
        let (ledger, clock) = (&self.migration.ledger, &self.migration.clock);
        let mut moved = Moved::default();
        let mut idle_since: Option<Instant> = None;
        for (queue, _) in self.queues().await? {
            self.found(&queue).await?;
        }
        loop {
            let mut messages = 0;
            for (queue, source) in self.queues().await? {
                let found = self.found(&queue).await?;
                if found > 0 {
                    messages += found;
                    self.drain(&queue, &source, &mut moved).await?;
                    tell(Progress { moved: moved.moved + moved.dead, left: self.in_keeping().await?.0 });
                }
            }
            let (legs, queues) = self.in_keeping().await?;
            if messages > 0 {
                idle_since = None;
                continue;
            }
            if legs == 0 {
                return Ok(moved);
            }
            let since = *idle_since.get_or_insert_with(|| clock.instant());
            if clock.instant().saturating_duration_since(since) >= TRANSIT_MAX {
                let Some(unaccounted) = unaccounted else {
                    let rejected = self.handling.relay.topology.names.rejected();
                    let put_aside = self.look_at(&rejected).await?.map_or(0, |(messages, _)| messages);
                    return Err(Stopped::Unaccounted { legs, queues, rejected, put_aside });
                };
                moved.unaccounted = ledger.account_for(unaccounted).await?;
                return Ok(moved);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Every queue that may hold a leg of this host. Waits come before what they end in, so that less is under way.
    async fn queues(&self) -> Result<Vec<(String, Source)>, Stopped> {
        let names = &self.handling.relay.topology.names;
        let waits = RUNGS.into_iter().map(|rung| (names.wait(rung), Source::Due));
        let between = [(names.due(), Source::Due), (names.unrouted(), Source::Unrouted), (names.dead(), Source::Dead)];
        let legs = self.migration.ledger.in_keeping().await?.into_keys();
        let legs = legs.map(|(tenant, plugin)| (names.queue(&tenant, &plugin), Source::Legs(tenant, plugin)));
        Ok(waits.chain(between).chain(legs).collect())
    }

    /// Legs that are RabbitMQ's by the ledger, and the queues they should be in.
    async fn in_keeping(&self) -> Result<(u64, String), Stopped> {
        let names = &self.handling.relay.topology.names;
        let in_keeping = self.migration.ledger.in_keeping().await?;
        let queues = in_keeping.iter().filter(|(_, legs)| **legs > 0).map(|((tenant, plugin), _)| names.queue(tenant, plugin));
        Ok((in_keeping.values().sum(), queues.collect::<Vec<_>>().join(", ")))
    }

    /// The messages of a queue that nobody else takes from.
    async fn found(&self, queue: &str) -> Result<u32, Stopped> {
        let clock = &self.migration.clock;
        let begun = clock.instant();
        loop {
            match self.look_at(queue).await? {
                None => return Ok(0),
                Some((messages, 0)) => return Ok(messages),
                Some((_, consumers)) if clock.instant().saturating_duration_since(begun) >= CONSUMER_GONE_MAX => {
                    return Err(Stopped::InUse { queue: queue.to_owned(), consumers });
                }
                Some(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// The messages and the consumers of a queue; none where it is not there.
    async fn look_at(&self, queue: &str) -> Result<Option<(u32, u32)>, Stopped> {
        let looked = async {
            let channel = link::channel(self.connection).await?;
            let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
            let declared = within("looking at a queue", channel.queue_declare(queue.into(), passive, FieldTable::default())).await;
            let found = match declared {
                Ok(found) => Some((found.message_count(), found.consumer_count())),
                Err(Lost(why)) if why.contains("NOT_FOUND") => return Ok(None),
                Err(lost) => return Err(lost),
            };
            within("closing a channel", channel.close(200, "looked".into())).await?;
            Ok(found)
        };
        looked.await.map_err(|lost| self.migration.unreachable(lost))
    }

    /// Takes what is in a queue.
    async fn drain(&self, queue: &str, source: &Source, moved: &mut Moved) -> Result<(), Stopped> {
        let lost = |lost| self.migration.unreachable(lost);
        let channel = link::channel(self.connection).await.map_err(lost)?;
        within("asking for a prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await.map_err(lost)?;
        let consuming = channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer = within("consuming", consuming).await.map_err(lost)?;
        // RabbitMQ sends no more than the prefetch before the first are acknowledged, so none waits for room here.
        let (told, mut taken) = mpsc::channel(PREFETCH.into());
        let (tasks, mut under_way) = (Tasks::new(), 0_usize);
        loop {
            tokio::select! {
                biased;
                Some(taken) = taken.recv() => {
                    under_way -= 1;
                    moved.count(taken?);
                }
                received = tokio::time::timeout(QUIET, next(&mut consumer)) => match received {
                    Ok(Some(Ok(received))) => {
                        under_way += 1;
                        let (handling, queue, source, told) = (Arc::clone(&self.handling), queue.to_owned(), source.clone(), told.clone());
                        tasks.spawn_brief(async move { _ = told.send(take(&handling, queue, &source, received).await).await });
                    }
                    Ok(Some(Err(error))) => return Err(lost(Lost(error.to_string()))),
                    Ok(None) => return Err(lost(Lost("the broker ended the consumer (the queue may have been deleted)".to_owned()))),
                    Err(_) if under_way == 0 => break,
                    Err(_) => {}
                },
            }
        }
        within("cancelling", channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await.map_err(lost)?;
        within("closing a channel", channel.close(200, "drained".into())).await.map_err(lost)
    }
}

impl Moved {
    fn count(&mut self, taken: Taken) {
        match taken {
            Taken::Moved => self.moved += 1,
            Taken::Dropped => self.dropped += 1,
            Taken::Dead => self.dead += 1,
            Taken::Rejected => self.rejected += 1,
        }
    }
}

/// Makes one message a row that waits, or finds that it is of no more use; only then it is acknowledged.
async fn take(handling: &Handling, queue: String, source: &Source, received: Received) -> Result<Taken, Stopped> {
    let acker = received.acker.clone();
    let raw = Raw::new(received, queue.clone());
    let taken = match keep(handling, source, &raw).await {
        Ok(taken) => taken?,
        Err(Unreadable::Rejected(rejection)) => put_aside(handling, raw, &rejection).await?,
        Err(newer @ Unreadable::Newer(_)) => return Err(Stopped::Newer(queue, newer.to_string())),
    };
    // One that does not get through is no loss: the message comes again, and its leg waits here already.
    let _ = tokio::time::timeout(link::ANSWER_MAX, acker.ack(BasicAckOptions::default())).await;
    Ok(taken)
}

/// What RabbitMQ itself gave up on has no word of ours about its death: it waits like any other leg.
async fn keep(handling: &Handling, source: &Source, raw: &Raw) -> Result<Result<Taken, Stopped>, Unreadable> {
    let genuine = handling.genuine(raw)?;
    let (death, due_at) = (genuine.headers().death()?, genuine.headers().due_at()?);
    if death.is_some() && matches!(source, Source::Legs(..)) {
        return Err(Rejection::Misplaced("it is a dead letter, in a queue of legs that run").into());
    }
    let Opened { arrival, held } = handling.opening.open(&genuine).await?;
    if !source.may_hold(&arrival) {
        return Err(Rejection::Misplaced("it says it is another queue's").into());
    }
    let ledger = &handling.relay.ledger;
    let kept = match death {
        None => ledger.recall(arrival, due_at).await.map(|is_moved| if is_moved { Taken::Moved } else { Taken::Dropped }),
        Some(death) => match ledger.archive(arrival, death).await {
            Ok(true) => Ok(Taken::Dead),
            Ok(false) => Err(LedgerError::Failed("the leg of a dead letter is under way here".to_owned())),
            Err(error) => Err(error),
        },
    };
    drop(held);
    Ok(kept.map_err(Stopped::from))
}

async fn put_aside(handling: &Handling, raw: Raw, rejection: &Rejection) -> Result<Taken, Stopped> {
    match handling.reject(raw, rejection).await {
        Fate::Done => Ok(Taken::Rejected),
        Fate::Held | Fate::Again => {
            let address = handling.relay.topology.names.rejected();
            Err(Stopped::Unreachable(address, Lost("a message that is no leg could not be put aside there".to_owned())))
        }
    }
}
