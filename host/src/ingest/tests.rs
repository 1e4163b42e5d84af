//! The door over real sockets, with raw bytes.

mod spellings;

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Notify, Semaphore},
};

use super::*;
use crate::{
    broker::{BoxFuture, BrokerError, Finished, Lease, Offer, OfferError, QueueSet, Settled},
    delivery::{Receipt, Timestamp, view::QueueView},
    shares::{Limit, Limits, Machine},
    signature::{Scheme, Secret, sign},
    tenants::{Budget, Directory, Source, Tenant},
};

/// Notes offers, and answers them when there is a permit.
struct Notebook {
    offers: Mutex<Vec<Offer>>,
    count: AtomicUsize,
    arrived: Notify,
    permits: Semaphore,
}

struct House {
    door: Door,
    broker: Arc<Notebook>,
    clock: Clock,
    readiness: Readiness,
}

impl Broker for Notebook {
    fn offer(&self, offer: Offer, _deadline: std::time::Instant) -> BoxFuture<'_, Result<Receipt, OfferError>> {
        Box::pin(async move {
            self.arrived.notify_one();
            self.permits.acquire().await.unwrap().forget();
            let receipt = Receipt::Accepted { id: offer.delivery.id, event: offer.delivery.event.clone(), legs: offer.legs.len() };
            self.offers.lock().unwrap().push(offer);
            self.count.fetch_add(1, Ordering::SeqCst);
            Ok(receipt)
        })
    }
    fn serve(&self, _queues: QueueSet) {}
    fn lease(&self) -> BoxFuture<'_, Option<Lease>> {
        panic!("the door never leases")
    }
    fn settle(&self, _lease: Lease, _finished: Finished) -> BoxFuture<'_, Result<Settled, BrokerError>> {
        panic!("the door never settles")
    }
    fn depth(&self) -> BoxFuture<'_, Result<Vec<QueueView>, BrokerError>> {
        panic!("the door never asks for depths")
    }
}

impl House {
    async fn open(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("127.0.0.1:0".parse().unwrap());
        change(&mut settings);
        let source = Source {
            id: "github".parse().unwrap(),
            scheme: Scheme::Github,
            secrets: vec![Secret::new("now").unwrap(), Secret::new("next").unwrap()],
            rate_per_s_max: 1000,
            installation_rate_per_s_max: 1000,
            refuse_replays: false,
            require_https: false,
        };
        let ceiling = Budget { fuel: 0, fuel_per_body_byte: 0, memory_bytes_max: 0, memory_per_body_byte: 0, wall: Duration::ZERO };
        let sources = BTreeMap::from([(source.id.clone(), Arc::new(source))]);
        let tenant = Tenant {
            id: "default".parse().unwrap(),
            sources,
            ceiling,
            approve_new_grants: false,
            waiting_bytes_max: 1,
            quota: crate::ledger::Quota::default(),
            allowed: Arc::default(),
            origin: crate::tenants::Origin::default(),
        };
        let tenants = Tenants::default();
        tenants.replace(Directory { tenants: BTreeMap::from([(tenant.id.clone(), Arc::new(tenant))]) });
        let broker = Arc::new(Notebook {
            offers: Mutex::default(),
            count: AtomicUsize::new(0),
            arrived: Notify::new(),
            permits: Semaphore::new(10_000),
        });
        let (clock, readiness) = (Clock::manual(Timestamp::from_unix_ms(0)), Readiness::new());
        let (observer, sockets, told) = (Observer::default(), Sockets::default(), readiness.clone());
        let parts = Inner { tenants, broker: Arc::<Notebook>::clone(&broker), observer, clock: clock.clone(), readiness: told, sockets };
        let door = Door::open_with(settings, parts, Arc::new(|_, _, _, _| vec!["echo".parse().unwrap()])).await.unwrap();
        Self { door, broker, clock, readiness }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.door.listen.tcp().unwrap()).await.unwrap()
    }

    /// Sends raw bytes and reads until the door closes.
    async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        rest(&mut stream).await
    }

    async fn post(&self, path: &str, headers: &str, body: &[u8]) -> String {
        self.raw(request(path, headers, body)).await
    }

    fn offers(&self) -> usize {
        self.broker.count.load(Ordering::SeqCst)
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn request(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn signed(secret: &str, content_type: &str, body: &[u8]) -> String {
    let signature = sign(&Secret::new(secret).unwrap(), body);
    format!("Content-Type: {content_type}\r\nX-Hub-Signature-256: {signature}\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: d-1\r\n")
}

fn json(secret: &str, body: &[u8]) -> String {
    signed(secret, "application/json", body)
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

/// The answer without its date.
fn undated(answer: &str) -> String {
    answer.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n")
}

fn assert_refused(answer: &str, expected: &str, code: &str) {
    assert_eq!(status(answer), expected, "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    assert_eq!(answer.contains("retry-after: "), matches!(expected, "429" | "503"), "{answer}");
}

const HOOK: &str = "/webhooks/github";

#[tokio::test]
async fn a_signed_delivery_is_offered_and_answered_202_with_either_secret_and_either_path() {
    let house = House::open(|_| {}).await;
    let body = r#"{"action":"opened","installation":{"id":7},"repository":{"full_name":"o/r"},"x":"🦀"}"#.as_bytes();
    for (path, secret) in [(HOOK, "now"), ("/t/default/webhooks/github", "next")] {
        let answer = house.post(path, &json(secret, body), body).await;
        assert_eq!(status(&answer), "202", "{answer}");
        assert!(answer.contains(r#""event_type":"push""#) && answer.contains(r#""status":"accepted""#), "{answer}");
    }
    let offers = house.broker.offers.lock().unwrap();
    let delivery = &offers[0].delivery;
    assert_eq!(
        (delivery.action.as_deref(), delivery.installation_id, delivery.repository.as_deref()),
        (Some("opened"), Some(7), Some("o/r"))
    );
    assert_eq!(delivery.document.as_ref(), body);
    assert!(delivery.headers.iter().all(|header| !header.name.contains("signature")));
}

#[tokio::test]
async fn a_form_gives_the_same_document_and_keeps_the_raw_bytes() {
    let house = House::open(|_| {}).await;
    let form = b"payload=%7B%22action%22%3A%22a+b%22%7D";
    let answer = house.post(HOOK, &signed("now", "application/x-www-form-urlencoded", form), form).await;
    assert_eq!(status(&answer), "202", "{answer}");
    let offers = house.broker.offers.lock().unwrap();
    assert_eq!(offers[0].delivery.document.as_ref(), br#"{"action":"a b"}"#);
    assert_eq!(offers[0].delivery.raw.as_deref(), Some(form.as_slice()));
}

#[tokio::test]
async fn each_bad_call_is_refused_with_its_status_and_code_and_nothing_is_offered() {
    let house = House::open(|_| {}).await;
    let good = json("now", b"{}");
    let without = |name: &str| good.lines().filter(|line| !line.starts_with(name)).fold(String::new(), |all, line| all + line + "\r\n");
    let signature = good.lines().find(|line| line.starts_with("X-Hub")).unwrap();
    for (headers, expected, code) in [
        (without("X-Hub"), "401", "signature_missing"),
        (format!("{}X-Hub-Signature: sha1={}\r\n", without("X-Hub"), "0".repeat(40)), "401", "signature_sha1_only"),
        (format!("{good}{signature}\r\n"), "401", "signature_malformed"),
        (format!("{}X-Hub-Signature-256: sha256=zz\r\n", without("X-Hub")), "401", "signature_malformed"),
        (json("wrong", b"{}"), "401", "signature_mismatch"),
        (without("Content-Type"), "415", "unsupported_media_type"),
        (signed("now", "text/plain", b"{}"), "415", "unsupported_media_type"),
        (format!("{good}Content-Encoding: gzip\r\n"), "415", "content_encoding_unsupported"),
        (without("X-GitHub-Event"), "400", "header_invalid"),
        (without("X-GitHub-Delivery"), "400", "header_invalid"),
        (format!("{good}X-GitHub-Hook-ID: x\r\n"), "400", "header_invalid"),
        (format!("{good}X-GitHub-Event: push\r\n"), "400", "header_invalid"),
    ] {
        assert_refused(&house.post(HOOK, &headers, b"{}").await, expected, code);
    }
    assert_refused(&house.post(HOOK, &json("now", b"Hello"), b"Hello").await, "400", "body_not_json");
    let form = "application/x-www-form-urlencoded";
    assert_refused(&house.post(HOOK, &signed("now", form, b"a=1"), b"a=1").await, "400", "form_payload_invalid");
    assert_refused(&house.post("/nowhere", &good, b"{}").await, "404", "route_not_found");
    let answer = house.raw("GET /webhooks/github HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_refused(&answer, "405", "method_not_allowed");
    assert!(answer.contains("allow: POST"), "{answer}");
    house.readiness.block("starting", "the reason is not for the public");
    assert_refused(&house.post(HOOK, &good, b"{}").await, "503", "not_ready");
    let ready = house.raw("GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(status(&ready) == "503" && !ready.contains("starting") && !ready.contains("reason"), "{ready}");
    house.readiness.clear("starting");
    assert_eq!(house.offers(), 0);
    assert_eq!(status(&house.post(HOOK, &good, b"{}").await), "202");
}

#[tokio::test]
async fn an_unknown_source_or_tenant_answers_byte_for_byte_like_a_bad_signature() {
    let house = House::open(|_| {}).await;
    let headers = json("wrong", b"{}");
    let bad = undated(&house.post(HOOK, &headers, b"{}").await);
    for path in ["/webhooks/other", "/webhooks/Not%20A%20Name", "/t/other/webhooks/github"] {
        assert_eq!(undated(&house.post(path, &headers, b"{}").await), bad, "{path}");
    }
}

#[tokio::test]
async fn a_body_is_asked_for_only_after_the_head_was_found_good() {
    let house = House::open(|_| {}).await;
    let unsigned =
        "POST /webhooks/github HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 2\r\n";
    let answer = house.raw(format!("{unsigned}\r\n")).await;
    assert_refused(&answer, "401", "signature_missing");
    assert!(answer.contains("connection: close") && !answer.contains("100 Continue"), "{answer}");
    let mut stream = house.connect().await;
    let signature = sign(&Secret::new("now").unwrap(), b"{}");
    let head =
        format!("{unsigned}X-Hub-Signature-256: {signature}\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: d\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut invitation = [0; 25];
    stream.read_exact(&mut invitation).await.unwrap();
    assert_eq!(&invitation, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    assert_eq!(status(&rest(&mut stream).await), "202");
}

#[tokio::test]
async fn the_cap_is_exact_for_declared_and_for_chunked_bodies() {
    let house = House::open(|settings| settings.json_bytes_max = 100).await;
    for (size, expected) in [(99, "202"), (100, "202"), (101, "413")] {
        let body = format!("\"{}\"", "x".repeat(size - 2)).into_bytes();
        let headers = json("now", &body);
        assert_eq!(status(&house.post(HOOK, &headers, &body).await), expected, "declared {size}");
        let head =
            format!("POST {HOOK} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{headers}\r\n{size:x}\r\n");
        let chunked = [head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
        assert_eq!(status(&house.raw(chunked).await), expected, "chunked {size}");
    }
}

#[tokio::test]
async fn a_flood_of_bad_signatures_is_refused_unread_while_the_sender_that_verified_lately_is_accepted() {
    let house = House::open(|settings| settings.address_failures_per_min_max = 5).await;
    assert_eq!(status(&house.post(HOOK, &json("now", b"{}"), b"{}").await), "202");
    for _ in 0..5 {
        assert_eq!(status(&house.post("/webhooks/other", &json("wrong", b"{}"), b"{}").await), "401");
    }
    assert_refused(&house.post("/webhooks/other", &json("wrong", b"{}"), b"{}").await, "429", "too_many_failures");
    assert_eq!(status(&house.post(HOOK, &json("now", b"{}"), b"{}").await), "202");
}

#[tokio::test]
async fn a_sender_that_stalls_is_cut_off_and_one_that_leaves_does_no_harm() {
    let house = House::open(|_| {}).await;
    let whole = request(HOOK, &json("now", b"{\"a\":1}"), b"{\"a\":1}");
    let mut stalled = house.connect().await;
    stalled.write_all(&whole[..whole.len() - 1]).await.unwrap();
    // The call's clock starts when the door reads the head, which cannot be seen from here: time moves until the answer is there.
    let mut answer = Box::pin(rest(&mut stalled));
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            () = tokio::task::yield_now() => house.clock.advance(Duration::from_millis(100)),
        }
    };
    assert_refused(&answer, "408", "body_timeout");
    let mut leaving = house.connect().await;
    leaving.write_all(&whole[..whole.len() - 1]).await.unwrap();
    drop(leaving);
    assert_eq!(status(&house.raw(&whole).await), "202");
    assert_eq!(house.offers(), 1);
}

#[tokio::test]
async fn closing_lets_an_accept_in_flight_finish_even_where_its_client_has_hung_up() {
    for hangs_up in [false, true] {
        let house = House::open(|_| {}).await;
        house.broker.permits.forget_permits(10_000);
        let mut stream = house.connect().await;
        stream.write_all(&request(HOOK, &json("now", b"{}"), b"{}")).await.unwrap();
        house.broker.arrived.notified().await;
        let stream = (!hangs_up).then_some(stream);
        let broker = Arc::clone(&house.broker);
        let client = async {
            broker.permits.add_permits(1);
            match stream {
                Some(mut stream) => Some(rest(&mut stream).await),
                None => None,
            }
        };
        let (left, answer) = tokio::join!(house.door.close(Duration::from_secs(30)), client);
        assert_eq!((left, broker.count.load(Ordering::SeqCst)), (0, 1));
        assert!(answer.is_none_or(|answer| status(&answer) == "202"));
    }
}

/// As many places as that, for one address, too.
fn places(settings: &mut Settings, count: u64) {
    let mut limits = Limits::of(Machine::here());
    limits.set(Resource::DoorConnections, Limit::new(count, count));
    settings.shares = Shares::new(&limits);
}

#[tokio::test]
async fn who_asks_ahead_and_never_reads_is_cut_off_and_costs_no_memory() {
    let house = House::open(|_| {}).await;
    let mut stream = house.connect().await;
    let block = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    let flood = async {
        let mut asked = 0;
        // The door reads on as long as its answers leave; then it waits for the reader, and time moves until it has waited enough.
        loop {
            tokio::select! {
                written = stream.write(block.as_bytes()) => match written {
                    Ok(bytes) => asked += bytes,
                    Err(_) => return asked,
                },
                () = tokio::task::yield_now() => house.clock.advance(Duration::from_millis(100)),
            }
        }
    };
    let asked = tokio::time::timeout(Duration::from_mins(1), flood).await.expect("a connection that was cut");
    assert!(asked < 64 << 20, "{asked} bytes went in");
    assert_eq!(status(&house.post(HOOK, &json("now", b"{}"), b"{}").await), "202");
}

#[tokio::test]
async fn a_connection_on_which_nothing_more_is_asked_is_closed_after_its_time() {
    let house = House::open(|settings| settings.head_timeout = Duration::from_millis(100)).await;
    let mut stream = house.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert_eq!(status(&rest(&mut stream).await), "200");
}

#[tokio::test]
async fn where_places_are_short_the_oldest_idle_connection_goes_and_a_busy_one_never() {
    let house = House::open(|settings| places(settings, 2)).await;
    house.broker.permits.forget_permits(10_000);
    let mut busy = house.connect().await;
    busy.write_all(&request(HOOK, &json("now", b"{}"), b"{}")).await.unwrap();
    house.broker.arrived.notified().await;
    let mut idle = house.connect().await;
    // Whose head is not whole has asked nothing yet.
    idle.write_all(b"POST /webhooks/github HTTP/1.1\r\n").await.unwrap();
    let health = "GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&house.raw(health).await), "200");
    let ended = idle.read(&mut [0; 16]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "the idle one was given up: {ended:?}");
    house.broker.permits.add_permits(1);
    assert_eq!(status(&rest(&mut busy).await), "202");
}

#[tokio::test]
async fn where_all_places_are_at_work_probes_are_answered_and_deliveries_are_told_to_come_again() {
    let house = House::open(|settings| places(settings, 1)).await;
    house.broker.permits.forget_permits(10_000);
    let mut busy = house.connect().await;
    busy.write_all(&request(HOOK, &json("now", b"{}"), b"{}")).await.unwrap();
    house.broker.arrived.notified().await;
    assert_eq!(status(&house.raw("GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await), "200");
    let headers = json("now", b"{}");
    let open = format!("POST {HOOK} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n{headers}\r\n{{}}");
    let answer = house.raw(open).await;
    assert_refused(&answer, "503", "connections_exhausted");
    assert!(answer.contains("connection: close"), "{answer}");
    house.broker.permits.add_permits(1);
    assert_eq!(status(&rest(&mut busy).await), "202");
    assert_eq!(house.offers(), 1);
}
