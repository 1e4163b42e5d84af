//! The load generator: keep-alive connections that take their turn from one schedule.
//!
//! In an open loop, arrivals come at fixed times whether or not the server keeps up, and a latency counts from the time the delivery *should*
//! have been sent. A server that stops for a second is therefore charged for everyone who would have called in that second, and not only for
//! the one call that was under way (the mistake known as coordinated omission). In a closed loop each connection sends as soon as its last
//! answer is in, which finds the most a server does.
//!
//! The timer's resolution of a millisecond counts against the server, and any answer but the expected one fails the whole measurement: a rate
//! of refusals is not a rate.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hookyard::clock::Clock;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{histogram::Histogram, payload::Deliveries};

/// Connections of every measurement.
pub(crate) const CONNECTIONS: u32 = 64;
/// How long an answer may take before the measurement has failed.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Who is called, and what counts as taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The status of a delivery that was taken.
    pub(crate) expected: StatusCode,
}

/// When deliveries are sent, and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As fast as answers come, for a time.
    ClosedFor(Duration),
    /// As fast as answers come, so many.
    ClosedCount(u64),
    /// So many a second whatever comes, for a time.
    Open {
        /// Arrivals a second.
        per_s: u32,
        /// For how long.
        span: Duration,
    },
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// From the intended time to the whole answer.
    pub(crate) latency: Histogram,
    /// When the first answer was in.
    pub(crate) first_answer: Instant,
    /// From the first intended time to the last answer.
    pub(crate) elapsed: Duration,
}

/// Who sends next, and when.
struct Schedule {
    began: Instant,
    next: AtomicU64,
    pace: Pace,
}

/// What one connection has seen.
struct Seen {
    latency: Histogram,
    first_answer: Option<Instant>,
    last_answer: Instant,
}

impl Measured {
    /// Answers a second.
    pub(crate) fn per_s(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let count = self.latency.len() as f64;
        count / self.elapsed.as_secs_f64()
    }
}

impl Schedule {
    /// The intended time of the next delivery; none when all are sent.
    fn take(&self, now: Instant) -> Option<Instant> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        match self.pace {
            Pace::ClosedFor(span) => (now.saturating_duration_since(self.began) < span).then_some(now),
            Pace::ClosedCount(count) => (n < count).then_some(now),
            Pace::Open { per_s, span } => {
                let offset = Duration::from_nanos(n.saturating_mul(1_000_000_000) / u64::from(per_s.max(1)));
                (offset < span).then(|| self.began + offset)
            }
        }
    }
}

/// Sends deliveries over [`CONNECTIONS`] connections and waits for every answer.
pub(crate) async fn drive(target: Target, deliveries: &Arc<Deliveries>, pace: Pace, clock: &Clock) -> anyhow::Result<Measured> {
    let mut connections = Vec::new();
    let mut drivers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(target.address, &mut drivers).await?);
    }
    let began = clock.instant();
    let schedule = Arc::new(Schedule { began, next: AtomicU64::new(0), pace });
    let mut senders = JoinSet::new();
    for connection in connections {
        let sender =
            Sender { target, connection, deliveries: Arc::clone(deliveries), schedule: Arc::clone(&schedule), clock: clock.clone() };
        senders.spawn(sender.run());
    }
    let (mut latency, mut first, mut last) = (Histogram::default(), None::<Instant>, began);
    while let Some(seen) = senders.join_next().await {
        let seen = seen.context("a sender broke off")??;
        latency.merge(&seen.latency);
        first = first.into_iter().chain(seen.first_answer).min();
        last = last.max(seen.last_answer);
    }
    let first_answer = first.context("nothing was sent")?;
    Ok(Measured { latency, first_answer, elapsed: last.saturating_duration_since(began) })
}

async fn connect(address: SocketAddr, drivers: &mut JoinSet<()>) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("{address} takes no connection"))?;
    stream.set_nodelay(true)?;
    let (connection, driver) = handshake(TokioIo::new(stream)).await?;
    // How a connection ended is told by the request that was on it.
    drivers.spawn(async move { drop(driver.await) });
    Ok(connection)
}

/// One connection and all it needs.
struct Sender {
    target: Target,
    connection: SendRequest<Full<Bytes>>,
    deliveries: Arc<Deliveries>,
    schedule: Arc<Schedule>,
    clock: Clock,
}

impl Sender {
    async fn run(mut self) -> anyhow::Result<Seen> {
        let mut seen = Seen { latency: Histogram::default(), first_answer: None, last_answer: self.schedule.began };
        while let Some(intended) = self.schedule.take(self.clock.instant()) {
            if intended > self.clock.instant() {
                self.clock.sleep_until(intended).await;
            }
            self.send(self.deliveries.next()?).await?;
            let answered = self.clock.instant();
            seen.latency.record(answered.saturating_duration_since(intended));
            seen.first_answer.get_or_insert(answered);
            seen.last_answer = answered;
        }
        Ok(seen)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<()> {
        let exchange = async {
            self.connection.ready().await?;
            let response = self.connection.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        let answer = tokio::time::timeout(ANSWER_MAX, exchange).await;
        let (status, body) = answer.with_context(|| format!("no answer within {ANSWER_MAX:?}"))??;
        if status != self.target.expected {
            let text = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            bail!("{} answered {status} where {} was expected: {text}", self.target.address, self.target.expected);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
