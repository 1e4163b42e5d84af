//! Strangers at the door, in crowds and with tricks. Whatever they do costs the host a bounded amount, and signed deliveries are accepted
//! meanwhile.
//!
//! Scaled down by default; `HOOKYARD_ABUSE=10` is the size the documents speak of (2,000 slow bodies, 10,000 idle connections, 100,000 paths).

use std::{sync::Arc, time::Duration};

use hookyard::{
    delivery::LegState,
    signature::{Secret, sign},
};
use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    load,
    process::ProcessHost,
    sender::{Post, Sender, fresh_guid},
    stranger::{self, ask, head, status},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

const MIB: u64 = 1 << 20;
/// Addresses a crowd comes from; the sender has one of its own.
const CROWD: std::ops::Range<usize> = 2..42;

fn scaled(count: usize) -> usize {
    let factor: usize = std::env::var("HOOKYARD_ABUSE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    count * factor
}

fn address(n: usize) -> u8 {
    u8::try_from(CROWD.start + n % CROWD.len()).expect("an address")
}

/// A host with these settings of its door, and its folder.
fn door(settings: &[&str]) -> (ProcessHost, Folder) {
    let folder = Folder::lay(&Layout::default());
    let variables = settings.iter().map(|setting| format!("HOOKYARD_INGEST__{setting}").into());
    let wrapper: Vec<_> = std::iter::once("env".into()).chain(variables).collect();
    (ProcessHost::start_under(&folder, &wrapper), folder)
}

fn sender(host: &ProcessHost) -> Sender {
    Sender::new(host.ingest, "default", "github", SECRET)
}

/// Signed deliveries of 7 kB, one after the other: each must be accepted.
async fn assert_accepts(sender: &Sender, count: usize) {
    for _ in 0..count {
        sender.post("push", load::random_document(7000)).await.accepted();
    }
}

/// The bytes of a signed push, for who keeps one connection and writes to it himself.
fn signed(guid: &str, body: &str) -> String {
    let signature = sign(&Secret::new(SECRET).expect("a secret"), body.as_bytes());
    let more = format!("x-github-hook-id: 292430182\r\ncontent-length: {}\r\n", body.len());
    let head = head("/webhooks/github", "application/json", &more);
    head.replace(stranger::FORGED, &signature).replace("x-github-delivery: stranger", &format!("x-github-delivery: {guid}")) + body
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn a_crowd_with_slow_bodies_of_37_mib_costs_bounded_memory_and_signed_deliveries_are_accepted() {
    const BUDGET: u64 = 64 * MIB;
    let (host, _folder) = door(&[&format!("BODY_BUDGET_BYTES_MAX={BUDGET}")]);
    let sender = sender(&host);
    assert_accepts(&sender, 5).await;
    let (before, strangers) = (host.peak_rss_bytes(), scaled(200));
    let mut crowd = JoinSet::new();
    for n in 0..strangers {
        let to = host.ingest;
        crowd.spawn(async move {
            let mut stream = stranger::connect(to, address(n)).await?;
            let head = head("/webhooks/github", "application/x-www-form-urlencoded", "content-length: 38797312\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            // As fast as it is taken, then slowly; a refusal ends it.
            let block = vec![b'x'; 64 * 1024];
            for _ in 0..16 {
                tokio::time::timeout(Duration::from_secs(2), stream.write_all(&block)).await.ok()?.ok()?;
            }
            Some(stream)
        });
    }
    assert_accepts(&sender, 50).await;
    let held = crowd.join_all().await.into_iter().flatten().count();
    assert_accepts(&sender, 50).await;
    let grown = host.peak_rss_bytes() - before;
    println!("{strangers} strangers sent up to 1 MiB each of 37: {held} still held, the peak grew by {} MiB", grown / MIB);
    assert!(grown < 2 * BUDGET + strangers as u64 * 64 * 1024, "{grown} bytes");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn idle_connections_and_endless_heads_are_closed_and_signed_deliveries_are_accepted() {
    let (host, _folder) = door(&["HEAD_TIMEOUT_MS=3000", "CONNECTIONS_MAX=12000"]);
    let sender = sender(&host);
    assert_accepts(&sender, 5).await;
    let (before, connections) = (host.peak_rss_bytes(), scaled(1000));
    // One after the other: of a thousand at once the kernel would forget some before the host could take them.
    let mut crowd = Vec::new();
    for n in 0..connections {
        let mut stream = stranger::connect(host.ingest, address(n)).await.expect("a connection");
        if n % 2 == 0 {
            stream.write_all(b"POST /webhooks/github HTTP/1.1\r\nhost: ho").await.expect("a written beginning");
        }
        crowd.push(stream);
    }
    assert_accepts(&sender, 50).await;
    let grown = host.peak_rss_bytes() - before;
    println!("{} idle connections, half of them in a head: the peak grew by {} MiB", crowd.len(), grown / MIB);
    assert!(grown < 32 * MIB + connections as u64 * 32 * 1024, "{grown} bytes");
    let closed = async {
        for stream in &mut crowd {
            assert_eq!(stranger::answer(stream).await, "", "who asks nothing is answered nothing");
        }
    };
    tokio::time::timeout(Duration::from_secs(15), closed).await.expect("all are closed after the time for a head");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_a_connected_sender_is_served_and_afterwards_everybody_is() {
    let plugin =
        (("default".to_owned(), "ack".to_owned()), (guests::component("ack"), "sources = [\"github\"]\nevents = [\"*\"]\n".to_owned()));
    let folder = Folder::lay(&Layout { plugins: [plugin].into(), ..Layout::default() });
    let limited = ["sh", "-c", "ulimit -n 160; exec \"$0\" \"$@\""].map(Into::into);
    let host = ProcessHost::start_under(&folder, &limited);
    // A pool of connections would open a second one where the first is not back yet, and the host has no descriptor for that.
    let mut connected = stranger::connect(host.ingest, 1).await.expect("a connection");
    assert_eq!(status(&ask(&mut connected, signed(&fresh_guid(), "{\"n\":0}").as_bytes()).await), 202);
    let mut crowd = Vec::new();
    for n in 0..300 {
        crowd.extend(stranger::connect(host.ingest, address(n)).await);
    }
    for n in 1..=20 {
        assert_eq!(status(&ask(&mut connected, signed(&fresh_guid(), &format!("{{\"n\":{n}}}")).as_bytes()).await), 202);
    }
    drop(crowd);
    let newcomer = Sender::new(host.ingest, "default", "github", SECRET);
    let mut answer = newcomer.try_send(Post::json("push", "{\"late\":1}")).await;
    while answer.is_err() {
        answer = newcomer.try_send(Post::json("push", "{\"late\":1}")).await;
    }
    let id = answer.expect("an answer").accepted();
    host.kill();
    let host = TestHost::start_on(folder, hookyard::clock::Clock::system()).await;
    assert_eq!(host.settled(id).await.legs[0].state, LegState::Acked, "the plugin was routed to all the time");
}

/// Samples of the host's own metrics, and lines of its log.
async fn told(host: &ProcessHost) -> (usize, usize) {
    let mut stream = TcpStream::connect(host.admin).await.expect("an open port");
    let metrics = ask(&mut stream, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&metrics), 200, "{metrics:.300}");
    (metrics.lines().filter(|line| line.starts_with("hookyard_")).count(), host.log().lines().count())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn random_paths_tenants_and_forwarding_headers_add_no_series_few_lines_and_little_memory() {
    let (host, _folder) = door(&["ADDRESS_FAILURES_PER_MIN_MAX=1000000", "ADDRESS_RATE_PER_S_MAX=1000000"]);
    assert_accepts(&sender(&host), 5).await;
    let calls = scaled(10_000);
    let mut sent = 0;
    let mut after_first = (0, 0);
    let before = host.peak_rss_bytes();
    while sent < calls {
        let mut crowd = JoinSet::new();
        for n in 0..8 {
            let to = host.ingest;
            crowd.spawn(async move {
                for _ in 0..125 {
                    let name = format!("{:x}", fastrand::u64(..));
                    let path = match fastrand::u8(..3) {
                        0 => format!("/{name}"),
                        1 => format!("/webhooks/{name}"),
                        _ => format!("/t/{name}/webhooks/{name}"),
                    };
                    let more = format!("x-forwarded-for: 10.{}.1.2\r\ncontent-length: 2\r\n", fastrand::u8(..));
                    let request = head(&path, "application/json", &more) + "{}";
                    let mut stream = stranger::connect(to, address(n)).await.expect("a connection");
                    let said = ask(&mut stream, request.as_bytes()).await;
                    assert!([401, 404].contains(&status(&said)), "{said}");
                }
            });
        }
        sent += 1000;
        crowd.join_all().await;
        if after_first.0 == 0 {
            after_first = told(&host).await;
        }
    }
    let (series, lines) = told(&host).await;
    let grown = host.peak_rss_bytes() - before;
    println!("{sent} random paths: {} series, now {series}, {lines} lines of log, the peak grew by {} MiB", after_first.0, grown / MIB);
    assert!(series <= after_first.0 + 5, "{series} series, {} after the first thousand", after_first.0);
    assert!(lines < sent / 2 && grown < 64 * MIB, "{lines} lines, {grown} bytes");
    assert_accepts(&sender(&host), 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_signatures_are_refused_unread_whatever_they_claim_to_come_from_but_the_provider_at_that_address_is_not() {
    let (host, _folder) = door(&["ADDRESS_FAILURES_PER_MIN_MAX=50"]);
    let sender = sender(&host);
    assert_accepts(&sender, 1).await;
    let mut last = 0;
    for n in 0..100 {
        // The provider's own address, and a claim of another one in each call.
        let mut stream = stranger::connect(host.ingest, 1).await.expect("a connection");
        let more = format!("x-forwarded-for: 10.0.0.{n}\r\nforwarded: for=10.0.0.{n}\r\ncontent-length: 2\r\n");
        let other_source = if n % 2 == 0 { "/webhooks/github" } else { "/t/nobody/webhooks/github" };
        last = status(&ask(&mut stream, [head(other_source, "application/json", &more).as_bytes(), b"{}"].concat().as_slice()).await);
    }
    assert_eq!(last, 429, "the address is refused for a source it never signed for");
    assert_accepts(&sender, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_hide_another_one_are_refused_and_nothing_of_them_is_accepted() {
    let host = TestHost::builder().start().await;
    let to = host.inner().ingest_address().expect("a host that takes deliveries");
    let hidden = head("/webhooks/github", "application/json", "content-length: 2\r\n") + "{}";
    for framing in [
        format!("content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("content-length: 0\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()),
        format!("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: xchunked\r\n\r\n{hidden}"),
        format!("content-length: +{}\r\n\r\n{hidden}", hidden.len()),
        format!("content-length : {}\r\n\r\n{hidden}", hidden.len()),
        format!("transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{hidden}"),
        format!("x: a\r\n b: c\r\ncontent-length: 0\r\n\r\n{hidden}"),
        format!("x: a\ncontent-length: 0\n\n{hidden}"),
    ] {
        let head = head("/webhooks/github", "application/json", "");
        let request = head.trim_end().to_owned() + "\r\n" + &framing;
        let mut stream = stranger::connect(to, 2).await.expect("a connection");
        let said = ask(&mut stream, request.as_bytes()).await;
        assert!((400..500).contains(&status(&said)) || said.is_empty(), "{framing}: {said}");
    }
    // HTTP/2 is not spoken: there are no streams to multiply, reset or continue.
    let mut stream = stranger::connect(to, 2).await.expect("a connection");
    let said = ask(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    assert_eq!(host.inner().ledger().books().await.expect("books").accepted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_bodies_of_odd_shapes_are_answered_and_harm_nobody() {
    let host = TestHost::builder().plugin("echo", guests::component("publish-document")).start().await;
    let sender = host.sender();
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for (document, status) in [
        (nested(100), 202),
        (nested(1_000_000), 400),
        ("{\"a\":".repeat(1_000_000), 400),
        (r#"{"action":"a","action":"b"}"#.to_owned(), 202),
        (r#"{"action":7,"installation":"x","repository":[]}"#.to_owned(), 202),
        (format!("{{\"action\":\"{}\"}}", "x".repeat(1_000_000)), 202),
        ("1e999999".to_owned(), 202),
    ] {
        let answer = sender.post("push", document.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{document:.60}: {}", answer.body);
    }
    host.drained().await;
    let twice = host.emits().await.into_iter().find(|emit| emit.body.starts_with("{\"action\":\"a\"")).expect("the body with a key twice");
    assert_eq!(host.delivery(twice.delivery_id).await.action.as_deref(), Some("b"), "the last one counts, as for the plugin");
}

/// A client may hang up at any byte of its request and before the answer; what it sends again is accepted or known, and runs once.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_byte_loses_nothing_and_repeats_nothing() {
    let host = Arc::new(TestHost::builder().plugin("echo", guests::component("publish-document")).start().await);
    let to = host.inner().ingest_address().expect("a host that takes deliveries");
    let length = signed(&fresh_guid(), "{\"n\":1000}").len();
    let mut sent = Vec::new();
    for at in (1..=length).step_by(3).chain([length; 30]) {
        let (guid, body) = (fresh_guid(), format!("{{\"n\":{}}}", 1000 + sent.len()));
        let mut stream = stranger::connect(to, 1).await.expect("a connection");
        stream.write_all(&signed(&guid, &body).as_bytes()[..at.min(length)]).await.expect("a written request");
        drop(stream);
        sent.push(Post::json("push", body).guid(&guid));
    }
    for post in &sent {
        let answer = host.sender().send(post.clone()).await;
        assert!([200, 202].contains(&answer.status.as_u16()), "{}", answer.body);
    }
    host.drained().await;
    assert_eq!(host.emits().await.len(), sent.len(), "each ran once");
}
