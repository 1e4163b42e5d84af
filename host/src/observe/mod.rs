//! Facts, metrics and logs.
//!
//! The pipeline states facts; what a fact counts, which line it writes and what onlookers see is decided here, in one place. Stating a fact
//! costs a few look-ups under a read lock; it formats only where a subscriber wants the line and builds an event only where somebody looks on.

mod board;
mod broker_gauges;
pub mod facts;
mod labels;
mod lines;
pub mod logging;
mod metrics;
mod readiness;
mod sampling;
mod share_gauges;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::broadcast;

use crate::{clock::Clock, delivery::Timestamp};

pub use board::{StreamBoard, StreamStatus};
pub use lines::DroppedLines;
pub use metrics::{Metrics, SERIES_MAX, Scrape};
pub use readiness::Readiness;

/// Events an onlooker may lag behind before it loses the oldest.
const LIVE_EVENTS_MAX: usize = 1024;

/// Something that can be said once, as a metric and a log line.
pub trait Fact {
    /// The fact's one name: the log line's message and the live event's kind.
    fn kind(&self) -> &'static str;
    /// Counts it.
    fn count(&self, metrics: &Metrics);
    /// Writes its line.
    fn log(&self);
    /// The fields an onlooker is shown.
    fn fields(&self) -> Fields;
    /// Whether a stranger can cause it as often as he likes: its lines and events are then sampled, its count is not.
    fn is_sampled(&self) -> bool {
        false
    }
}

/// Fields of a live event: small values, never a body.
pub type Fields = BTreeMap<&'static str, serde_json::Value>;

/// A fact as onlookers see it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LiveEvent {
    /// The fact's name.
    pub kind: &'static str,
    /// When it was stated.
    pub at: Timestamp,
    /// Its fields, named as in the log line.
    pub fields: Fields,
}

/// Takes facts; cheap to clone.
#[derive(Clone, Debug)]
pub struct Observer(Arc<State>);

#[derive(Debug)]
struct State {
    metrics: Metrics,
    live: broadcast::Sender<LiveEvent>,
    strangers: sampling::Sampler,
    clock: Clock,
}

impl Default for Observer {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

impl Observer {
    /// Whether the broker's connections stand; an engine that has none never says so.
    pub fn broker_connected(&self, is_connected: bool) {
        self.0.metrics.broker().is_away(!is_connected);
    }

    /// Whether RabbitMQ has an alarm and takes no messages.
    pub fn broker_blocked(&self, is_blocked: bool) {
        self.0.metrics.broker().is_blocked(is_blocked);
    }

    /// A call at the admin listener was refused: `token_invalid`, `connections_exhausted` or `requests_exhausted`.
    pub fn admin_refused(&self, result: &'static str) {
        self.0.metrics.admin_refused(result);
    }

    /// What came of giving a leg to RabbitMQ: `confirmed`, `refused`, `unknown` or `not_sent`.
    pub fn relayed(&self, result: &'static str) {
        self.0.metrics.broker().relayed(result);
    }

    /// An observer that has seen nothing.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::of(clock, DroppedLines::default())
    }

    /// The same, which also tells how many lines of the log were dropped.
    #[must_use]
    pub fn of(clock: Clock, dropped: DroppedLines) -> Self {
        let (live, _) = broadcast::channel(LIVE_EVENTS_MAX);
        Self(Arc::new(State { metrics: Metrics::new(dropped), live, strangers: sampling::Sampler::default(), clock }))
    }

    /// Counts a fact, writes its line and shows it to who looks on.
    pub fn record(&self, fact: &impl Fact) {
        let state = &*self.0;
        fact.count(&state.metrics);
        if fact.is_sampled() && !state.strangers.admits(state.clock.instant()) {
            state.metrics.log_line_suppressed();
            return;
        }
        fact.log();
        if state.live.receiver_count() > 0 {
            let event = LiveEvent { kind: fact.kind(), at: state.clock.now(), fields: fact.fields() };
            // Fails only if the last onlooker has left since the question above.
            let _ = state.live.send(event);
        }
    }

    /// The metrics in the `OpenMetrics` text format; `scrape` brings the gauges that are read when asked for.
    #[must_use]
    pub fn encode(&self, scrape: &Scrape) -> String {
        self.0.metrics.encode(scrape)
    }

    /// Facts from now on. Who lags more than a thousand events behind loses the oldest and is told how many.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<LiveEvent> {
        self.0.live.subscribe()
    }
}

#[cfg(test)]
mod tests;
