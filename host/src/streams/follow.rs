//! One stream: read, publish, move the cursor; for ever, over as many connections as it takes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use super::{
    Parts, StreamSettings,
    outlet::{Failure, Outlet, Unconfirmed},
    place::Place,
    record::{Message, Record},
};
use crate::{
    ledger::{Followed, HeadsWatch, Portion, PortionMax},
    observe::facts::{StreamConnected, StreamFailed, StreamPublished},
    tasks::Tasks,
};

/// One portion: what a stream holds in memory and reads in one go.
const PORTION_MAX: PortionMax = PortionMax { items: 256, bytes: 4 * 1024 * 1024 };
/// The first portion after a failure: what one message is refused for must not have its neighbours sent again and again.
const PORTION_AFTER_FAILURE: PortionMax = PortionMax { items: 1, ..PORTION_MAX };
/// How often an idle connection is asked whether it still is one.
const PING_PERIOD: Duration = Duration::from_secs(10);
/// Pauses between connections that fail: they double from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A stream and what it works with.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) stream: Arc<StreamSettings>,
    pub(super) parts: Parts,
}

impl Follower {
    /// Follows until all tasks are told to stop.
    pub(super) async fn run(self, tasks: &Tasks) {
        self.parts.board.put(self.stream.name.clone(), self.stream.outlet.kind(), self.stream.followed);
        let mut outlet = Outlet::start(&self.stream, tasks);
        let mut place = None;
        let mut failures = 0;
        loop {
            let ended = tokio::select! {
                biased;
                () = tasks.stopping() => return self.leave(&mut place).await,
                ended = self.session(&mut outlet, &mut place, &mut failures) => ended,
            };
            let Err(Failure(detail)) = ended;
            self.parts.board.failed(&self.stream.name, &detail);
            self.parts.observer.record(&StreamFailed { stream: self.stream.name.clone(), detail });
            failures += 1;
            self.leave(&mut place).await;
            tokio::select! {
                biased;
                () = tasks.stopping() => return,
                () = self.parts.clock.sleep(pause(failures)) => {}
            }
        }
    }

    /// Saves the place. Where that fails, the next session or the next start repeats a little.
    async fn leave(&self, place: &mut Option<Place>) {
        if let Some(place) = place
            && let Err(error) = place.save(&self.parts.ledger, &self.stream).await
        {
            tracing::warn!(stream = %self.stream.name, %error, "stream_cursor_not_saved");
        }
    }

    /// One connection, until it fails. What the one before got across without a confirm is sent again.
    async fn session(&self, outlet: &mut Outlet, place: &mut Option<Place>, failures: &mut u32) -> Result<Infallible, Failure> {
        let Parts { ledger, observer, board, .. } = &self.parts;
        let StreamSettings { name, followed, .. } = &*self.stream;
        outlet.connect().await?;
        let place = if let Some(place) = place {
            place
        } else {
            let cursor = ledger.stream_cursor(name, *followed).await?;
            place.insert(Place::at(cursor.ok_or_else(|| Failure("the cursor is gone from the ledger".to_owned()))?.position))
        };
        board.connected(name, place.position());
        observer.record(&StreamConnected { stream: name.clone(), position: place.position() });
        let mut heads = ledger.watch_heads();
        loop {
            if heads.latest().of(*followed) <= place.position() {
                self.idle(outlet, place, &mut heads).await?;
                continue;
            }
            let most = if *failures == 0 { PORTION_MAX } else { PORTION_AFTER_FAILURE };
            let portion = self.read(place.position(), most).await?;
            if portion.items.is_empty() {
                self.pass(&portion, place);
            } else {
                self.publish(outlet, place, portion).await?;
                *failures = 0;
            }
            if place.due().is_some_and(|due| due <= self.parts.clock.instant()) {
                place.save(ledger, &self.stream).await?;
            }
        }
    }

    /// Waits for something to follow, for the time to save the place, or for the time to ask whether the other side is there.
    async fn idle(&self, outlet: &mut Outlet, place: &mut Place, heads: &mut HeadsWatch) -> Result<(), Failure> {
        let Parts { ledger, clock, .. } = &self.parts;
        let wake = place.due().unwrap_or_else(|| clock.instant() + PING_PERIOD);
        tokio::select! {
            is_open = heads.moved() => is_open.then_some(()).ok_or_else(|| Failure("the ledger is closed".to_owned())),
            () = clock.sleep_until(wake) => match place.due() {
                Some(_) => Ok(place.save(ledger, &self.stream).await?),
                None => outlet.ping().await,
            },
        }
    }

    /// Publishes a portion and moves behind what was confirmed.
    async fn publish(&self, outlet: &mut Outlet, place: &mut Place, portion: Portion<Message>) -> Result<(), Failure> {
        let name = &self.stream.name;
        let (confirmed, refused, failure) = match outlet.publish(&portion.items).await {
            Ok(refused) => (portion.items.len(), refused, None),
            Err(Unconfirmed { confirmed, failure }) => (confirmed, 0, Some(failure)),
        };
        let (end, unreadable) = if confirmed == portion.items.len() {
            (portion.end, portion.unreadable)
        } else {
            // What is unreadable is counted when the cursor passes it, and it cannot be told here which side of the failure it is on.
            let last = confirmed.checked_sub(1).filter(|_| portion.unreadable == 0);
            (last.map_or(place.position(), |last| portion.items[last].record.position()), 0)
        };
        if end > place.position() {
            place.advance(end, unreadable, self.parts.clock.instant());
            self.parts.board.moved(name, end, confirmed as u64);
            self.parts.observer.record(&StreamPublished { stream: name.clone(), published: confirmed, refused, position: end });
        }
        failure.map_or(Ok(()), Err)
    }

    /// Passes over what is not for this stream.
    fn pass(&self, portion: &Portion<Message>, place: &mut Place) {
        if portion.rows > 0 {
            place.advance(portion.end, portion.unreadable, self.parts.clock.instant());
        } else {
            place.skip(portion.end);
        }
        self.parts.board.moved(&self.stream.name, portion.end, 0);
    }

    /// What comes after `position`, wrapped.
    async fn read(&self, position: u64, most: PortionMax) -> Result<Portion<Message>, Failure> {
        let stream = Arc::clone(&self.stream);
        let (ledger, envelope) = (&self.parts.ledger, stream.envelope);
        let portion = match self.stream.followed {
            Followed::Deliveries => {
                let wanted = move |tenant: &_, event: &_, action: Option<&_>| stream.takes(tenant, event, action);
                ledger.deliveries_after(position, most, wanted).await?.map(Record::Delivery)
            }
            Followed::Emits => {
                let wanted = move |tenant: &_| stream.opt_in.takes(tenant);
                ledger.emits_after(position, most, wanted).await?.map(Record::Emit)
            }
        };
        Ok(portion.map(|record| envelope.wrap(record)))
    }
}

/// The pause before the next connection, half of it by chance, so that hosts that failed together do not come back together.
fn pause(failures: u32) -> Duration {
    let most = PAUSE_MIN.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(PAUSE_MAX);
    most / 2 + (most / 2).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_their_bounds() {
        for failures in [1, 2, 5, 40, u32::MAX] {
            let pause = pause(failures);
            assert!((PAUSE_MIN / 2..=PAUSE_MAX).contains(&pause), "{failures}: {pause:?}");
        }
        assert!(pause(10) >= PAUSE_MAX / 2);
    }
}
