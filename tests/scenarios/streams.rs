//! What is accepted and emitted is streamed onward to Redis, whoever of the two is killed; and nobody at the door notices.
//!
//! `HOOKYARD_KILLS` sets the number of kills (10 by default).

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::{Duration, Instant},
};

use hookyard::{clock::Clock, delivery::DeliveryId};
use serde_json::Value;
use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    process::{ProcessHost, binary},
    redis::{Entry, RedisServer},
    sender::Sender,
};

/// What a stream repeats at most after each kill, on either side: a portion of 256, and what it sent in a tenth of a second.
const REPEATS_MAX: usize = 256 + 1000;

fn layout(redis: &RedisServer, more: &str) -> Layout {
    let url = redis.url_file();
    let stream = format!("[streams.redis]\nkind = \"redis\"\nurl = {{ file = \"{}\" }}\nstart = \"oldest\"\n", url.display());
    let manifest = "sources = [\"github\"]\nevents = [\"*\"]\n".to_owned();
    Layout {
        hookyard_toml: format!("{stream}{more}\n"),
        plugins: [(("default".to_owned(), "label".to_owned()), (guests::component("emit-then-ack"), manifest))].into(),
        ..Layout::default()
    }
}

async fn host(redis: &RedisServer, more: &str) -> TestHost {
    TestHost::start_on(Folder::lay(&layout(redis, more)), Clock::system()).await
}

/// The entries of a stream, once there are so many.
async fn entries(host: &TestHost, redis: &RedisServer, stream: &str, count: usize) -> Vec<Entry> {
    host.until(&format!("{count} entries in {stream}"), || async {
        let entries = redis.entries(stream).await;
        (entries.len() >= count).then_some(entries)
    })
    .await
}

fn ids(entries: &[Entry]) -> Vec<DeliveryId> {
    entries.iter().map(|entry| entry.field("delivery_id").parse().expect("a delivery id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_stands_in_the_stream_of_its_event_in_order_and_is_told_of() {
    let Some(redis) = RedisServer::start() else { return };
    let notices = redis.listen("github:events");
    let host = host(&redis, "tenants = [\"default\"]").await;
    let sender = host.sender();
    let mut accepted = Vec::new();
    for n in 0..20 {
        accepted.push(sender.post("push", format!("{{\"n\":{n}}}")).await.accepted());
    }
    let opened = sender.post("pull_request", r#"{"action":"opened","repository":{"full_name":"octo/hello"}}"#).await.accepted();
    let invented = sender.post("push_a1b2c3", r#"{"n":-1}"#).await.accepted();

    let pushes = entries(&host, &redis, "github:events:push", 20).await;
    assert_eq!(ids(&pushes), accepted);
    for (n, entry) in pushes.iter().enumerate() {
        assert_eq!((entry.field("event_type"), entry.field("payload")), ("push", format!("{{\"n\":{n}}}").as_str()));
        assert_eq!((entry.field("tenant"), entry.field("source"), entry.field("content_type")), ("default", "github", "application/json"));
        let at = host.delivery(accepted[n]).await;
        assert_eq!(entry.field("received_at"), at.received_at.to_string());
        assert_eq!(entry.field("provider_delivery_id"), at.provider_delivery_id);
    }
    let pull_requests = entries(&host, &redis, "github:events:pull_request", 1).await;
    assert_eq!(
        (ids(&pull_requests), pull_requests[0].field("action"), pull_requests[0].field("repository")),
        (vec![opened], "opened", "octo/hello")
    );
    let others = entries(&host, &redis, "github:events:other", 1).await;
    assert_eq!((ids(&others), others[0].field("event_type")), (vec![invented], "push_a1b2c3"));
    assert_eq!(redis.ask::<Vec<String>>(&["KEYS", "*"]).await.len(), 3, "an invented event makes no key of its own");

    let mut told = BTreeMap::new();
    while told.len() < 22 {
        let notice: Value = serde_json::from_str(&notices.recv().unwrap()).unwrap();
        told.insert((notice["stream"].as_str().unwrap().to_owned(), notice["message_id"].as_str().unwrap().to_owned()), notice);
    }
    for entry in &pushes {
        let notice = &told[&("github:events:push".to_owned(), entry.id.clone())];
        assert_eq!((&notice["event_type"], notice["delivery_id"].as_str()), (&"push".into(), Some(entry.field("delivery_id"))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tenants_that_opted_in_and_events_that_were_asked_for_leave_the_house() {
    let Some(redis) = RedisServer::start() else { return };
    let more = "tenants = [\"red\", \"blue\"]\nevents = [\"push\", \"brand_new\"]\nstream = \"{tenant}:{event_type}\"\nchannel = \"\"\n";
    let mut layout = layout(&redis, more);
    let plugin = layout.plugins.remove(&("default".to_owned(), "label".to_owned())).unwrap();
    for tenant in ["red", "blue", "green"] {
        layout.plugins.insert((tenant.to_owned(), "label".to_owned()), plugin.clone());
    }
    let host = TestHost::start_on(Folder::lay(&layout), Clock::system()).await;
    for tenant in ["red", "blue", "green"] {
        for event in ["push", "issues", "brand_new"] {
            host.sender_to(tenant).post(event, "{}").await.accepted();
        }
    }
    entries(&host, &redis, "blue:brand_new", 1).await;
    let mut keys: Vec<String> = redis.ask(&["KEYS", "*"]).await;
    keys.sort();
    assert_eq!(keys, ["blue:brand_new", "blue:push", "red:brand_new", "red:push"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_plugins_emit_can_be_followed_as_cloud_events() {
    let Some(redis) = RedisServer::start() else { return };
    let host = host(&redis, "follows = \"emits\"\nenvelope = \"cloudevents\"\ntenants = [\"*\"]").await;
    let id = host.sender().post("push", "{}").await.accepted();
    let found = entries(&host, &redis, "hookyard:emits:default:label", 1).await;
    let event: Value = serde_json::from_str(found[0].field("payload")).unwrap();
    assert_eq!(found[0].field("content_type"), "application/cloudevents+json");
    assert_eq!(event["id"], format!("{id}.label.0"));
    assert_eq!((&event["type"], &event["data"]), (&"hookyard.emit.labelled".into(), &"body".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_stopped_in_order_goes_on_where_it_stood() {
    let Some(redis) = RedisServer::start() else { return };
    let mut folder = Folder::lay(&layout(&redis, "tenants = [\"default\"]"));
    for n in 1..=5 {
        let host = TestHost::start_on(folder, Clock::system()).await;
        host.sender().post("push", format!("{{\"n\":{n}}}")).await.accepted();
        entries(&host, &redis, "github:events:push", n).await;
        // An entry is there a moment before the stream has heard of it; a stop in that moment sends it again.
        published(&host, n as u64).await;
        host.drained().await;
        folder = host.stop().await;
    }
    let sent: Vec<_> = redis.entries("github:events:push").await.iter().map(|entry| entry.field("payload").to_owned()).collect();
    assert_eq!(sent, (1..=5).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>(), "nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cut_at_its_cap() {
    let Some(redis) = RedisServer::start() else { return };
    let host = host(&redis, "tenants = [\"default\"]\nmaxlen = 100").await;
    let sender = host.sender();
    let mut last = None;
    for n in 0..600 {
        last = Some(sender.post("push", format!("{{\"n\":{n}}}")).await.accepted());
    }
    let kept = host
        .until("the last entry", || async {
            let entries = redis.entries("github:events:push").await;
            (ids(&entries).last().copied() == last).then_some(entries.len())
        })
        .await;
    // `~` lets Redis keep whole nodes, of a hundred entries each by default.
    assert!((100..=200).contains(&kept), "{kept} entries are kept");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn a_redis_that_answers_nothing_costs_nothing_at_the_door_and_misses_nothing() {
    let Some(redis) = RedisServer::start() else { return };
    let host = host(&redis, "tenants = [\"default\"]").await;
    let sender = host.sender();
    let first = sender.post("push", "{\"n\":-1}").await.accepted();
    entries(&host, &redis, "github:events:push", 1).await;
    let answered = timed(&sender, 0..300).await;
    entries(&host, &redis, "github:events:push", 301).await;
    redis.freeze();
    let unanswered = timed(&sender, 300..900).await;
    redis.thaw();
    let all = entries(&host, &redis, "github:events:push", 901).await;
    let accepted: BTreeSet<_> = [first].into_iter().chain(answered.ids).chain(unanswered.ids).collect();
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>(), accepted);
    println!("accept p95: {:?} beside a Redis that answers, {:?} beside one that does not", answered.p95, unanswered.p95);
    // Far above what a busy test machine takes, far below the ten seconds after which a stream gives an answer up.
    assert!(unanswered.p95 < Duration::from_secs(1), "{:?} against {:?}", unanswered.p95, answered.p95);
}

struct Timed {
    ids: Vec<DeliveryId>,
    p95: Duration,
}

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
async fn timed(sender: &Sender, numbers: std::ops::Range<usize>) -> Timed {
    let (mut ids, mut took) = (Vec::new(), Vec::new());
    for n in numbers {
        let begun = Instant::now();
        ids.push(sender.post("push", format!("{{\"n\":{n}}}")).await.accepted());
        took.push(begun.elapsed());
    }
    took.sort();
    Timed { ids, p95: took[took.len() * 95 / 100] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_stream_stops_its_stream_in_words_and_sends_no_neighbour_twice() {
    let Some(redis) = RedisServer::start() else { return };
    let _: () = redis.ask(&["SET", "github:events:issues", "taken"]).await;
    let folder = Folder::lay(&layout(&redis, "tenants = [\"default\"]"));
    let process = ProcessHost::start(&folder);
    let sender = Sender::new(process.ingest, "default", "github", SECRET);
    for event in ["push", "push", "issues", "push", "push"] {
        sender.post(event, "{}").await.accepted();
    }
    let stopped = loop {
        let stream = stream_as_listed(&folder, &process);
        if stream["failure"].as_str().is_some_and(|failure| failure.contains("WRONGTYPE")) && stream["position"] == 2 {
            break stream;
        }
    };
    assert_eq!((&stopped["connected"], &stopped["lag"], &stopped["kind"]), (&false.into(), &3.into(), &"redis".into()));
    // Every new attempt is one message; the two behind it may have been sent along the first time only.
    while process.log().matches("stream_failed").count() < 4 {
        tokio::task::yield_now().await;
    }
    let pushes = redis.entries("github:events:push").await.len();
    assert!((2..=4).contains(&pushes), "{pushes} pushes");
    let _: () = redis.ask(&["DEL", "github:events:issues"]).await;
    while stream_as_listed(&folder, &process)["lag"] != 0 {}
    assert_eq!(redis.entries("github:events:issues").await.len(), 1);
    let distinct: BTreeSet<_> = ids(&redis.entries("github:events:push").await).into_iter().collect();
    assert_eq!(distinct.len(), 4);
    let metrics = metrics(&process);
    for line in [
        "hookyard_stream_lag{stream=\"redis\"} 0",
        "hookyard_stream_connected{stream=\"redis\"} 1",
        "hookyard_stream_gap{stream=\"redis\"} 0",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    assert!(!process.log().contains(system_tests::redis::PASSWORD), "the password is in the log");
}

fn command(folder: &Folder, process: &ProcessHost, arguments: &[&str]) -> String {
    let token = std::fs::read_to_string(folder.path().join("data/admin.token")).expect("a host that answers");
    let output = Command::new(binary())
        .args(arguments)
        .env("HOOKYARD_ADMIN_URL", format!("http://{}", process.admin))
        .env("HOOKYARD_ADMIN_TOKEN", token.trim())
        .output()
        .expect("a host that answers");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("a host that answers")
}

fn stream_as_listed(folder: &Folder, process: &ProcessHost) -> Value {
    let page: Value = serde_json::from_str(&command(folder, process, &["streams", "list", "--json"])).expect("a host that answers");
    page["items"][0].clone()
}

fn metrics(process: &ProcessHost) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(process.admin).expect("a host that answers");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", process.admin).expect("a host that answers");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("a host that answers");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_behind_tls_is_trusted_by_its_authority_and_not_without() {
    let certificate = include_bytes!("../fixtures/tls/first.pem");
    let Some(redis) = RedisServer::start_tls(certificate, include_bytes!("../fixtures/tls/first.key")) else { return };
    let trusted = format!("tenants = [\"default\"]\n[streams.redis.tls]\nca = \"{}\"\n", redis.certificate().display());
    let trusting = host(&redis, &trusted).await;
    trusting.sender().post("push", "{}").await.accepted();
    published(&trusting, 1).await;
    let doubting = host(&redis, "tenants = [\"default\"]").await;
    let mut facts = doubting.inner().observer().subscribe();
    loop {
        let fact = facts.recv().await.unwrap();
        assert_ne!(fact.kind, "stream_connected");
        if fact.kind == "stream_failed" {
            break;
        }
    }
}

/// Waits until the stream has come so far.
async fn published(host: &TestHost, position: u64) {
    host.until("the stream to catch up", || async {
        let streams = host.inner().streams().streams();
        streams.values().all(|stream| stream.position >= position).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the load is this test's own")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn nothing_that_was_accepted_is_missing_though_host_and_redis_are_killed_in_turn_under_load() {
    let Some(mut redis) = RedisServer::start() else { return };
    let kills: usize = std::env::var("HOOKYARD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let folder = Folder::lay(&layout(&redis, "tenants = [\"default\"]\nmaxlen = 1000000"));
    let mut accepted = BTreeSet::new();
    for _ in 0..kills {
        let host = ProcessHost::start(&folder);
        let load = tokio::spawn(Sender::new(host.ingest, "default", "github", SECRET).load_until_the_host_dies());
        wait(Duration::from_millis(fastrand::u64(20..400))).await;
        redis.kill();
        wait(Duration::from_millis(fastrand::u64(20..200))).await;
        redis.restart();
        wait(Duration::from_millis(fastrand::u64(20..400))).await;
        host.kill();
        accepted.extend(load.await.unwrap());
    }
    assert!(accepted.len() > kills, "only {} deliveries were accepted", accepted.len());

    let host = TestHost::start_on(folder, Clock::system()).await;
    host.drained().await;
    published(&host, host.inner().ledger().heads().deliveries).await;
    let entries = redis.entries("github:events:push").await;
    let mut first_seen = BTreeSet::new();
    let mut newest = 0;
    for (entry, id) in entries.iter().zip(ids(&entries)) {
        let sequence: u64 = entry.field("sequence").parse().unwrap();
        if first_seen.insert(id) {
            assert!(sequence > newest, "{id} came after a later one");
            newest = sequence;
        }
    }
    let missing: Vec<_> = accepted.difference(&first_seen).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), accepted.len());
    let repeats = entries.len() - first_seen.len();
    assert!(repeats <= 2 * kills * REPEATS_MAX, "{repeats} repeats after {kills} kills of each");
    println!("{} accepted through {kills} kills of each side, none missing, {repeats} repeats", accepted.len());
}

async fn wait(span: Duration) {
    tokio::time::timeout(span, std::future::pending::<()>()).await.expect_err("nothing happens");
}
