//! `GET /api/v1/events`: facts as server-sent events, as they happen.
//!
//! The stream is pulled by the connection, so a slow reader costs nothing but its own events: it is told how many it lost (`lagged`). A comment
//! every 15 s keeps proxies from closing a quiet stream and lets a reader that has left be noticed.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use http_body::Frame;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{clock::Clock, observe::LiveEvent, tasks::Tasks, text::escaped};

/// How long a stream may be silent.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The body of the answer; it ends when the listener closes.
pub(super) struct Events(NextPiece);

type NextPiece = Pin<Box<dyn Future<Output = Option<(Bytes, Source)>> + Send>>;

/// Where a stream's events come from.
pub(super) struct Source {
    pub(super) live: Receiver<LiveEvent>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
}

impl Source {
    /// The next piece of the stream; none when there will be no more.
    pub(super) async fn next(mut self) -> Option<(Bytes, Self)> {
        let text = tokio::select! {
            () = self.tasks.stopping() => return None,
            () = self.clock.sleep(KEEP_ALIVE) => ": still here\n\n".to_owned(),
            event = self.live.recv() => match event {
                Ok(event) => line(&event)?,
                Err(RecvError::Lagged(lost)) => format!("event: lagged\ndata: {{\"lost\":{lost}}}\n\n"),
                Err(RecvError::Closed) => return None,
            },
        };
        Some((text.into(), self))
    }
}

impl Events {
    pub(super) fn new(source: Source) -> Self {
        Self(Box::pin(async move { Some((Bytes::from_static(b": listening\n\n"), source)) }))
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.0 = Box::pin(std::future::pending());
                Poll::Ready(None)
            }
            Poll::Ready(Some((text, source))) => {
                self.0 = Box::pin(source.next());
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
        }
    }
}

/// JSON has no raw line ends, so an event is one `data` line whatever its fields hold.
fn line(event: &LiveEvent) -> Option<String> {
    let data = serde_json::to_string(event).ok()?;
    Some(format!("event: {}\ndata: {}\n\n", event.kind, escaped(&data)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        delivery::Timestamp,
        observe::{Observer, facts::SettingsReloaded},
    };

    fn source(observer: &Observer, clock: &Clock) -> Source {
        Source { live: observer.subscribe(), clock: clock.clone(), tasks: Tasks::new() }
    }

    #[tokio::test]
    async fn a_fact_is_one_event_whatever_its_text_holds() {
        let (observer, clock) = (Observer::default(), Clock::manual(Timestamp::from_unix_ms(0)));
        let source = source(&observer, &clock);
        observer.record(&SettingsReloaded { problems: vec!["two\n\ndata: lines\r\n".into()], ..SettingsReloaded::default() });
        let (text, _) = source.next().await.unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.starts_with("event: settings_reloaded\ndata: {"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[tokio::test]
    async fn a_quiet_stream_is_kept_alive_and_ends_when_the_listener_closes() {
        let (observer, clock) = (Observer::default(), Clock::manual(Timestamp::from_unix_ms(0)));
        let source = source(&observer, &clock);
        let tasks = source.tasks.clone();
        let (next, ()) = tokio::join!(source.next(), async {
            tokio::task::yield_now().await;
            clock.advance(KEEP_ALIVE);
        });
        let (text, source) = next.unwrap();
        assert_eq!(&text[..], b": still here\n\n");
        tasks.stop(Duration::ZERO).await;
        assert!(source.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_lags_is_told_how_much_it_lost() {
        let (observer, clock) = (Observer::default(), Clock::manual(Timestamp::from_unix_ms(0)));
        let source = source(&observer, &clock);
        for _ in 0..1030 {
            observer.record(&SettingsReloaded::default());
        }
        let (text, _) = source.next().await.unwrap();
        assert_eq!(&text[..], b"event: lagged\ndata: {\"lost\":6}\n\n");
    }
}
