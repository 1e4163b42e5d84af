//! What fails is tried again with back-off, and kept as a dead letter when it is hopeless.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use hookyard::{
    clock::Clock,
    delivery::{DeliveryId, LegState, Timestamp, view::PluginView},
};
use system_tests::{guests, host::TestHost, rabbit};

const MANIFEST: &str = r#"
sources = ["github"]
events = ["*"]
[retry]
attempts_max = 3
delay_min_ms = 1000
delay_max_ms = 60000
"#;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_unix_ms(1_800_000_000_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_keeps_failing_is_dead_lettered_after_its_last_attempt() {
    let host = TestHost::builder().clock(clock()).plugin_of("default", "busy", guests::component("retry"), MANIFEST).start().await;
    let id = host.sender().post("push", "{}").await.accepted();
    for attempts in 1..=2 {
        host.until("a failed attempt", || async {
            let leg = host.leg(id, "busy").await;
            (leg.state == LegState::Retry && leg.attempts == attempts).then_some(())
        })
        .await;
        host.let_time_pass(Duration::from_secs(61));
    }
    let view = host.settled(id).await;
    assert_eq!((view.legs[0].state, view.legs[0].attempts), (LegState::Dead, 3));

    let letters = host.inner().ledger().dead_letters(hookyard::ledger::DeadLetterFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters.items[0].id, format!("{id}.busy"));
    assert_eq!(letters.items[0].reason, "attempts_exhausted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_never_before_its_time() {
    let host = TestHost::builder().clock(clock()).plugin_of("default", "busy", guests::component("retry"), MANIFEST).start().await;
    let id = host.sender().post("push", "{}").await.accepted();
    let leg = host
        .until("the first failure", || async {
            let leg = host.leg(id, "busy").await;
            (leg.state == LegState::Retry).then_some(leg)
        })
        .await;
    let due = leg.due_at.expect("a due time");
    let settled_at = Timestamp::from_unix_ms(1_800_000_000_000);
    assert!(due >= settled_at.after(Duration::from_secs(1)), "{due}");

    host.let_time_pass(Duration::from_millis(999));
    assert_eq!(host.leg(id, "busy").await.attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_delivery_is_dead_at_once_with_the_plugins_reason_and_runs_again_when_replayed() {
    let host = TestHost::builder().plugin("no", guests::component("reject")).start().await;
    let id = host.sender().post("push", "{}").await.accepted();
    host.settled(id).await;
    let leg = host.leg(id, "no").await;
    assert_eq!((leg.state, leg.attempts, leg.outcome.as_deref()), (LegState::Dead, 1, Some("reject")));

    // The plugin is mended, and an operator replays the dead letter.
    host.folder().deploy("default", "no", &guests::component("ack"), "sources = [\"github\"]\nevents = [\"*\"]\n");
    let bad = leg.digest.expect("a digest");
    host.plugin("default", "no", |plugin| plugin.digest.as_deref().is_some_and(|digest| digest != bad)).await;
    let leg_id = format!("{id}.no").parse().unwrap();
    let tenant = "default".parse().unwrap();
    host.inner().ledger().rerun(&tenant, &leg_id, false).await.unwrap();
    host.settled(id).await;
    let leg = host.leg(id, "no").await;
    assert_eq!((leg.state, leg.generation), (LegState::Acked, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_plugins_failure_never_touches_its_sibling() {
    let host =
        TestHost::builder().plugin("good", guests::component("publish-document")).plugin("trap", guests::component("trap")).start().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(host.sender().post("push", format!("{{\"n\":{n}}}")).await.accepted());
    }
    for id in ids {
        host.until("the good leg's end", || async { (host.leg(id, "good").await.state == LegState::Acked).then_some(()) }).await;
    }
    assert_eq!(host.emits().await.len(), 20);
}

/// Asks for the configured `url` and acks where it is answered with less than 500; asks to be tried again otherwise.
const ASKS: &str = r#"
(import "hookyard:plugin/config@0.1.0" "get" (func $get (param i32 i32 i32)))
(import "hookyard:plugin/http@0.1.0" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(data (memory $memory) (i32.const 0) "url")
(data (memory $memory) (i32.const 16) "GET")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (call $get (i32.const 0) (i32.const 3) (i32.const 256))
  (call $send
    (i32.const 16) (i32.const 3)
    (i32.load $memory (i32.const 260)) (i32.load $memory (i32.const 264))
    (i32.const 0) (i32.const 0)
    (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 0) (i32.const 0)
    (i32.const 300))
  (if (i32.eqz (i32.load8_u $memory (i32.const 300)))
    (then (if (i32.lt_u (i32.load16_u $memory (i32.const 304)) (i32.const 500)) (then (return (call $ack))))))
  (i32.store8 $memory (i32.const 400) (i32.const 2))
  (i32.const 400))
"#;

/// An API that is away: it closes a connection without a word, or answers 503. When it is back it answers as many requests as it may.
struct Api {
    port: u16,
    state: Arc<(Mutex<Asked>, Condvar)>,
}

#[derive(Default)]
struct Asked {
    is_back: bool,
    /// Requests while it was away.
    refused: usize,
    /// Requests that wait for their answer now.
    waiting: usize,
    answered: usize,
    may_answer: usize,
}

impl Api {
    fn away() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::<(Mutex<Asked>, Condvar)>::default();
        let for_all = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&for_all);
                std::thread::spawn(move || Self::answer(stream, &state));
            }
        });
        Self { port, state }
    }

    fn answer(mut stream: TcpStream, (asked, changed): &(Mutex<Asked>, Condvar)) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
            head.push(byte[0]);
        }
        let mut asked = asked.lock().expect("a sound lock");
        let status = if asked.is_back {
            asked.waiting += 1;
            asked = changed.wait_while(asked, |asked| asked.may_answer <= asked.answered).expect("a sound lock");
            asked.waiting -= 1;
            asked.answered += 1;
            "200 OK"
        } else {
            asked.refused += 1;
            if asked.refused.is_multiple_of(2) {
                return;
            }
            "503 Service Unavailable"
        };
        drop(asked);
        drop(stream.write_all(format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").as_bytes()));
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.state.0.lock().expect("a sound lock")
    }

    fn may_answer(&self, more: usize) {
        let mut asked = self.asked();
        asked.may_answer = asked.may_answer.saturating_add(more);
        drop(asked);
        self.state.1.notify_all();
    }

    async fn host(&self, clock: Clock, retry: &str) -> TestHost {
        let grant = format!("[[grants.http]]\nhost = \"127.0.0.1:{}\"\nmethods = [\"GET\"]\n", self.port);
        let url = format!("[config]\nurl = \"http://127.0.0.1:{}/\"\n", self.port);
        let manifest = format!("sources = [\"github\"]\nevents = [\"*\"]\n{retry}{url}{grant}");
        let builder = TestHost::builder().clock(clock).plugin_of("default", "asks", guests::encode(ASKS), &manifest);
        builder.tenant_toml(&format!("{grant}allow_http = true\n[egress]\nallow_addresses = [\"127.0.0.1\"]\n")).start().await
    }
}

async fn deliver(host: &TestHost, deliveries: usize) -> Vec<DeliveryId> {
    let mut ids = Vec::new();
    for number in 0..deliveries {
        ids.push(host.sender().post("push", format!("{{\"n\":{number}}}")).await.accepted());
    }
    ids
}

fn is_held(plugin: &PluginView) -> Option<Timestamp> {
    plugin.circuits.first().filter(|circuit| circuit.state == "open").and_then(|circuit| circuit.until)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_away_for_an_hour_costs_no_delivery_and_is_not_overrun_when_it_is_back() {
    if rabbit::of_this_binary().is_some() {
        // Retries wait at RabbitMQ by its own clock there, which no test moves; the next scenario has real seconds, on both queues.
        return;
    }
    let (clock, api) = (clock(), Api::away());
    let host = api.host(clock.clone(), "").await;
    let ids = deliver(&host, 100).await;
    let held = host.plugin("default", "asks", |plugin| is_held(plugin).is_some()).await;
    assert_eq!((held.status.as_str(), held.circuits[0].destination.clone()), ("slowed", format!("127.0.0.1:{}", api.port)));
    let end = clock.now().after(Duration::from_hours(1));
    let mut tries = 0;
    while clock.now() < end {
        let plugin = host.plugin("default", "asks", |plugin| is_held(plugin).is_some_and(|until| until > clock.now())).await;
        // What is shown is a part of a millisecond early.
        host.let_time_pass(is_held(&plugin).expect("held").since(clock.now()) + Duration::from_millis(1));
        tries += 1;
    }
    host.plugin("default", "asks", |plugin| is_held(plugin).is_some_and(|until| until > clock.now())).await;
    assert!((50..=90).contains(&tries), "{tries} tries in an hour");
    let refused = api.asked().refused;
    assert!(refused <= 32 + 3 + tries, "{refused} requests to a server that was away: those under way when it went, and one for each try");

    api.asked().is_back = true;
    host.let_time_pass(Duration::from_mins(2));
    for at_once in [1, 1, 2, 4, 8, 16, 32] {
        host.until("so many at once", || async { (api.asked().waiting >= at_once).then_some(()) }).await;
        assert_eq!(api.asked().waiting, at_once, "no more than so many at once");
        let before = api.asked().answered;
        api.may_answer(1);
        host.until("an answer", || async { (api.asked().answered > before && api.asked().waiting == at_once).then_some(()) }).await;
        if before > 0 {
            host.let_time_pass(Duration::from_secs(1));
        }
    }
    api.may_answer(1000);
    for id in ids {
        host.until("an ack", || async { (host.leg(id, "asks").await.state == LegState::Acked).then_some(()) }).await;
        let attempts = host.leg(id, "asks").await.attempts;
        assert!(attempts <= 4, "{attempts} attempts used up by one outage");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_away_for_seconds_on_the_machines_clock_costs_no_delivery() {
    let api = Api::away();
    // Gaps that would be over before it is back, by far, did each leg find out for itself.
    let host = api.host(Clock::system(), "[retry]\nattempts_max = 4\ndelay_min_ms = 50\ndelay_max_ms = 100\n").await;
    let ids = deliver(&host, 40).await;
    let first = host.plugin("default", "asks", |plugin| is_held(plugin).is_some()).await;
    host.plugin("default", "asks", |plugin| is_held(plugin).is_some_and(|until| Some(until) > is_held(&first))).await;
    api.asked().is_back = true;
    api.may_answer(1000);
    for id in ids {
        host.until("an ack", || async { (host.leg(id, "asks").await.state == LegState::Acked).then_some(()) }).await;
    }
}
