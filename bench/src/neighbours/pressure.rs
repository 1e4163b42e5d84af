//! Who uses one resource up: what is laid out for it beforehand, and what goes on beside the measurement.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use hookyard::clock::Clock;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Body, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use system_tests::{guests, stranger};
use tokio::{io::AsyncWriteExt as _, net::UdpSocket, task::JoinSet};

use crate::{host::Host, payload::Deliveries};

/// How long whoever was turned away waits before the next try: a flood, but not a loop that takes the core from the host.
const REST: Duration = Duration::from_millis(5);
/// How often whoever reads nothing looks whether its connection is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The other tenant's component is made so large by a custom section, so that it is read, hashed and checked.
const DEPLOYED_BYTES: usize = 4 << 20;
/// A body nobody subscribed to.
const LARGE_BYTES: usize = 18 << 20;
const OTHER_PATH: &str = "/t/other/webhooks/github";
/// The loopback address strangers call from; the bench's own is 127.0.0.1.
const STRANGER: u8 = 9;
/// The one that deliveries come from, the neighbour's as well.
const SENDER: u8 = 1;

/// One resource, and how it is used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pressure {
    /// What is used up, as the report says it.
    pub(super) name: &'static str,
    /// The other tenant's plugin.
    pub(super) guest: &'static str,
    /// How many copies of it there are.
    pub(super) copies: u32,
    /// Its manifest.
    pub(super) manifest: &'static str,
    /// Lines at the end of the other tenant's settings.
    pub(super) tenant: &'static str,
    /// The other tenant's deliveries to it, by connections that send one after the other.
    pub(super) senders: usize,
    /// What else goes on.
    pub(super) act: Act,
}

/// What goes on beside the deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing.
    Nothing,
    /// Documents of one byte less than nothing: `{}`.
    SmallBodies,
    /// Documents of 18 MiB that no plugin wants.
    LargeBodies,
    /// Version after version is dropped into the other tenant's folder.
    Deploys,
    /// Bodies with a wrong signature, each kept open as long as it may be.
    ForgedBodies,
    /// Connections that ask and never read.
    Sockets,
    /// `/metrics`, as fast as it answers.
    Scrapes,
    /// Every look-up of a name goes to a server that never answers.
    SilentNames,
}

const PUSHES: &str = "sources = [\"github\"]\nevents = [\"*\"]\n[retry]\nattempts_max = 1\n";
const NOTHING: &str = "sources = [\"github\"]\nevents = [\"never\"]\n";
const LARGE_RUNS: &str =
    "sources = [\"github\"]\nevents = [\"*\"]\n[retry]\nattempts_max = 1\n[limits]\nmemory_bytes_max = 1073741824\nwall_ms = 5000\n";
const FETCHES: &str = "sources = [\"github\"]\nevents = [\"*\"]\n[retry]\nattempts_max = 1\n[config]\nurl = \"https://silent.example/\"\n\
                       [[grants.http]]\nhost = \"silent.example\"\nmethods = [\"GET\"]\ncredential = \"github\"\n";
const GRANT: &str = "[credentials.github]\nkind = \"github-token\"\ntoken = { file = \"secrets/github\" }\n\
                     [[grants.http]]\nhost = \"silent.example\"\nmethods = [\"GET\"]\ncredential = \"github\"\n";

/// Nothing is used up: what the others are held against.
pub(super) const QUIET: Pressure =
    Pressure { name: "nothing", guest: "ack", copies: 1, manifest: PUSHES, tenant: "", senders: 1, act: Act::Nothing };

/// Every resource of `docs/limits.md` that somebody from outside can press on.
pub(super) const ALL: [Pressure; 13] = [
    Pressure { name: "run memory (1 GiB a run)", guest: "memory-bomb", manifest: LARGE_RUNS, senders: 16, ..QUIET },
    Pressure { name: "slow lane and slots (endless runs)", guest: "loop", senders: 64, ..QUIET },
    Pressure { name: "stored bytes (18 MiB bodies nobody wants)", manifest: NOTHING, senders: 0, act: Act::LargeBodies, ..QUIET },
    Pressure { name: "legs (`{}` for 100 plugins)", copies: 100, senders: 0, act: Act::SmallBodies, ..QUIET },
    Pressure { name: "settled bytes (values, events and lines)", guest: "noisy", senders: 16, ..QUIET },
    Pressure { name: "settled bytes (values of 64 KiB)", guest: "kv-flood", senders: 16, ..QUIET },
    Pressure { name: "settled bytes (64 steps of `once`)", guest: "once-flood", senders: 16, ..QUIET },
    Pressure { name: "settled bytes (log lines)", guest: "log-flood", senders: 16, ..QUIET },
    Pressure { name: "compile slots and time (version after version)", act: Act::Deploys, ..QUIET },
    Pressure { name: "body bytes (forged bodies from one address)", act: Act::ForgedBodies, ..QUIET },
    Pressure { name: "door and admin connections (never read)", act: Act::Sockets, ..QUIET },
    Pressure { name: "admin requests (64 scrapers)", act: Act::Scrapes, ..QUIET },
    Pressure {
        name: "look-ups (a silent name server)",
        guest: "fetch",
        manifest: FETCHES,
        tenant: GRANT,
        senders: 48,
        act: Act::SilentNames,
        ..QUIET
    },
];

/// What lives as long as the pressure: it ends when this is dropped.
pub(super) struct Pressed {
    _tasks: JoinSet<()>,
}

/// Begins to press on a host; `silent` is the name server that never answers.
pub(super) fn begin(pressure: Pressure, host: &Host, home: PathBuf, (series, clock): (u64, &Clock)) -> anyhow::Result<Pressed> {
    let mut tasks = JoinSet::new();
    let (door, admin, clock) = (host.target.address, host.admin.address, clock.clone());
    let pushes = Arc::new(Deliveries::pushes(series)?.to(OTHER_PATH));
    for _ in 0..pressure.senders {
        tasks.spawn(send(door, Arc::clone(&pushes), (clock.clone(), pressure.senders)));
    }
    match pressure.act {
        Act::Nothing | Act::SilentNames => {}
        Act::SmallBodies => {
            let small = Arc::new(Deliveries::other(Bytes::from_static(b"{}"), "push", series + 1)?.to(OTHER_PATH));
            for _ in 0..16 {
                tasks.spawn(send(door, Arc::clone(&small), (clock.clone(), 16)));
            }
        }
        Act::LargeBodies => {
            let large = Arc::new(Deliveries::other(large_document(), "fork", series + 1)?.to(OTHER_PATH));
            for _ in 0..2 {
                tasks.spawn(send(door, Arc::clone(&large), (clock.clone(), 2)));
            }
        }
        Act::Deploys => drop(tasks.spawn(deploy_for_ever(home, clock))),
        Act::ForgedBodies => (0..64).for_each(|_| drop(tasks.spawn(forge(door, clock.clone())))),
        Act::Sockets => {
            for _ in 0..256 {
                tasks.spawn(never_read(door, clock.clone()));
                tasks.spawn(never_read(admin, clock.clone()));
            }
        }
        Act::Scrapes => {
            for _ in 0..64 {
                tasks.spawn(scrape(admin, host.admin.token.clone(), clock.clone()));
            }
        }
    }
    Ok(Pressed { _tasks: tasks })
}

/// A name server that never answers, and the host's settings that name it.
pub(super) async fn silent_name_server() -> anyhow::Result<(UdpSocket, String)> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let settings = format!("[egress]\nname_servers = [\"{}\"]\n", socket.local_addr()?);
    Ok((socket, settings))
}

/// A document that does not get smaller by compression: digits of a simple generator, whose quality is of no matter here.
fn large_document() -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = String::with_capacity(LARGE_BYTES + 16);
    text.push_str("{\"x\":\"");
    while text.len() < LARGE_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Writing to a string cannot fail.
        let _ = write!(text, "{state:016x}");
    }
    text.push_str("\"}");
    Bytes::from(text)
}

/// One delivery after the other on one connection, whatever is answered; all senders together as many a second as the neighbour has. What
/// is used up is what the deliveries make the host do, not its processor by their number.
async fn send(to: SocketAddr, deliveries: Arc<Deliveries>, (clock, senders): (Clock, usize)) {
    let rest = u32::try_from(senders).map_or(REST, |senders| REST * senders);
    loop {
        let _ = exchange((to, SENDER), || deliveries.next(), (&clock, rest)).await;
        clock.sleep(rest).await;
    }
}

async fn scrape(to: SocketAddr, token: String, clock: Clock) {
    let request = || {
        let head = Request::get("/metrics").header("host", to.to_string()).header("authorization", format!("Bearer {token}"));
        Ok(head.body(Empty::<Bytes>::new())?)
    };
    loop {
        let _ = exchange((to, STRANGER), request, (&clock, Duration::ZERO)).await;
        clock.sleep(REST).await;
    }
}

/// Requests on one connection until it breaks.
async fn exchange<B>(
    (to, from): (SocketAddr, u8),
    request: impl Fn() -> anyhow::Result<Request<B>>,
    (clock, rest): (&Clock, Duration),
) -> anyhow::Result<()>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let (mut sender, connection) = handshake(TokioIo::new(stranger::connect(to, from).await.context("no connection")?)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    loop {
        sender.ready().await?;
        let answer = sender.send_request(request()?).await?;
        answer.into_body().collect().await?;
        clock.sleep(rest).await;
    }
}

/// A whole body under a forged signature, the last byte kept back until the host gives up.
async fn forge(to: SocketAddr, clock: Clock) {
    let head = stranger::head("/webhooks/github", "application/json", "content-length: 16777216\r\n");
    let block = vec![b' '; 1 << 16];
    loop {
        if let Some(mut stream) = stranger::connect(to, STRANGER).await
            && stream.write_all(head.as_bytes()).await.is_ok()
        {
            for _ in 0..255 {
                if stream.write_all(&block).await.is_err() {
                    break;
                }
            }
            stranger::answer(&mut stream).await;
        }
        clock.sleep(REST).await;
    }
}

/// Asks a few times on one connection, reads nothing and keeps it for as long as the host does. What is measured is the place it has, not the
/// processor time of a flood of requests.
async fn never_read(to: SocketAddr, clock: Clock) {
    let asked = format!("GET /health HTTP/1.1\r\nhost: {to}\r\n\r\n").repeat(8);
    loop {
        if let Some(mut stream) = stranger::connect(to, STRANGER).await
            && stream.write_all(asked.as_bytes()).await.is_ok()
        {
            // An empty line before a request means nothing; it shows whether the connection is still there.
            while stream.write_all(b"\r\n").await.is_ok() {
                clock.sleep(LOOK_EVERY).await;
            }
        }
        clock.sleep(REST).await;
    }
}

/// Drops version after version into a folder.
async fn deploy_for_ever(home: PathBuf, clock: Clock) {
    let wasm = guests::component("ack");
    let mut number = 0;
    loop {
        number += 1;
        let bytes = padded(&wasm, number);
        // The folder goes with the round; what cannot be written then is nobody's loss.
        let _ = tokio::task::spawn_blocking({
            let place = home.join("plugins/guest.wasm");
            move || replace(&place, &bytes)
        })
        .await;
        clock.sleep(Duration::from_millis(100)).await;
    }
}

fn replace(place: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = place.with_extension("tmp");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, place)
}

/// The component with a custom section of [`DEPLOYED_BYTES`], which makes other bytes of the same code.
fn padded(wasm: &[u8], number: u32) -> Vec<u8> {
    let mut section = vec![5];
    section.extend(b"bench");
    section.extend(number.to_le_bytes());
    section.resize(DEPLOYED_BYTES, 0);
    let mut bytes = wasm.to_vec();
    bytes.push(0);
    let mut rest = section.len();
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap_or(0));
    bytes.extend(section);
    bytes
}
