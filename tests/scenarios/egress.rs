//! Requests of plugins through the whole host: granted, credentialed, recorded, and never more than the operator said.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use hookyard::{
    clock::Clock,
    delivery::{LegState, TenantId},
    signature::{Secret, hmac_sha256},
};
use system_tests::{
    folder::{Folder, Layout, SECRET, write},
    guests,
    host::TestHost,
    process::ProcessHost,
    sender::Sender,
};

/// A server that answers each request with the same body and keeps its head.
struct Api {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<Mutex<Option<Stop>>>,
}

/// The request that is answered only when the test says so.
struct Stop {
    at: usize,
    arrived: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

impl Api {
    /// Tells when the `at`-th request has come, and answers it when it is told to.
    fn stop_at(&self, at: usize) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((arrived, has_arrived), (go, go_on)) = (mpsc::channel(), mpsc::channel());
        *self.stop.lock().expect("a sound lock") = Some(Stop { at, arrived, go_on });
        (has_arrived, go)
    }

    fn start(body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (heads, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (seen, count) = (Arc::clone(&heads), Arc::clone(&connections));
        let stop = Arc::<Mutex<Option<Stop>>>::default();
        let stopping = Arc::clone(&stop);
        std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let (mut stream, mut head) = (stream, Vec::new());
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        break;
                    }
                    head.push(byte[0]);
                }
                seen.lock().expect("a sound lock").push(String::from_utf8_lossy(&head).into_owned());
                if let Some(stop) = stopping.lock().expect("a sound lock").take_if(|stop| stop.at == count.load(Ordering::SeqCst)) {
                    stop.arrived.send(()).expect("a test that waits");
                    stop.go_on.recv().expect("a test that goes on");
                }
                let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { port, heads, connections, stop }
    }

    fn manifest(&self) -> String {
        format!(
            "sources = [\"github\"]\nevents = [\"*\"]\n[config]\nurl = \"http://127.0.0.1:{port}/repos/acme/shop\"\n\
             [[grants.http]]\nhost = \"127.0.0.1:{port}\"\nmethods = [\"GET\"]\ncredential = \"github\"\n",
            port = self.port
        )
    }

    fn grant(&self, prefix: &str) -> String {
        format!(
            "[credentials.github]\nkind = \"github-token\"\ntoken = {{ env = \"HOOKYARD_SECRET_DEFAULT_API\" }}\n\
             [[grants.http]]\nhost = \"127.0.0.1:{}\"\nmethods = [\"GET\"]\npath_prefix = \"{prefix}\"\ncredential = \"github\"\n\
             allow_http = true\n",
            self.port
        )
    }
}

const TOKEN: &str = "ghp_a-token-nobody-else-may-see";
const LOOPBACK: &str = "[egress]\nallow_addresses = [\"127.0.0.1\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_request_is_sent_with_the_credential_and_kept_with_the_attempt_without_it() {
    let api = Api::start("you sent ghp_a-token-nobody-else-may-see");
    let host = TestHost::builder()
        .env("HOOKYARD_SECRET_DEFAULT_API", TOKEN)
        .tenant_toml(&format!("{}{LOOPBACK}", api.grant("/repos/acme/")))
        .plugin_of("default", "fetch", guests::component("fetch"), &api.manifest())
        .start()
        .await;
    let id = host.sender().post("push", "{}").await.accepted();
    host.drained().await;
    let leg = host.leg(id, "fetch").await;
    assert_eq!((leg.state, leg.reason.as_deref()), (LegState::Skipped, Some("you sent [scrubbed]")));
    let head = api.heads.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /repos/acme/shop http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: bearer {TOKEN}")), "{head}");
    let calls = &leg.history[0].host_calls;
    let call = calls.iter().find(|call| call.call == "http.send").unwrap();
    assert_eq!(call.input, format!("GET http://127.0.0.1:{}/repos/acme/shop as github", api.port));
    assert_eq!(call.answer, "200 (19 bytes)");
    let view = serde_json::to_string(&host.delivery(id).await).unwrap();
    assert!(!view.contains("nobody-else"), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_manifest_gets_what_the_operator_grants_and_no_socket_more() {
    let api = Api::start("never");
    for tenant_toml in [
        // Another path, another credential's destination, no address: each of the three alone stops it.
        format!("{}{LOOPBACK}", api.grant("/repos/other/")),
        api.grant("/repos/acme/"),
        format!("{}{LOOPBACK}", api.grant("/repos/acme/").replace("allow_http = true\n", "")),
    ] {
        let host = TestHost::builder()
            .env("HOOKYARD_SECRET_DEFAULT_API", TOKEN)
            .tenant_toml(&tenant_toml)
            .plugin_of("default", "fetch", guests::component("fetch"), &api.manifest())
            .start()
            .await;
        let id = host.sender().post("push", "{}").await.accepted();
        host.drained().await;
        let leg = host.leg(id, "fetch").await;
        assert_eq!(leg.state, LegState::Dead, "{leg:?}");
        let calls = &leg.history[0].host_calls;
        assert!(calls.iter().any(|call| call.call == "http.send" && call.answer.starts_with("Denied: ")), "{calls:?}");
    }
    assert_eq!(api.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_taken_away_in_the_middle_of_a_run_is_gone_with_its_next_request() {
    let api = Api::start("again");
    let host = TestHost::builder()
        .env("HOOKYARD_SECRET_DEFAULT_API", TOKEN)
        .tenant_toml(&format!("{}{LOOPBACK}", api.grant("/repos/acme/")))
        .plugin_of("default", "fetch-on", guests::component("fetch-on"), &api.manifest())
        .start()
        .await;
    let file = host.folder().path().join("tenants/default/tenant.toml");
    let granted = std::fs::read_to_string(&file).unwrap();
    // The third request is on its way when the operator takes the grant away, and is answered only then.
    let (arrived, go_on) = api.stop_at(3);
    let id = host.sender().post("push", "{}").await.accepted();
    tokio::task::spawn_blocking(move || arrived.recv().unwrap()).await.unwrap();
    write(&file, granted.replace("/repos/acme/", "/repos/other/").as_bytes());
    host.inner().reload();
    go_on.send(()).unwrap();
    host.drained().await;
    let leg = host.leg(id, "fetch-on").await;
    assert_eq!(leg.state, LegState::Dead, "{leg:?}");
    assert!(leg.reason.as_ref().is_some_and(|why| why.contains("do not cover")), "{:?}", leg.reason);
    assert_eq!(api.heads.lock().unwrap().len(), 3, "not one more");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn forty_eight_runs_that_wait_for_a_silent_name_server_delay_no_other_tenant() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let servers = format!("[egress]\nname_servers = [\"{}\"]\n", silent.local_addr().unwrap());
    let grant = "[[grants.http]]\nhost = \"silent.example\"\nmethods = [\"GET\"]\n";
    let manifest = "sources = [\"github\"]\nevents = [\"*\"]\n[config]\nurl = \"https://silent.example/\"\n[limits]\nwall_ms = 4000\n\
                    concurrency_max = 48\n[retry]\nattempts_max = 1\n";
    let credential = "[credentials.github]\nkind = \"github-token\"\ntoken = { file = \"secrets/github\" }\n";
    let with = |grant: &str| format!("{grant}credential = \"github\"\n");
    let host = TestHost::builder()
        .hookyard_toml(&servers)
        .tenant_toml(&format!("{credential}{}", with(grant)))
        .plugin_of("noisy", "fetch", guests::component("fetch"), &format!("{manifest}{}", with(grant)))
        .plugin("ack", guests::component("ack"))
        .start()
        .await;
    let quiet = async || {
        let began = tokio::time::Instant::now();
        let id = host.sender().post("push", "{}").await.accepted();
        host.settled(id).await;
        began.elapsed()
    };
    let usual = quiet().await;
    for n in 0..48 {
        host.sender_to("noisy").post("push", format!("{{\"n\":{n}}}")).await.accepted();
    }
    tokio::task::spawn_blocking(move || silent.recv_from(&mut [0; 512]).unwrap()).await.unwrap();
    let mut beside = Vec::new();
    for _ in 0..5 {
        beside.push(quiet().await);
    }
    beside.sort();
    println!("a neighbour's delivery: {usual:?} alone, {:?} beside 48 waiting runs (the middle of five)", beside[2]);
    assert!(beside[2] < usual * 3 + std::time::Duration::from_millis(500), "{usual:?} alone, {beside:?} beside them");
    host.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_signs_for_the_plugin_that_is_granted_it_and_a_sources_secret_has_no_name() {
    let manifest = |name: &str| {
        format!("sources = [\"github\"]\nevents = [\"*\"]\n[[grants.secrets]]\ncredential = \"{name}\"\npurposes = [\"sign\"]\n")
    };
    let tenant_toml = "[credentials.partner]\nkind = \"hmac\"\nkey = { env = \"HOOKYARD_SECRET_DEFAULT_PARTNER\" }\n\
                       [[grants.secrets]]\ncredential = \"partner\"\npurposes = [\"sign\"]\n";
    let host = TestHost::builder()
        .env("HOOKYARD_SECRET_DEFAULT_PARTNER", "the partner's key")
        .tenant_toml(tenant_toml)
        .plugin_of("default", "sign", guests::component("sign"), &manifest("partner"))
        .plugin_of("default", "forge", guests::component("sign"), &manifest("github"))
        .start()
        .await;
    let id = host.sender().post("push", "{}").await.accepted();
    host.drained().await;
    let tag = hmac_sha256(&Secret::new("the partner's key").unwrap(), b"{}");
    let number = u64::from_le_bytes(tag[..8].try_into().unwrap());
    assert_eq!(host.leg(id, "sign").await.reason, Some(format!("{number:016x}")));
    // Not even admitted: `github` is a source's secret, and those are no credentials.
    let refused = host.plugin("default", "forge", |view| view.refusal.is_some()).await;
    assert_eq!(refused.refusal.unwrap().code, "import_not_granted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_count_to_a_hundred() {
    let host = TestHost::builder().plugin("stars", guests::component("count")).start().await;
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..100 {
        let sender = host.sender();
        posts.spawn(async move { sender.post("star", format!("{{\"n\":{n}}}")).await.accepted() });
    }
    assert_eq!(posts.join_all().await.len(), 100);
    host.drained().await;
    let (tenant, plugin) = (TenantId::default_tenant(), "stars".parse().unwrap());
    let counted = host.inner().ledger().kv_get(&tenant, &plugin, "n").unwrap().unwrap();
    assert_eq!(counted.value, 100_u64.to_le_bytes());
}

/// Kills the host when the `kill_at`-th request arrives and says what the run after the restart found of its step.
fn killed_at(kill_at: usize) -> (String, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let manifest = format!(
        "sources = [\"github\"]\nevents = [\"*\"]\n[config]\nurl = \"http://127.0.0.1:{port}/\"\n\
         [[grants.http]]\nhost = \"127.0.0.1:{port}\"\nmethods = [\"POST\"]\n"
    );
    let tenant_toml = format!(
        "[[grants.http]]\nhost = \"127.0.0.1:{port}\"\nmethods = [\"POST\"]\nallow_http = true\n\
         [egress]\nallow_addresses = [\"127.0.0.1\"]\n"
    );
    let plugins = BTreeMap::from([(("default".to_owned(), "comment".to_owned()), (guests::component("once-send"), manifest))]);
    let folder = Folder::lay(&Layout { plugins, tenant_toml, ..Layout::default() });
    let (mut host, requests) = (Some(ProcessHost::start(&folder)), Arc::<AtomicUsize>::default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sender = Sender::new(host.as_ref().expect("it runs").ingest, "default", "github", SECRET);
    let id = runtime.block_on(sender.post("issues", "{}")).accepted();
    let answer = |stream: std::net::TcpStream| {
        use std::io::{Read as _, Write as _};
        let (mut stream, mut head) = (stream, [0; 4096]);
        let _ = stream.read(&mut head);
        drop(stream.write_all(b"HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"));
    };
    for stream in listener.incoming().flatten() {
        if requests.fetch_add(1, Ordering::SeqCst) + 1 == kill_at {
            // The request has arrived, and its answer never will.
            host.take().expect("it runs").kill();
            break;
        }
        answer(stream);
    }
    let (counted, after) = (Arc::clone(&requests), listener);
    std::thread::spawn(move || {
        for stream in after.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            answer(stream);
        }
    });
    let found = runtime.block_on(async {
        let host = TestHost::start_on(folder, Clock::system()).await;
        host.drained().await;
        host.leg(id, "comment").await.reason.unwrap_or_default()
    });
    (found, requests.load(Ordering::SeqCst))
}

#[test]
fn a_step_cut_off_in_its_middle_is_unknown_after_the_crash_and_a_finished_one_is_done() {
    // Intent durable, no answer: the plugin is told to look, and sends nothing by itself.
    assert_eq!(killed_at(1), ("0000000000000002".to_owned(), 1));
    // Answer durable, settlement not: the step is not done again.
    assert_eq!(killed_at(2), ("0000000000000001".to_owned(), 2));
}
