//! The task that owns a publisher's connection: opens it, writes batches on its channel, watches for its end, and begins again.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use lapin::{
    BasicProperties, Channel, Connection, Event,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep},
};

use super::{Connected, Errand, HeaderValue, Message, Prepare, Request, Sent, Session, Settings, not_now};
use crate::{
    broker::amqp::link::{self, Address, Lost, Patience, channel, close, close_channel, next, within},
    tasks::Tasks,
};

/// Requests written in one go: more adds nothing to the rate.
const BATCH_MAX: usize = 64;
/// A channel is given up no sooner than this after it was opened, and closed as long after.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Persistent: a quorum queue ignores it, what it is forwarded to may not.
const PERSISTENT: u8 = 2;

/// The task that owns the connection.
pub(super) struct Owner {
    pub(super) address: Address,
    pub(super) settings: Settings,
    pub(super) prepare: Prepare,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) errands: mpsc::Receiver<Errand>,
    pub(super) renew: Arc<Notify>,
    pub(super) connected: watch::Sender<Connected>,
}

impl Owner {
    /// Goes on until the tasks are told to stop.
    pub(super) async fn run(mut self, tasks: &Tasks) {
        let mut patience = Patience::default();
        loop {
            let lost = match self.open(tasks).await {
                Ok((connection, mut channel)) => {
                    patience.reset();
                    let lost = self.serve(&connection, &mut channel, tasks).await;
                    close_channel(&channel).await;
                    close(&connection).await;
                    lost
                }
                Err(lost) => lost,
            };
            self.connected.send_replace(Connected::Away(lost.to_string()));
            if tasks.is_stopping() {
                return;
            }
            tracing::warn!(broker = %self.address, connection = self.settings.name, %lost, "broker_lost");
            self.refuse_until(sleep(patience.next()), tasks).await;
        }
    }

    /// A connection, its channel in confirm mode, and what is to be published to in place.
    async fn open(&mut self, tasks: &Tasks) -> Result<(Connection, Channel), Lost> {
        let (address, name, prepare) = (self.address.clone(), self.settings.name.clone(), Arc::clone(&self.prepare));
        let opening = async move {
            let connection = address.connect(&name).await?;
            prepare(channel(&connection).await?).await?;
            let channel = confirming(&connection).await?;
            Ok((connection, channel))
        };
        self.refuse_until(opening, tasks).await.unwrap_or_else(|| Err(Lost("the host stops".to_owned())))
    }

    /// Does something while no message can be taken; requests learn it by their drop. `None` at the stop.
    async fn refuse_until<T>(&mut self, done: impl Future<Output = T>, tasks: &Tasks) -> Option<T> {
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                biased;
                () = tasks.stopping() => return None,
                value = &mut done => return Some(value),
                Some(request) = self.requests.recv() => request.refuse(&self.connected.borrow()),
                Some(errand) = self.errands.recv() => drop(errand),
            }
        }
    }

    /// Publishes until the connection ends; says why it did.
    async fn serve(&mut self, connection: &Connection, channel: &mut Channel, tasks: &Tasks) -> Lost {
        let session = Arc::<Session>::default();
        let _ended = session.ended.clone().drop_guard();
        let mut events = connection.events_listener();
        let mut opened = Instant::now();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        self.connected.send_replace(Connected::Ready);
        tracing::info!(broker = %self.address, connection = self.settings.name, "broker_connected");
        loop {
            tokio::select! {
                biased;
                () = tasks.stopping() => return Lost("the host stops".to_owned()),
                () = session.ended.cancelled() => return Lost("confirms stopped coming".to_owned()),
                event = next(&mut events) => if let Err(lost) = self.note(connection, event) { return lost },
                () = self.renew.notified(), if opened.elapsed() >= RENEW_EVERY => match confirming(connection).await {
                    Ok(fresh) => {
                        opened = Instant::now();
                        tasks.spawn_brief(close_after_confirms(std::mem::replace(channel, fresh), tasks.clone()));
                    }
                    Err(lost) => return lost,
                },
                Some(Errand { work, done }) = self.errands.recv() => {
                    // A refusal ends the errand's channel and nothing else.
                    let told = match link::channel(connection).await {
                        Ok(channel) => work(channel).await,
                        Err(lost) => Err(lost),
                    };
                    let _ = done.send(told);
                }
                taken = self.requests.recv_many(&mut batch, BATCH_MAX) => {
                    if taken == 0 {
                        return Lost("nobody publishes any more".to_owned());
                    }
                    if not_now(&self.connected.borrow()).is_some() {
                        batch.drain(..).for_each(|request: Request| request.refuse(&self.connected.borrow()));
                        continue;
                    }
                    let mut writing = std::pin::pin!(write(channel, std::mem::take(&mut batch), &session));
                    loop {
                        tokio::select! {
                            biased;
                            () = tasks.stopping() => return Lost("the host stops".to_owned()),
                            written = &mut writing => match written {
                                Ok(()) => break,
                                Err(lost) => return lost,
                            },
                            // A blocked connection writes nothing: the write waits, the requesters have their own patience.
                            event = next(&mut events) => if let Err(lost) = self.note(connection, event) { return lost },
                        }
                    }
                }
            }
        }
    }

    fn note(&self, connection: &Connection, event: Option<Event>) -> Result<(), Lost> {
        match event {
            Some(Event::ConnectionBlocked(why)) => {
                tracing::warn!(broker = %self.address, connection = self.settings.name, why, "broker_blocked");
                self.connected.send_replace(Connected::Blocked(why));
                Ok(())
            }
            Some(Event::ConnectionUnblocked) => {
                tracing::info!(broker = %self.address, connection = self.settings.name, "broker_unblocked");
                self.connected.send_replace(Connected::Ready);
                Ok(())
            }
            // A channel's end is told here too: an errand's is its own affair, the publishing one's shows at the next publish.
            Some(Event::Error(error)) if !connection.status().connected() => Err(Lost(error.to_string())),
            Some(_) => Ok(()),
            None => Err(Lost("the connection has ended".to_owned())),
        }
    }
}

/// A channel that confirms.
async fn confirming(connection: &Connection) -> Result<Channel, Lost> {
    let channel = channel(connection).await?;
    within("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// The confirms of what was written on it are still to come.
async fn close_after_confirms(channel: Channel, tasks: Tasks) {
    tokio::select! {
        () = tasks.stopping() => {}
        () = sleep(RENEW_EVERY) => {}
    }
    // It ends with its connection at the latest.
    let _ = within("closing a channel", channel.close(200, "another is used".into())).await;
}

/// Writes a batch. Each publish is polled for the first time in order and by this task alone: that is where it gets its number and its place
/// on the wire.
async fn write(channel: &Channel, batch: Vec<Request>, session: &Arc<Session>) -> Result<(), Lost> {
    let mut writing: Vec<_> = batch.into_iter().map(|request| Some(Box::pin(write_one(channel, request, session)))).collect();
    let mut failed = None;
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for one in &mut writing {
            match one.as_mut().map(|publish| publish.as_mut().poll(context)) {
                None => {}
                Some(Poll::Pending) => is_done = false,
                Some(Poll::Ready(written)) => {
                    *one = None;
                    failed = failed.take().or(written.err());
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    failed.map_or(Ok(()), Err)
}

async fn write_one(channel: &Channel, request: Request, session: &Arc<Session>) -> Result<(), Lost> {
    let Request { message, sent } = request;
    let properties = properties(&message);
    let (exchange, key) = (message.exchange.into(), message.routing_key.into());
    let published = channel.basic_publish(exchange, key, BasicPublishOptions::default(), &message.body, properties).await;
    let confirm = published.map_err(|error| Lost(format!("publishing: {error}")))?;
    // Whoever does not wait any more leaves its confirm to the channel, which keeps it.
    if sent.send(Ok(Sent { confirm, session: Arc::clone(session) })).is_err() {
        session.forgotten.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn properties(message: &Message) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        let value = match value {
            HeaderValue::Text(text) => AMQPValue::LongString(text.as_str().into()),
            HeaderValue::Number(number) => AMQPValue::LongLongInt(*number),
        };
        headers.insert(name.as_ref().into(), value);
    }
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(message.message_id.as_str().into())
        .with_content_type(message.content_type.into())
        .with_headers(headers)
}
