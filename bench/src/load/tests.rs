//! The generator measures what it claims to.

use std::sync::OnceLock;

use super::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{bare, payload::Key};

fn schedule(pace: Pace) -> Schedule {
    Schedule { began: Clock::system().instant(), next: AtomicU64::new(0), pace }
}

async fn bare_target(expected: StatusCode) -> (Target, JoinSet<anyhow::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { address: listener.local_addr().unwrap(), expected };
    let mut server = JoinSet::new();
    server.spawn(bare::accept(listener, Key::new().unwrap(), None));
    (target, server)
}

#[test]
fn an_open_loop_keeps_its_times_however_late_it_is_asked() {
    let schedule = schedule(Pace::Open { per_s: 1000, span: Duration::from_millis(3) });
    let late = schedule.began + Duration::from_mins(1);
    let offsets: Vec<_> = std::iter::from_fn(|| schedule.take(late)).map(|intended| intended - schedule.began).collect();
    assert_eq!(offsets, [0, 1, 2].map(Duration::from_millis));
}

#[test]
fn a_closed_loop_intends_now_and_ends_with_its_count_or_its_time() {
    let counted = schedule(Pace::ClosedCount(2));
    let now = counted.began + Duration::from_secs(5);
    assert_eq!([counted.take(now), counted.take(now), counted.take(now)], [Some(now), Some(now), None]);
    let timed = schedule(Pace::ClosedFor(Duration::from_secs(1)));
    assert!(timed.take(timed.began + Duration::from_millis(999)).is_some());
    assert!(timed.take(timed.began + Duration::from_secs(1)).is_none());
}

#[tokio::test]
async fn every_delivery_of_a_count_is_signed_sent_and_answered_once() {
    let (target, _server) = bare_target(StatusCode::ACCEPTED).await;
    let deliveries = Arc::new(Deliveries::pushes(1).unwrap());
    let measured = drive(target, &deliveries, Pace::ClosedCount(500), &Clock::system()).await.unwrap();
    assert_eq!(measured.latency.len(), 500);
    assert!(measured.latency.quantile(0.5) > Duration::ZERO && measured.elapsed >= measured.latency.max());
}

#[tokio::test]
async fn an_unexpected_answer_fails_the_measurement() {
    let (target, _server) = bare_target(StatusCode::OK).await;
    let deliveries = Arc::new(Deliveries::small(1).unwrap());
    let error = drive(target, &deliveries, Pace::ClosedCount(1), &Clock::system()).await.unwrap_err().to_string();
    assert!(error.contains("answered 202 Accepted where 200 OK was expected"), "{error}");
}

/// The test that a generator with coordinated omission fails: the server answers nobody for a while, and everybody due meanwhile is late, not
/// only the 64 that were on the line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_the_server_is_charged_to_all_who_were_due_in_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { address: listener.local_addr().unwrap(), expected: StatusCode::ACCEPTED };
    let span = Duration::from_millis(400);
    let mut server = JoinSet::new();
    server.spawn(async move {
        // The pause begins with the first request: how long connecting takes on a busy machine is not what is tried.
        let (resume, mut connections) = (Arc::<OnceLock<Instant>>::default(), JoinSet::new());
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer_after(stream, (Arc::clone(&resume), span)));
        }
    });
    let deliveries = Arc::new(Deliveries::small(1).unwrap());
    let measured = drive(target, &deliveries, Pace::Open { per_s: 1000, span }, &Clock::system()).await.unwrap();
    assert_eq!(measured.latency.len(), 400);
    let median = measured.latency.quantile(0.5);
    assert!(median > span / 4, "the median is {median:?}, as if most had not waited");
}

async fn answer_after(mut stream: TcpStream, (resume, pause): (Arc<OnceLock<Instant>>, Duration)) {
    let (clock, mut buffer) = (Clock::system(), [0; 4096]);
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
        clock.sleep_until(*resume.get_or_init(|| clock.instant() + pause)).await;
        if stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            break;
        }
    }
}
