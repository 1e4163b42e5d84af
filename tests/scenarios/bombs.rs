//! What would take the host with it: components that bomb the compiler, and a plugin whose run ends the process. Real components, real
//! processes, real signals; the culprit alone pays.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use hookyard::{
    clock::Clock,
    delivery::{DeliveryId, Digest, LegState, TenantId},
};
use system_tests::{
    bomb::compiler_bomb,
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    process::{self, ProcessHost, Signal},
    sender::Sender,
};

const MANIFEST: &str = "sources = [\"github\"]\nevents = [\"*\"]\n";
/// Of one compilation: enough for any plugin of ours, and quickly used up.
const LIMITS: &str = "[plugins]\ncompile_memory_bytes_max = 1073741824\n";

fn with_neighbour() -> Folder {
    let plugins = BTreeMap::from([(("default".to_owned(), "neighbour".to_owned()), (guests::component("ack"), MANIFEST.to_owned()))]);
    Folder::lay(&Layout { hookyard_toml: LIMITS.to_owned(), plugins, ..Layout::default() })
}

fn marker(folder: &Folder, wasm: &[u8]) -> PathBuf {
    folder.path().join("data/compiled").join(format!("compiling-{}", Digest::of(&[wasm])))
}

fn since(begun: Instant) -> Duration {
    Clock::system().instant().saturating_duration_since(begun)
}

/// Sends deliveries to the neighbour until `done`; gives their ids and the longest answer.
async fn traffic_until(host: &ProcessHost, done: impl Fn() -> bool) -> (Vec<DeliveryId>, Duration) {
    let (sender, begun) = (Sender::new(host.ingest, "default", "github", SECRET), Clock::system().instant());
    let (mut ids, mut slowest) = (Vec::new(), Duration::ZERO);
    while !done() {
        assert!(since(begun) < Duration::from_mins(2), "it does not happen: {}", host.log());
        let asked = Clock::system().instant();
        ids.push(sender.post("push", format!("{{\"n\":\"{:032x}\"}}", fastrand::u128(..))).await.accepted());
        slowest = slowest.max(since(asked));
    }
    (ids, slowest)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn a_component_that_bombs_the_compiler_dies_with_its_child_and_is_never_compiled_again() {
    let (folder, bomb) = (with_neighbour(), compiler_bomb(3000, 3000));
    let host = ProcessHost::start(&folder);
    let begun = Clock::system().instant();
    folder.deploy("default", "bomb", &bomb, MANIFEST);
    let (mut ids, slowest) = traffic_until(&host, || host.log().contains("compile_failed")).await;
    let log = host.log();
    assert!(log.contains("the compiler ended with signal"), "the child was killed: {log}");
    assert!(marker(&folder, &bomb).is_file(), "the digest is marked");
    println!(
        "a component of {} bytes ended its compiler after {:?}; {} deliveries meanwhile, the slowest answered in {slowest:?}; the host peaked at {} MiB",
        bomb.len(),
        since(begun),
        ids.len(),
        host.peak_rss_bytes() >> 20
    );
    host.kill();

    let begun = Clock::system().instant();
    let host = ProcessHost::start(&folder);
    let (more, _) = traffic_until(&host, || host.log().contains("compile_quarantined")).await;
    println!("after a kill the host serves and has refused it in {:?}", since(begun));
    assert!(!host.log().contains("compile_failed"), "it was not compiled again: {}", host.log());
    ids.extend(more);
    host.kill();
    all_handled(folder, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_twice_while_it_compiles_the_same_bytes_does_not_compile_them_a_third_time() {
    let (folder, bomb) = (with_neighbour(), compiler_bomb(1000, 1000));
    let host = ProcessHost::start(&folder);
    folder.deploy("default", "bomb", &bomb, MANIFEST);
    let (mut ids, _) = traffic_until(&host, || marker(&folder, &bomb).is_file()).await;
    assert!(!host.log().contains("compile_failed"), "it is still under way: {}", host.log());
    host.kill();
    // Once may have been chance: it is tried again.
    let mut child = process::start_only(&folder);
    let strikes = || fs::read_to_string(marker(&folder, &bomb)).unwrap_or_default();
    until("the second compilation", || strikes() == "2");
    child.kill().expect("a running process");
    child.wait().expect("an end");
    let host = ProcessHost::start(&folder);
    let (more, _) = traffic_until(&host, || host.log().contains("compile_quarantined")).await;
    ids.extend(more);
    host.kill();
    all_handled(folder, &ids).await;
}

#[test]
fn a_host_told_to_stop_while_it_compiles_at_its_start_quarantines_nobody() {
    let (folder, slow) = (with_neighbour(), compiler_bomb(1000, 1000));
    folder.deploy("default", "slow", &slow, MANIFEST);
    let child = process::start_only(&folder);
    until("the compilation", || marker(&folder, &slow).is_file());
    process::signal(&child, Signal::TERM);
    let status = process::ended(child);
    assert!(status.success(), "{status}");
    assert!(!marker(&folder, &slow).exists(), "the marker is lifted");
}

/// Waits for a fact of the file system.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Clock::system().instant();
    while !is_so() {
        assert!(since(begun) < Duration::from_mins(1), "{what} does not happen");
        std::thread::yield_now();
    }
}

/// Every delivery was handled by the neighbour. What was new when a host started was routed to until it was refused, and that waits.
async fn all_handled(folder: Folder, ids: &[DeliveryId]) {
    let host = TestHost::start_on(folder, Clock::system()).await;
    // Two kills during its runs may have looked like its own doing.
    let (tenant, name) = (TenantId::default_tenant(), "neighbour".parse().expect("a name"));
    assert!(host.inner().catalog().pause(&tenant, &name, false).await.expect("a ledger"));
    for &id in ids {
        host.until(&format!("the neighbour's run of {id}"), || async {
            let legs = host.delivery(id).await.legs;
            legs.iter().any(|leg| leg.plugin.as_str() == "neighbour" && leg.state == LegState::Acked).then_some(())
        })
        .await;
    }
}

const INNOCENTS: usize = 30;

/// A server by whose hand one plugin's requests end the host: it says when one is under way, and never answers. Everybody else's requests
/// are held until that has happened once: those are the long runs beside it.
struct Outside {
    port: u16,
    crashes: mpsc::Receiver<()>,
}

impl Outside {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (crash, crashes) = mpsc::channel();
        std::thread::spawn(move || {
            // Never dropped: who asked waits until its host is dead.
            let (mut held, mut culprits, mut is_first_life) = (Vec::new(), Vec::new(), true);
            for mut stream in listener.incoming().flatten() {
                let is_culprit = path(&mut stream).starts_with("/crash");
                if is_culprit {
                    culprits.push(stream);
                } else if is_first_life {
                    held.push(stream);
                } else {
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ndone"));
                }
                let all_are_here = held.len() >= INNOCENTS && culprits.len() >= 2;
                if if is_first_life { all_are_here } else { is_culprit } {
                    is_first_life = false;
                    let _ = crash.send(());
                }
            }
        });
        Self { port, crashes }
    }

    fn manifest(&self, path: &str) -> String {
        let port = self.port;
        format!(
            "sources = [\"github\"]\nevents = [\"{path}\"]\n[config]\nurl = \"http://127.0.0.1:{port}/{path}\"\n[limits]\nwall_ms = 60000\n\
             [[grants.http]]\nhost = \"127.0.0.1:{port}\"\nmethods = [\"GET\"]\ncredential = \"github\"\n"
        )
    }

    fn layout(&self) -> Layout {
        let plugin = |name: &str| (("default".to_owned(), name.to_owned()), (guests::component("fetch"), self.manifest(name)));
        let tenant_toml = format!(
            "[credentials.github]\nkind = \"github-token\"\ntoken = {{ file = \"secrets/github\" }}\n\
             [[grants.http]]\nhost = \"127.0.0.1:{}\"\nmethods = [\"GET\"]\ncredential = \"github\"\nallow_http = true\n\
             [egress]\nallow_addresses = [\"127.0.0.1\"]\n",
            self.port
        );
        let neighbour = (("other".to_owned(), "neighbour".to_owned()), (guests::component("ack"), MANIFEST.to_owned()));
        Layout { tenant_toml, plugins: BTreeMap::from([plugin("crash"), plugin("innocent"), neighbour]), ..Layout::default() }
    }
}

fn path(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// How long a delivery waited before its one run, from its acceptance.
async fn waited(host: &TestHost, id: DeliveryId, plugin: &str) -> Duration {
    let (received_at, leg) = (host.delivery(id).await.received_at, host.leg(id, plugin).await);
    let [attempt] = &leg.history[..] else { panic!("{plugin} handled it at its first attempt: {leg:?}") };
    attempt.started_at.since(received_at)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn of_all_runs_under_way_only_the_one_that_ends_the_host_twice_is_charged_and_its_plugin_parked() {
    let outside = Outside::open();
    let folder = Folder::lay(&outside.layout());
    let begun = Clock::system().instant();
    let host = ProcessHost::start(&folder);
    let (sender, beside) = (Sender::new(host.ingest, "default", "github", SECRET), Sender::new(host.ingest, "other", "github", SECRET));
    let mut innocents = Vec::new();
    for n in 0..INNOCENTS {
        innocents.push(sender.post("innocent", format!("{{\"n\":{n}}}")).await.accepted());
    }
    let culprit = sender.post("crash", "{}").await.accepted();
    let another = sender.post("crash", "{\"another\":1}").await.accepted();
    outside.crashes.recv_timeout(Duration::from_mins(1)).unwrap_or_else(|_| panic!("the culprit does not run: {}", host.log()));
    let mut neighbours = Vec::new();
    for n in 0..20 {
        neighbours.push(beside.post("neighbour", format!("{{\"n\":{n}}}")).await.accepted());
    }
    host.kill();
    // The second time it is a suspect, and everything else goes on until it has done it again.
    let host = ProcessHost::start(&folder);
    outside.crashes.recv_timeout(Duration::from_mins(1)).unwrap_or_else(|_| panic!("the suspect does not run: {}", host.log()));
    let restarted = Clock::system().instant();
    host.kill();
    let host = ProcessHost::start(&folder);
    let restart = since(restarted);
    assert!(host.log().contains("plugin_ends_host"), "{}", host.log());
    let beside = Sender::new(host.ingest, "other", "github", SECRET);
    for n in 20..40 {
        neighbours.push(beside.post("neighbour", format!("{{\"n\":{n}}}")).await.accepted());
    }
    host.signal(Signal::TERM);
    host.ended();

    let host = TestHost::start_on(folder, Clock::system()).await;
    let parked = host.plugin("default", "crash", |view| view.crash.is_some()).await;
    assert_eq!(parked.status, "broken");
    for id in [culprit, another] {
        assert_eq!(host.leg(id, "crash").await.state, LegState::Parked, "neither it nor what waits behind it runs");
    }
    for &id in &innocents {
        let leg = host.settled(id).await.legs.remove(0);
        assert_eq!((leg.state, leg.attempts, leg.reason.as_deref()), (LegState::Skipped, 1, Some("done")), "{leg:?}");
    }
    let mut longest = Duration::ZERO;
    for &id in &neighbours {
        host.settled(id).await;
        longest = longest.max(waited(&host, id, "neighbour").await);
    }
    let both = since(begun);
    assert!(longest < both, "{longest:?} of {both:?}");
    assert!(outside.crashes.try_recv().is_err(), "it is not run once more");
    println!(
        "2 kills; {INNOCENTS} innocents handled at their first attempt; a neighbour's 40 deliveries waited {longest:?} at most, a restart takes {restart:?}"
    );
}
