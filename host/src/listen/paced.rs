//! A stream that knows how long its peer has not read.
//!
//! Time begins where the socket takes no more, and ends where everything that was to be written is gone. In between the peer must take a few
//! bytes a second: who takes one now and then only seems to read.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use super::Times;
use crate::clock::Clock;

/// The stream of a connection.
pub(super) struct Paced<S> {
    stream: S,
    writes: Arc<Writes>,
}

/// How its writes are going.
#[derive(Debug)]
pub(super) struct Writes {
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Since when something waits to be written; none where nothing does.
    waits_since: Option<Instant>,
    /// What was written meanwhile.
    bytes: u64,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, clock: Clock) -> (Self, Arc<Writes>) {
        let writes = Arc::new(Writes { clock, state: Mutex::default(), changed: Notify::new() });
        (Self { stream, writes: Arc::clone(&writes) }, writes)
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Pending => self.writes.wait(),
            Poll::Ready(Ok(bytes)) => self.writes.lock().bytes += *bytes as u64,
            Poll::Ready(Err(_)) => {}
        }
        polled
    }
}

impl Writes {
    /// Completes when nothing waits to be written.
    pub(super) async fn are_done(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().waits_since.is_none() {
                return;
            }
            changed.await;
        }
    }

    /// Completes when the peer has read too little for too long.
    pub(super) async fn stall(&self, times: Times) {
        loop {
            let changed = self.changed.notified();
            let Some(limit) = self.limit(times) else {
                changed.await;
                continue;
            };
            if limit <= self.clock.instant() {
                return;
            }
            self.clock.sleep_until(limit).await;
        }
    }

    /// Until when a peer that reads as slowly as it may has read what it has.
    fn limit(&self, times: Times) -> Option<Instant> {
        let state = *self.lock();
        let slowest = Duration::from_secs(state.bytes / times.bytes_per_s_min.max(1) as u64);
        Some(state.waits_since? + times.write.max(slowest))
    }

    fn wait(&self) {
        let mut state = self.lock();
        if state.waits_since.is_none() {
            *state = State { waits_since: Some(self.clock.instant()), bytes: 0 };
            drop(state);
            self.changed.notify_waiters();
        }
    }

    fn done(&self) {
        if self.lock().waits_since.take().is_some() {
            self.changed.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Two numbers that are written without a panic between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Whoever flushes has given everything to `poll_write` before, so the end of it is the end of what waits.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        match &polled {
            Poll::Pending => self.writes.wait(),
            Poll::Ready(_) => self.writes.done(),
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::delivery::Timestamp;

    const TIMES: Times = Times { head: Duration::ZERO, write: Duration::from_secs(10), bytes_per_s_min: 10, head_bytes_max: 0 };

    async fn is_ready(future: impl Future<Output = ()>) -> bool {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    /// A stream with a buffer of 100 bytes that is full, and one byte more to be written.
    async fn full() -> (Clock, tokio::io::DuplexStream, Paced<tokio::io::DuplexStream>, Arc<Writes>) {
        let clock = Clock::manual(Timestamp::from_unix_ms(0));
        let (ours, theirs) = tokio::io::duplex(100);
        let (mut paced, writes) = Paced::new(ours, clock.clone());
        paced.write_all(&[0; 100]).await.unwrap();
        assert!(is_ready(writes.are_done()).await && !is_ready(writes.stall(TIMES)).await);
        assert!(!is_ready(async { paced.write_all(&[0]).await.unwrap() }).await);
        (clock, theirs, paced, writes)
    }

    #[tokio::test]
    async fn who_does_not_read_is_found_out_after_its_time() {
        let (clock, _theirs, _paced, writes) = full().await;
        clock.advance(Duration::from_secs(9));
        assert!(!is_ready(writes.stall(TIMES)).await && !is_ready(writes.are_done()).await);
        clock.advance(Duration::from_secs(1));
        assert!(is_ready(writes.stall(TIMES)).await);
    }

    #[tokio::test]
    async fn who_reads_a_byte_now_and_then_is_found_out_too_and_who_reads_slowly_is_not() {
        let (clock, mut theirs, mut paced, writes) = full().await;
        for _ in 0..9 {
            clock.advance(Duration::from_secs(1));
            assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 1);
            paced.write_all(&[0]).await.unwrap();
        }
        clock.advance(Duration::from_secs(1));
        assert!(is_ready(writes.stall(TIMES)).await, "9 bytes in 10 s");
        let (clock, mut theirs, mut paced, writes) = full().await;
        for _ in 0..9 {
            clock.advance(Duration::from_secs(1));
            theirs.read_exact(&mut [0; 20]).await.unwrap();
            paced.write_all(&[0; 20]).await.unwrap();
        }
        clock.advance(Duration::from_secs(1));
        assert!(!is_ready(writes.stall(TIMES)).await, "180 bytes in 10 s");
        paced.flush().await.unwrap();
        assert!(is_ready(writes.are_done()).await);
    }
}
