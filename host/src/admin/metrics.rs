//! `GET /metrics`: one scrape at a time, for all who ask.
//!
//! A scrape is counted, not scanned: queues, dead letters, streams and shares are numbers somebody keeps. Only the books are a scan, of every
//! leg's row, because that is what they are for; they are counted now and then, behind the scrapes, and told as they were. What is left is
//! writing the text, of up to 50,000 series. Scrapers that come at once get the same text, and a text is used for so long that making them
//! takes a tenth of the time at most, however many ask.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};

use super::{Parts, streams};
use crate::{
    delivery::{Timestamp, view::PluginView},
    observe::Scrape,
    tasks::Tasks,
};

/// Of the time, a text is made in one part and used in so many more.
const USED_FOR: u32 = 9;
/// The books are counted no more often, and take a twentieth of the time at most.
const BOOKS_EVERY: Duration = Duration::from_mins(1);
const BOOKS_REST: u32 = 19;

/// What scrapes share.
#[derive(Debug, Default)]
pub(super) struct Scraper {
    last: tokio::sync::Mutex<Option<Text>>,
    books: Mutex<Books>,
    /// One count at a time, whoever asks.
    counting: tokio::sync::Mutex<()>,
}

/// A text, and until when it is used.
#[derive(Debug)]
struct Text {
    text: Bytes,
    until: Instant,
}

/// The last count of the books.
#[derive(Debug, Default)]
struct Books {
    gap: Option<u64>,
    /// When they are to be counted again; none before the first count.
    due: Option<Instant>,
    is_counting: bool,
}

pub(super) async fn metrics(
    State(parts): State<Parts>,
    Extension(scraper): Extension<Arc<Scraper>>,
    Extension(tasks): Extension<Tasks>,
) -> Response {
    let gap = scraper.gap(&parts, &tasks);
    let text = scraper.text(&parts, gap).await;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

impl Scraper {
    /// Counts the books for who wants them now.
    pub(super) async fn books(&self, parts: &Parts) -> Result<crate::ledger::Books, crate::ledger::LedgerError> {
        let _one = self.counting.lock().await;
        parts.ledger.books().await
    }

    async fn text(&self, parts: &Parts, gap: Option<u64>) -> Bytes {
        let mut last = self.last.lock().await;
        let began = parts.clock.instant();
        if let Some(Text { text, .. }) = last.as_ref().filter(|last| began < last.until) {
            return text.clone();
        }
        let text = Bytes::from(parts.observer.encode(&scrape(parts, gap).await));
        let ended = parts.clock.instant();
        *last = Some(Text { text: text.clone(), until: ended + ended.saturating_duration_since(began) * USED_FOR });
        text
    }

    /// What the books said last; where it is time, they are counted again behind this scrape.
    fn gap(self: &Arc<Self>, parts: &Parts, tasks: &Tasks) -> Option<u64> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if !books.is_counting && books.due.is_none_or(|due| due <= parts.clock.instant()) {
            books.is_counting = true;
            let (scraper, parts, stop) = (Arc::clone(self), parts.clone(), tasks.clone());
            tasks.spawn_brief(async move {
                tokio::select! {
                    () = stop.stopping() => {}
                    () = scraper.count(&parts) => {}
                }
            });
        }
        books.gap
    }

    async fn count(&self, parts: &Parts) {
        let began = parts.clock.instant();
        let counted = self.books(parts).await;
        let took = parts.clock.instant().saturating_duration_since(began);
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        // Books that could not be counted say nothing new.
        let gap = counted.map_or(books.gap, |counted| Some(counted.gap));
        *books = Books { gap, due: Some(began + took + BOOKS_EVERY.max(took * BOOKS_REST)), is_counting: false };
    }
}

/// A queue or ledger that does not answer is a metric, not a failed scrape.
async fn scrape(parts: &Parts, books_gap: Option<u64>) -> Scrape {
    let (queues, parked) = tokio::join!(parts.broker.depth(), parts.ledger.oldest_parked());
    // Only those that are configured: the cursor of one that was removed stands still for good.
    let streams = streams::views(parts).await.unwrap_or_default().into_iter().filter(|stream| stream.kind.is_some()).collect();
    let now = parts.clock.now();
    let age = |(tenant, plugin, received_at): (_, _, Timestamp)| (tenant, plugin, now.since(received_at));
    let is_broken = |view: &PluginView| view.breaker.as_ref().is_some_and(|breaker| breaker.state != "closed");
    let broken = parts.catalog.views(None).into_iter().filter(is_broken).map(|view| (view.tenant, view.name)).collect();
    Scrape {
        queues: queues.ok(),
        books_gap,
        ledger_log_bytes: parts.ledger.log_bytes(),
        streams,
        broken,
        relay_lag: parts.ledger.relay_lag(),
        shares: parts.shares.clone(),
        oldest_parked: parked.unwrap_or_default().into_iter().map(age).collect(),
    }
}
