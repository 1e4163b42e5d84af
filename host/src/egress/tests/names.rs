//! Name servers of this process: one that never answers, one that knows a name, and what others notice of either.

use tokio::net::UdpSocket;

use super::*;
use crate::shares::{Limit, Limits, Machine, Resource, Shares};

/// A socket that takes questions and is silent.
async fn silent() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

/// Shares with so many look-ups, and so many a tenant.
fn lookups(bound: u64, share: u64) -> Shares {
    let mut limits = Limits::of(Machine::here());
    limits.set(Resource::Lookups, Limit::new(bound, share));
    Shares::new(&limits)
}

fn asking(server: &UdpSocket, shares: &Shares) -> Egress {
    let settings = Settings { name_servers: vec![server.local_addr().unwrap()], shares: shares.clone(), ..Settings::default() };
    Egress::new(settings, Clock::system()).unwrap()
}

fn of(tenant: &str, host: &str) -> Reach {
    Reach { tenant: tenant.parse().unwrap(), ..reach(host, &["127.0.0.1", "::1"]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_name_server_is_silent_to_one_tenant_another_one_is_answered_as_ever() {
    let (dns, shares) = (silent().await, lookups(16, 4));
    let egress = asking(&dns, &shares);
    let (noisy, deadline) = (of("noisy", "silent.example"), Instant::now() + Duration::from_secs(4));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..48 {
        let (egress, noisy) = (egress.clone(), noisy.clone());
        waiting.spawn(async move { egress.send(&noisy, request("GET", "http://silent.example/"), deadline).await });
    }
    // Until the first question has come, nobody waits for its answer yet.
    dns.recv_from(&mut [0; 512]).await.unwrap();
    let server = Server::start(|_| answer(200, "", "here")).await;
    let host = format!("localhost:{}", server.port());
    let began = Instant::now();
    let found = send(&egress, &of("quiet", &host), request("GET", &format!("http://{host}/"))).await.unwrap();
    assert_eq!(found.body, b"here");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let of_noisy = shares.pool(Resource::Lookups).used_by(&Holder::tenant(&noisy.tenant));
    assert_eq!(of_noisy, 4, "a tenant has its share and no more");
    while let Some(ended) = waiting.join_next().await {
        assert!(matches!(ended.unwrap(), Err(SendError::Timeout | SendError::Unreachable(_))));
    }
}

#[tokio::test]
async fn a_look_up_ends_with_its_request() {
    let (dns, shares) = (silent().await, lookups(16, 4));
    let egress = asking(&dns, &shares);
    let reach = of("noisy", "silent.example");
    for _ in 0..200 {
        let deadline = Instant::now() + Duration::from_millis(1);
        let error = egress.send(&reach, request("GET", "http://silent.example/"), deadline).await.unwrap_err();
        assert_eq!(error, SendError::Timeout);
        assert!(shares.usage().is_empty(), "{:?}", shares.usage());
    }
}

#[tokio::test]
async fn what_a_name_server_says_is_judged_like_any_address_and_kept_for_the_next_request() {
    let dns = Arc::new(silent().await);
    let (egress, answering) = (asking(&dns, &Shares::default()), Arc::clone(&dns));
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let tasks = crate::tasks::Tasks::new();
    tasks.spawn_brief(async move {
        let mut question = [0; 512];
        while let Ok((bytes, from)) = answering.recv_from(&mut question).await {
            let (told, is_v4) = told(&question[..bytes]);
            // That there is no v6 address is not kept, as no zone is named that says for how long.
            counted.fetch_add(usize::from(is_v4), std::sync::atomic::Ordering::SeqCst);
            drop(answering.send_to(&told, from).await);
        }
    });
    let server = Server::start(|_| answer(200, "", "here")).await;
    let (host, url) = (format!("named.example:{}", server.port()), format!("http://named.example:{}/", server.port()));
    let denied = send(&egress, &reach(&host, &[]), request("GET", &url)).await.unwrap_err();
    assert!(matches!(&denied, SendError::Denied(why) if why.contains("not a public address")), "{denied:?}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(send(&egress, &reach(&host, &["127.0.0.1"]), request("GET", &url)).await.unwrap().body, b"here");
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1, "the answer was kept");
}

/// The answer to a question, and whether it was for a v4 address: 127.0.0.1 for an hour, and no v6 address. What stands behind the question (EDNS) is left out.
fn told(question: &[u8]) -> (Vec<u8>, bool) {
    let name_ends = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap();
    let is_v4 = question[name_ends + 1..name_ends + 3] == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
    answer.extend(&question[12..name_ends + 5]);
    if is_v4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 127, 0, 0, 1]);
    }
    (answer, is_v4)
}

#[tokio::test]
async fn a_tenant_whose_requests_hang_has_its_share_of_them_and_no_more() {
    let mut limits = Limits::of(Machine::here());
    limits.set(Resource::OutgoingRequests, Limit::new(4, 2));
    let shares = Shares::new(&limits);
    let egress = Egress::new(Settings { shares: shares.clone(), ..Settings::default() }, Clock::system()).unwrap();
    let (silent, server) = (Server::start(|_| Vec::new()).await, Server::start(|_| answer(200, "", "here")).await);
    let (noisy, quiet) = (of("noisy", &silent.authority()), of("quiet", &server.authority()));
    let deadline = Instant::now() + Duration::from_millis(300);
    let asking = |_| async {
        let beside = egress.send(&quiet, request("GET", &server.url("/")), Instant::now() + Duration::from_secs(5)).await;
        (egress.send(&noisy, request("GET", &silent.url("/")), deadline).await, beside.map(|answer| answer.status))
    };
    for answers in app::futures_all((0..6).map(asking)).await {
        assert_eq!(answers, (Err(SendError::Timeout), Ok(200)));
    }
    assert!(silent.connections() <= 2, "{} connections", silent.connections());
    assert!(shares.usage().is_empty(), "{:?}", shares.usage());
}
