//! Strangers, and tenants who know a secret, against what everybody shares at the two doors: places, body bytes, the admin thread, the readers of
//! the ledger. Whatever they do, a neighbour's deliveries, the operator's questions and an orchestrator's probes are answered at once.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use hookyard::delivery::LegState;
use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    process::{ProcessHost, binary},
    sender::{Post, Sender},
    stranger::{self, ask, head, status},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

const MIB: usize = 1 << 20;
/// What an answer may take while somebody attacks. Alone it takes some milliseconds, and without the walls minutes; between them lies a machine
/// that runs other tests beside this one.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A host with these settings and these tenants beside `default`.
fn host(settings: &[&str], tenants: &[&str]) -> (ProcessHost, Folder) {
    let folder = Folder::lay(&Layout::default());
    for tenant in tenants {
        folder.add_tenant(tenant, "");
    }
    let variables = settings.iter().map(|setting| format!("HOOKYARD_{setting}").into());
    let wrapper: Vec<_> = std::iter::once("env".into()).chain(variables).collect();
    (ProcessHost::start_under(&folder, &wrapper), folder)
}

fn sender(host: &ProcessHost, tenant: &str) -> Sender {
    Sender::new(host.ingest, tenant, "github", SECRET)
}

fn token(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path().join("data/admin.token")).expect("a token").trim().to_owned()
}

/// Asks the admin listener on a new connection.
async fn admin(to: std::net::SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(to).await.expect("an open port");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    ask(&mut stream, request.as_bytes()).await
}

#[expect(clippy::disallowed_methods, reason = "what is measured is the machine's time")]
async fn timed<T>(what: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = what.await;
    (done, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_questions_whose_answers_nobody_reads_hold_no_place_against_a_signed_delivery() {
    let (host, _folder) = host(&["INGEST__CONNECTIONS_MAX=200", "INGEST__CONNECTIONS_PER_ADDRESS_MAX=200"], &[]);
    let question = "GET /health HTTP/1.1\r\nhost: h\r\n\r\n".repeat(2000);
    let mut crowd = Vec::new();
    for n in 0..200_u8 {
        let mut stream = stranger::connect(host.ingest, 2 + n % 40).await.expect("a connection");
        // Until the host takes no more, which it does soon: it waits for its reader.
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(20), stream.write_all(question.as_bytes())).await {}
        crowd.push(stream);
    }
    for _ in 0..20 {
        let (answer, took) = timed(sender(&host, "default").try_send(Post::json("push", "{}"))).await;
        answer.expect("an answer").accepted();
        assert!(took < AT_ONCE, "{took:?}");
    }
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_sockets_keep_neither_probes_nor_the_operator_from_the_admin_listener() {
    let (host, folder) = host(&[], &[]);
    let mut crowd = Vec::new();
    for n in (0..=255_u8).chain(0..44) {
        let mut stream = stranger::connect(host.admin, 2 + n % 8).await.expect("a connection");
        if n % 2 == 0 {
            // The host may have given it up already.
            let _ = stream.write_all(b"GET /api/v1/books HTTP/1.1\r\nhost: lo").await;
        }
        crowd.push(stream);
    }
    let bearer = format!("authorization: Bearer {}\r\n", token(&folder));
    for (path, headers) in [("/livez", ""), ("/readyz", ""), ("/api/v1/books", bearer.as_str()), ("/metrics", "")] {
        let (answer, took) = timed(admin(host.admin, path, headers)).await;
        assert_eq!(status(&answer), 200, "{path}: {answer}");
        assert!(took < AT_ONCE, "{path}: {took:?}");
    }
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_bodies_under_a_known_senders_name_take_no_other_tenants_body_budget() {
    let budget = format!("INGEST__BODY_BUDGET_BYTES_MAX={}", 64 * MIB);
    let (host, _folder) = host(&[&budget, "INGEST__ACCEPT_TIMEOUT_MS=60000", "INGEST__BODY_TIMEOUT_MS=60000"], &["acme", "bob"]);
    // The provider verified from the same address for both.
    for tenant in ["acme", "bob"] {
        sender(&host, tenant).post("push", "{}").await.accepted();
    }
    let mut crowd = Vec::new();
    for _ in 0..80 {
        let mut stream = stranger::connect(host.ingest, 1).await.expect("a connection");
        let head = head("/t/acme/webhooks/github", "application/json", &format!("content-length: {}\r\n", 25 * MIB));
        stream.write_all(head.as_bytes()).await.expect("a written head");
        // What the host does not take it has refused; what it takes it holds until the body's time is over.
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&vec![b'x'; MIB])).await;
        crowd.push(stream);
    }
    let document = format!("{{\"x\":\"{}\"}}", "y".repeat(8 * MIB));
    sender(&host, "bob").post("push", document).await.accepted();
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_out_of_a_document_of_23_mib_is_read_aside_and_a_neighbours_run_waits_for_nothing() {
    let manifest = |more: &str| format!("sources = [\"github\"]\nevents = [\"*\"]\n{more}");
    let turns = manifest("serialize_by = \"/check_run/head_sha\"\n");
    let host = TestHost::builder()
        .plugin_of("default", "ack", guests::component("ack"), &turns)
        .plugin_of("acme", "ack", guests::component("ack"), &manifest(""))
        // The door reads such a document, too, and that may take long on a busy machine.
        .env("HOOKYARD_INGEST__ACCEPT_TIMEOUT_MS", "60000")
        .start()
        .await;
    let quiet = host.sender_to("acme").post("push", "{}").await.accepted();
    host.settled(quiet).await;
    let mut large = Vec::new();
    for n in 0..4 {
        let beside = (0..1_700_000).fold(String::new(), |all, key| all + &format!("\"k{key:07}\":{n},"));
        let document = format!("{{{beside}\"check_run\":{{\"head_sha\":\"{n}\"}}}}");
        assert!(document.len() > 20 * MIB, "{}", document.len());
        large.push(host.sender().post("check_run", document).await.accepted());
        let id = host.sender_to("acme").post("push", format!("{{\"n\":{n}}}")).await.accepted();
        let (view, took) = timed(host.settled(id)).await;
        assert_eq!(view.legs[0].state, LegState::Acked);
        assert!(took < AT_ONCE, "{took:?}");
    }
    for id in large {
        assert_eq!(host.settled(id).await.legs[0].state, LegState::Acked);
    }
    // What a reader sees is synced before the schedule in memory knows it, and the books compare both.
    host.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapers_without_number_delay_no_run_and_behind_a_proxy_they_are_told_nothing() {
    let host = TestHost::builder().plugin("ack", guests::component("ack")).start().await;
    let to = host.inner().admin_address().expect("an admin listener");
    let mut scrapers = JoinSet::new();
    for n in 0..64_u8 {
        scrapers.spawn(async move {
            for _ in 0..20 {
                let mut stream = stranger::connect(to, 2 + n % 8).await.expect("a connection");
                let answer = ask(&mut stream, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
                assert_eq!(status(&answer), 200, "{answer:.300}");
            }
        });
    }
    for n in 0..20 {
        let id = host.sender().post("push", format!("{{\"n\":{n}}}")).await.accepted();
        let (_, took) = timed(host.settled(id)).await;
        assert!(took < AT_ONCE, "{took:?}");
    }
    scrapers.join_all().await;
    let books = admin(to, "/metrics", "").await;
    assert!(books.contains("hookyard_books_gap 0") && books.contains("admin_connections"), "{books}");
    for header in ["x-forwarded-for: 203.0.113.7\r\n", "forwarded: for=203.0.113.7\r\n", "via: 1.1 proxy\r\n"] {
        let answer = admin(to, "/metrics", header).await;
        assert!(status(&answer) == 401 && !answer.contains("hookyard_"), "{header}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_slowed_by_address_and_leave_one_line() {
    let (host, folder) = host(&[], &[]);
    let mut crowd = JoinSet::new();
    for _ in 0..16 {
        let to = host.admin;
        crowd.spawn(async move {
            let mut tries = 0_u32;
            let flood = async {
                loop {
                    let mut stream = stranger::connect(to, 7).await.expect("a connection");
                    let request = format!("GET /api/v1/books HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {tries}\r\n\r\n");
                    let answer = ask(&mut stream, request.as_bytes()).await;
                    assert!([0, 401, 429].contains(&status(&answer)), "{answer}");
                    tries += 1;
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(3), flood).await;
            tries
        });
    }
    let bearer = format!("authorization: Bearer {}\r\n", token(&folder));
    let mut stream = stranger::connect(host.admin, 7).await.expect("a connection");
    let request = format!("GET /api/v1/books HTTP/1.1\r\nhost: localhost\r\n{bearer}\r\n");
    let (answer, took) = timed(ask(&mut stream, request.as_bytes())).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(took < AT_ONCE, "{took:?}");
    let tries: u32 = crowd.join_all().await.into_iter().sum();
    assert!(tries <= 16 * 2 + 10, "{tries} tries in 3 s");
    assert_eq!(host.log().matches("admin_token_refused").count(), 1, "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_who_wants_https_answers_a_stranger_as_one_that_does_not_exist() {
    let host = TestHost::builder().tenant_toml("require_https = true").start().await;
    let to = host.inner().ingest_address().expect("a host that takes deliveries");
    let mut answers = Vec::new();
    for path in ["/webhooks/github", "/webhooks/nobody", "/t/nobody/webhooks/github"] {
        let mut stream = stranger::connect(to, 2).await.expect("a connection");
        let said = ask(&mut stream, (head(path, "application/json", "content-length: 2\r\n") + "{}").as_bytes()).await;
        answers.push(said.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n"));
    }
    assert!(answers[0].contains("signature_mismatch"), "{}", answers[0]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    host.sender().post("push", "{}").await.refused(400, "https_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_text_is_obeyed_by_no_terminal_and_reads_as_it_was() {
    // With control characters, action and repository would not be taken over at all.
    const FOREIGN: &str = "a\u{202e}b\u{2028}c\u{2066}d";
    let is_obeyed = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2028}\u{2066}".contains(c));
    let (host, folder) = host(&[], &[]);
    let document = serde_json::json!({ "action": FOREIGN, "repository": { "full_name": FOREIGN } }).to_string();
    sender(&host, "default").post("push", document).await.accepted();
    let bearer = format!("authorization: Bearer {}\r\n", token(&folder));
    let answer = admin(host.admin, "/api/v1/deliveries", &bearer).await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let asked = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.env_clear().env("HOOKYARD_ADMIN_URL", format!("http://{}", host.admin)).env("HOOKYARD_ADMIN_TOKEN", token(&folder));
        let output = command.args(arguments).output().expect("a command");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    for json in [body.to_owned(), asked(&["deliveries", "list", "--json"])] {
        assert!(!json.contains(is_obeyed), "{json:?}");
        let page: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&page["items"][0]["action"], &page["items"][0]["repository"]), (&FOREIGN.into(), &FOREIGN.into()));
    }
    let table = asked(&["deliveries", "list"]);
    assert!(!table.contains(is_obeyed), "{table:?}");
}
