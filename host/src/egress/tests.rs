//! The way out against real sockets: servers of this process that write down what reaches them and answer as a test says.

mod app;
mod names;
mod server;
mod wire;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use self::server::{Server, answer};
use super::*;
use crate::{delivery::TenantId, signature::Secret};

const TOKEN: &str = "ghp_s3cr3t/t0k3n+w1th=ch4rs";

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

/// Everything is granted on `host`, with every credential.
fn reach(host: &str, addresses: &[&str]) -> Reach {
    let grant = |credential: Option<&str>| HttpGrant {
        host: Some(host.to_owned()),
        methods: METHODS.iter().map(|&method| method.to_owned()).collect(),
        path_prefix: None,
        credential: credential.map(str::to_owned),
        headers: Vec::new(),
        allow_http: true,
    };
    let credentials = BTreeMap::from([
        ("github".to_owned(), Credential::bearer(&secret(TOKEN)).unwrap()),
        ("other".to_owned(), Credential::header("x-api-key", &secret("another-secret-key")).unwrap()),
    ]);
    let http: Vec<HttpGrant> = [None, Some("github"), Some("other"), Some("app")].map(grant).into();
    Reach {
        tenant: TenantId::default_tenant(),
        asked: Arc::new(Asked { http: http.clone(), secrets: Vec::new() }),
        allowed: Arc::new(Allowed {
            http,
            secrets: Vec::new(),
            credentials,
            addresses: addresses.iter().map(|block| block.parse().unwrap()).collect(),
        }),
        installation: None,
    }
}

fn egress() -> Egress {
    Egress::new(Settings::default(), Clock::system()).unwrap()
}

fn request(method: &str, url: &str) -> Request {
    Request { method: method.to_owned(), url: url.to_owned(), headers: Vec::new(), body: Vec::new(), credential: None }
}

async fn send(egress: &Egress, reach: &Reach, request: Request) -> Result<Response, SendError> {
    egress.send(reach, request, Instant::now() + Duration::from_secs(5)).await
}

/// Of a server on 127.0.0.1 that is allowed.
async fn get(server: &Server, credential: Option<&str>) -> Result<Response, SendError> {
    let reach = reach(&server.authority(), &["127.0.0.1"]);
    let request = Request { credential: credential.map(str::to_owned), ..request("GET", &server.url("/")) };
    send(&egress(), &reach, request).await
}

#[tokio::test]
async fn no_spelling_and_no_name_leads_to_an_address_that_is_not_public() {
    let server = Server::start(|_| answer(200, "", "")).await;
    let port = server.port();
    let names: BTreeMap<String, Vec<IpAddr>> = BTreeMap::from([
        ("loopback.example".to_owned(), vec!["127.0.0.1".parse().unwrap()]),
        ("mapped.example".to_owned(), vec!["::ffff:127.0.0.1".parse().unwrap()]),
        ("nat64.example".to_owned(), vec!["64:ff9b::7f00:1".parse().unwrap()]),
        ("metadata.example".to_owned(), vec!["169.254.169.254".parse().unwrap(), "fd00:ec2::254".parse().unwrap()]),
        ("internal.example".to_owned(), vec!["10.0.0.1".parse().unwrap(), "100.64.0.1".parse().unwrap()]),
    ]);
    let egress = Egress::with_resolver(Settings::default(), Clock::system(), Resolver::Fixed(names)).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "2852039166",
        "168.63.129.16",
        "100.100.100.200",
        "192.168.0.1",
        "loopback.example",
        "mapped.example",
        "nat64.example",
        "metadata.example",
        "internal.example",
    ] {
        let url = format!("http://{host}:{port}/");
        let granted = Target::parse(&url).unwrap().authority();
        let error = send(&egress, &reach(&granted, &[]), request("GET", &url)).await.unwrap_err();
        assert!(matches!(&error, SendError::Denied(why) if why.contains("not a public address")), "{host}: {error:?}");
    }
    assert_eq!(server.connections(), 0, "not even a socket was opened");
}

#[tokio::test]
async fn the_systems_names_are_judged_like_any_address_and_an_operator_may_allow_one() {
    let server = Server::start(|_| answer(200, "", "here")).await;
    let url = format!("http://localhost:{}/", server.port());
    let host = format!("localhost:{}", server.port());
    let denied = send(&egress(), &reach(&host, &[]), request("GET", &url)).await.unwrap_err();
    assert!(denied.to_string().contains("not a public address"), "{denied}");
    let allowed = send(&egress(), &reach(&host, &["127.0.0.1", "::1"]), request("GET", &url)).await.unwrap();
    assert_eq!(allowed.body, b"here");
    let refusing = Settings { refuse_addresses: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()], ..Settings::default() };
    let egress = Egress::new(refusing, Clock::system()).unwrap();
    assert!(matches!(send(&egress, &reach(&host, &["127.0.0.1"]), request("GET", &url)).await, Err(SendError::Denied(_))));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_leads_nowhere() {
    let server = Server::start(|_| answer(302, "location: http://169.254.169.254/latest/meta-data/\r\n", "")).await;
    let redirected = get(&server, Some("github")).await.unwrap();
    assert_eq!(redirected.status, 302);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_credential_is_added_and_whatever_spelling_comes_back_it_is_gone() {
    let server = Server::start(|request| {
        let sent = request.header("authorization").unwrap_or_default();
        let token = sent.trim_start_matches("Bearer ");
        let percent = token.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        let hex = token.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let unicode = token.chars().map(|c| format!("\\u{:04X}", c as u32)).collect::<Vec<_>>().concat();
        let base64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        let json = serde_json::json!({"echo": sent, "slashes": token}).to_string().replace('/', "\\/");
        let body = format!("{sent} {token} {percent} {hex} {unicode} {} {} {json}", base64(&format!("x:{token}")), base64(sent));
        answer(500, &format!("x-echo: {sent}\r\nx-base64: {}\r\nx-{hex}: name\r\n", base64(token)), &body)
    })
    .await;
    let echoed = get(&server, Some("github")).await.unwrap();
    assert_eq!(server.requests()[0].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    let seen = format!("{:?} {}", echoed.headers, String::from_utf8(echoed.body).unwrap());
    assert!(seen.matches("[scrubbed]").count() >= 12, "{seen}");
    for part in ["s3cr3t", "t0k3n", "ch4rs", "7333637233", "czNjcjN0", "%73%33", "u0073"] {
        assert!(!seen.to_ascii_lowercase().contains(&part.to_ascii_lowercase()), "{part}: {seen}");
    }
}

#[tokio::test]
async fn a_secret_of_another_call_is_gone_too() {
    let server = Server::start(|_| answer(200, "", "kept from before: another-secret-key")).await;
    assert_eq!(get(&server, None).await.unwrap().body, b"kept from before: [scrubbed]");
}

#[tokio::test]
async fn an_answer_is_cut_at_the_cap_and_one_nobody_can_search_is_refused() {
    let server = Server::start(|_| answer(200, "", &"x".repeat(ANSWER_BYTES_MAX + 1))).await;
    let cut = get(&server, None).await.unwrap();
    assert!(cut.truncated && cut.body.len() == ANSWER_BYTES_MAX);
    let server = Server::start(|_| answer(200, "content-encoding: gzip\r\n", "\x1f")).await;
    let error = get(&server, None).await.unwrap_err();
    assert!(error.to_string().contains("gzip"), "{error}");
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
    let server = Server::start(|_| answer(200, &format!("x-long: {}\r\n", "y".repeat(70_000)), "")).await;
    assert!(matches!(get(&server, None).await, Err(SendError::Unavailable(_))), "a head without end");
}

#[tokio::test]
async fn one_deadline_covers_connection_tls_head_and_body() {
    let silent = Server::start(|_| Vec::new()).await;
    let dribbling = Server::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec()).await;
    for url in [silent.url("/"), dribbling.url("/"), silent.url("/").replace("http:", "https:")] {
        let host = Target::parse(&url).unwrap().authority();
        let deadline = Instant::now() + Duration::from_millis(100);
        let error = egress().send(&reach(&host, &["127.0.0.1"]), request("GET", &url), deadline).await.unwrap_err();
        assert_eq!(error, SendError::Timeout, "{url}");
    }
}

#[tokio::test]
async fn what_happened_to_a_request_says_whether_the_other_side_is_up_and_what_was_not_sent_says_nothing() {
    let found = async |egress: &Egress, reach: &Reach, url: &str| {
        let deadline = Instant::now() + Duration::from_millis(300);
        egress.send_watched(reach, request("GET", url), deadline).await.1.map(|upstream| (upstream.destination.to_string(), upstream.is_up))
    };
    for (status, is_up) in [(200, true), (301, true), (404, true), (429, true), (500, false), (503, false)] {
        let server = Server::start(move |_| answer(status, "", "")).await;
        let reach = reach(&server.authority(), &["127.0.0.1"]);
        assert_eq!(found(&egress(), &reach, &server.url("/")).await, Some((server.authority(), is_up)), "{status}");
    }
    let silent = Server::start(|_| Vec::new()).await;
    let broken = Server::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n".to_vec()).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [silent.url("/"), broken.url("/"), format!("http://{gone}/"), format!("http://localhost:{}/", gone.port())] {
        let host = Target::parse(&url).unwrap().authority();
        let named = Egress::with_resolver(Settings::default(), Clock::system(), Resolver::Fixed(BTreeMap::new())).unwrap();
        assert_eq!(found(&named, &reach(&host, &["127.0.0.1"]), &url).await, Some((host, false)), "{url}");
    }
    let granted = reach(&silent.authority(), &[]);
    assert_eq!(found(&egress(), &granted, "http://elsewhere.example/").await, None, "not granted");
    assert_eq!(found(&egress(), &granted, &silent.url("/")).await, None, "its address is refused");
    let odd = Server::start(|_| answer(200, "content-encoding: gzip\r\n", "x")).await;
    assert_eq!(found(&egress(), &reach(&odd.authority(), &["127.0.0.1"]), &odd.url("/")).await, None, "it answers, if oddly");
}

#[tokio::test]
async fn who_waits_for_its_tenants_own_requests_says_nothing_of_the_other_side() {
    let mut limits = crate::shares::Limits::of(crate::shares::Machine::here());
    limits.set(Resource::OutgoingRequests, crate::shares::Limit::new(1, 1));
    let egress = Egress::new(Settings { shares: Shares::new(&limits), ..Settings::default() }, Clock::system()).unwrap();
    let silent = Server::start(|_| Vec::new()).await;
    let reach = reach(&silent.authority(), &["127.0.0.1"]);
    let ask = |ms| egress.send_watched(&reach, request("GET", &silent.url("/")), Instant::now() + Duration::from_millis(ms));
    let (first, second) = tokio::join!(ask(400), ask(200));
    assert_eq!((first.0, first.1.map(|upstream| upstream.is_up)), (Err(SendError::Timeout), Some(false)));
    assert_eq!((second.0, second.1), (Err(SendError::Timeout), None));
}

#[tokio::test]
async fn connections_are_kept_for_the_same_tenant_and_credential_and_for_nobody_else() {
    let server = Server::start(|_| answer(200, "", "ok")).await;
    let (egress, red) = (egress(), reach(&server.authority(), &["127.0.0.1"]));
    let blue = Reach { tenant: "blue".parse().unwrap(), ..red.clone() };
    let with = |credential: &str| Request { credential: Some(credential.to_owned()), ..request("GET", &server.url("/")) };
    for _ in 0..3 {
        send(&egress, &red, with("github")).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    send(&egress, &red, with("other")).await.unwrap();
    assert_eq!(server.connections(), 2);
    send(&egress, &blue, with("github")).await.unwrap();
    assert_eq!(server.connections(), 3);
    send(&egress, &red, with("github")).await.unwrap();
    assert_eq!(server.connections(), 3);
    // Allowed a moment ago is not allowed for ever, kept connection or not.
    let closed = Reach { allowed: Arc::new(Allowed { addresses: Vec::new(), ..(*red.allowed).clone() }), ..red };
    assert!(matches!(send(&egress, &closed, with("github")).await, Err(SendError::Denied(_))));
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_costs_nothing() {
    let server = Server::start(|_| answer(200, "", "ok")).await;
    let (egress, reach) = (egress(), reach(&server.authority(), &["127.0.0.1"]));
    send(&egress, &reach, request("GET", &server.url("/"))).await.unwrap();
    server.close_connections().await;
    assert_eq!(send(&egress, &reach, request("POST", &server.url("/"))).await.unwrap().status, 200);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn tls_is_spoken_for_the_name_that_was_asked_for_and_only_to_who_can_prove_it() {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, server::CERTIFICATE).unwrap();
    let server = Server::start_tls(|_| answer(200, "", "private")).await;
    let host = format!("localhost:{}", server.port());
    let (url, reach) = (format!("https://{host}/"), reach(&host, &["127.0.0.1", "::1"]));
    let error = send(&egress(), &reach, request("GET", &url)).await.unwrap_err();
    assert!(matches!(&error, SendError::Unreachable(why) if why.contains("TLS with localhost failed")), "{error:?}");
    let trusting = Egress::new(Settings { ca_file: Some(ca_file), ..Settings::default() }, Clock::system()).unwrap();
    assert_eq!(send(&trusting, &reach, request("GET", &url)).await.unwrap().body, b"private");
    assert_eq!(server.names(), [Some("localhost".to_owned())]);
}

#[tokio::test]
async fn what_cannot_be_asked_is_told_in_words() {
    let server = Server::start(|_| answer(200, "", "")).await;
    let reach = reach(&server.authority(), &["127.0.0.1"]);
    for (method, headers, body, part) in [
        ("CONNECT", Vec::new(), 0, "method"),
        ("get", Vec::new(), 0, "method"),
        ("GET", vec![("Authorization".to_owned(), "Bearer mine".to_owned())], 0, "host's own"),
        ("GET", vec![("Proxy-Authorization".to_owned(), "x".to_owned())], 0, "host's own"),
        ("GET", vec![("Cookie".to_owned(), "a=b".to_owned())], 0, "host's own"),
        ("GET", vec![("X-Original-URL".to_owned(), "/admin".to_owned())], 0, "host's own"),
        ("GET", vec![("X-Rewrite-URL".to_owned(), "/admin".to_owned())], 0, "host's own"),
        ("GET", vec![("X-Real-IP".to_owned(), "127.0.0.1".to_owned())], 0, "host's own"),
        ("GET", vec![("PRIVATE-TOKEN".to_owned(), "mine".to_owned())], 0, "headers = [\"private-token\"]"),
        ("POST", Vec::new(), REQUEST_BYTES_MAX + 1, "longer than"),
    ] {
        let request = Request { headers, body: vec![0; body], ..request(method, &server.url("/")) };
        let error = send(&egress(), &reach, request).await.unwrap_err();
        assert!(error.to_string().contains(part), "{method}: {error}");
    }
    assert_eq!(server.connections(), 0);
}
