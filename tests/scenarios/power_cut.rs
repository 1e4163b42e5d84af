//! The power goes. What was written and not synced is gone, in part or as a whole; what was answered must not be.
//!
//! A real host takes deliveries while its system calls are recorded; it is killed in the middle of its work, started again, and stopped. From
//! the record the disk is rebuilt as it would stand after a cut at any point ([`system_tests::disk`]), and opened. `HOOKYARD_CUTS` sets the
//! number of random cuts (1,000 by default), `HOOKYARD_SEED` draws others.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    net::SocketAddr,
    sync::LazyLock,
};

use hookyard::{
    clock::Clock,
    delivery::DeliveryId,
    ledger::{Ledger, Settings},
};
use rusqlite::{Connection, OpenFlags};
use system_tests::{
    disk::{Disk, Loss},
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    process::{ProcessHost, Signal},
    redis::RedisServer,
    sender::{Post, Sender},
    trace::{self, Event, Tracer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Deliveries sent in each life of the host.
const DELIVERIES: usize = 240;
/// Small, so that the log is moved into the database and begun anew again and again.
const LEDGER: &str = "[ledger]\nwal_bytes_max = 1048576\n";

/// What two lives of a host told the kernel; none where nothing can be traced.
static RECORD: LazyLock<Option<Vec<Event>>> = LazyLock::new(|| {
    // On a thread without a runtime, since the record has one of its own.
    trace::is_possible().then(|| std::thread::spawn(record).join().expect("a record"))
});

fn record() -> Vec<Event> {
    let subscribed = "sources = [\"github\"]\nevents = [\"*\"]\n".to_owned();
    let plugin = |name: &str, guest| (("default".to_owned(), name.to_owned()), (guests::component(guest), subscribed.clone()));
    let folder = Folder::lay(&Layout {
        hookyard_toml: LEDGER.to_owned(),
        plugins: BTreeMap::from([plugin("ack", "ack"), plugin("echo", "publish-document")]),
        ..Layout::default()
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let tracer = Tracer::default();
    let mut events = runtime.block_on(life(&folder, &tracer, &tracer.wrapper(), &[], ProcessHost::kill));
    let (before, tracer) = (events.len(), Tracer::default());
    events.extend(runtime.block_on(life(&folder, &tracer, &tracer.wrapper(), &events, |host| {
        host.signal(Signal::TERM);
        let (status, log) = host.ended();
        assert!(status.success(), "{status}: {log}");
    })));
    assert!(before > 1000 && events.len() > before + 1000, "{before} and {} events are too few to cut between", events.len());
    events
}

/// One life of a host on the folder; what was told before decides what is on its disk.
async fn life(folder: &Folder, tracer: &Tracer, wrapper: &[OsString], before: &[Event], end: impl FnOnce(ProcessHost)) -> Vec<Event> {
    let host = ProcessHost::start_under(folder, wrapper);
    let sender = Sender::new(host.ingest, "default", "github", SECRET);
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let sender = sender.clone();
        lanes.spawn(async move {
            for n in 0..DELIVERIES / 8 {
                let post = Post::json("push", format!("{{\"n\":\"{:0600x}\"}}", fastrand::u128(..)));
                // A host whose disk fails answers no more.
                let Some(first) = sender.try_send(post.clone()).await.ok().filter(|answer| answer.status == 202) else { return };
                first.accepted();
                if n % 10 == 0 {
                    let _ = sender.try_send(post).await;
                }
            }
        });
    }
    lanes.join_all().await;
    end(host);

    let data_dir = folder.path().join("data");
    let mut life = tracer.read(&data_dir, before.len());
    life.events.extend(life.unfinished.into_iter().filter(|event| Disk::is_in(event, &data_dir)));
    let mut disk = Disk::default();
    for event in before.iter().chain(&life.events) {
        disk.apply(event);
    }
    for (name, bytes) in disk.after_cut(Loss::None) {
        assert!(fs::read(data_dir.join(&name)).expect("a file") == bytes, "{name} is not what the record says it is");
    }
    life.events
}

/// What a cut left.
#[derive(Default)]
struct Left {
    deliveries: BTreeSet<DeliveryId>,
    /// Those of which something emitted is left.
    emits: BTreeSet<DeliveryId>,
}

/// Opens what the cut left; an error says why it did not open or balance.
async fn open(files: &BTreeMap<String, Vec<u8>>) -> Result<Left, String> {
    let dir = tempfile::tempdir_in(if fs::exists("/dev/shm").is_ok_and(|is| is) { "/dev/shm" } else { "." }).expect("a folder");
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).expect("a file");
    }
    let mut settings = Settings::new(dir.path());
    settings.free_bytes_min = 0;
    let ledger = Ledger::open(settings, Clock::system()).map_err(|error| error.to_string())?;
    let books = ledger.books().await.map_err(|error| error.to_string())?;
    ledger.close().await;
    let is_balanced = books.gap == 0 && books.accepted == books.routed + books.unrouted && books.legs == books.by_state.iter().sum::<u64>();
    if !is_balanced {
        return Err(format!("the books do not balance: {books:?}"));
    }
    let database = Connection::open_with_flags(dir.path().join("ledger.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
    let ids = |sql| {
        let mut ids = database.prepare(sql).expect("a table");
        let ids = ids.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        ids.map(|id| id.expect("a row").parse().expect("an id")).collect()
    };
    Ok(Left {
        deliveries: ids("SELECT lower(hex(id)) FROM deliveries"),
        emits: ids("SELECT lower(hex(d.id)) FROM emits e JOIN deliveries d ON d.seq = e.seq"),
    })
}

/// The first answer that came before its delivery was certain, or the first emit that was seen before it was.
async fn first_broken_promise(events: &[Event]) -> Option<String> {
    let mut disk = Disk::default();
    let (mut certain, mut as_of) = (Left::default(), None);
    for event in events {
        disk.apply(event);
        if !matches!(event, Event::Answered(_) | Event::Shown(_)) {
            continue;
        }
        if as_of != Some(disk.syncs) {
            as_of = Some(disk.syncs);
            match open(&disk.after_cut(Loss::All)).await {
                Ok(left) => certain = left,
                Err(error) => return Some(error),
            }
        }
        match event {
            Event::Answered(id) if !certain.deliveries.contains(id) => return Some(format!("{id} was answered before a sync covered it")),
            Event::Shown(id) if !certain.emits.contains(id) => return Some(format!("an emit of {id} was seen before a sync covered it")),
            _ => {}
        }
    }
    None
}

fn is_sync_of(event: &Event, wanted: &str) -> bool {
    matches!(event, Event::Synced { name, .. } if name == wanted)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn every_answer_follows_a_sync_that_covers_it_and_a_forgotten_one_is_noticed() {
    let Some(events) = &*RECORD else { return println!("skipped: strace is not here, or may not trace") };
    let answers = events.iter().filter(|event| matches!(event, Event::Answered(_))).count();
    assert_eq!(answers, 2 * (DELIVERIES + DELIVERIES / 10));
    let broken = first_broken_promise(events).await;
    assert_eq!(broken, None);

    // As under `synchronous = NORMAL`: the log is synced only before it is moved into the database.
    let mut is_before_move = false;
    let mut normal: Vec<_> = events
        .iter()
        .rev()
        .map(|event| match event {
            Event::Wrote { name, .. } => {
                is_before_move = name == "ledger.db";
                event.clone()
            }
            event if is_sync_of(event, "ledger.db-wal") && !is_before_move => Event::FolderMade,
            event => event.clone(),
        })
        .collect();
    normal.reverse();
    assert!(first_broken_promise(&normal).await.is_some(), "syncing as under NORMAL was not noticed");

    // One sync forgotten, each time another one. The answer behind a sync may be one that an earlier sync covered, so not each is noticed.
    let candidates = (0..events.len()).filter(|at| is_sync_of(&events[*at], "ledger.db-wal") && is_answered_next(&events[*at..]));
    let (mut forgot, mut noticed) = (0, 0);
    for at in candidates.step_by(7).take(8) {
        let mut forgotten = events[..(at + 60).min(events.len())].to_vec();
        forgotten[at] = Event::FolderMade;
        forgot += 1;
        noticed += usize::from(first_broken_promise(&forgotten).await.is_some());
    }
    assert!(noticed > 0, "of {forgot} forgotten syncs none was noticed");
    println!(
        "{answers} answers, each after the sync that covers it; noticed: syncing as under NORMAL, {noticed} of {forgot} forgotten syncs"
    );
}

/// Whether an answer comes before the next sync of the log.
fn is_answered_next(events: &[Event]) -> bool {
    let next = events[1..].iter().find(|event| matches!(event, Event::Answered(_)) || is_sync_of(event, "ledger.db-wal"));
    matches!(next, Some(Event::Answered(_)))
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn whenever_the_power_goes_the_folder_opens_by_itself_with_every_answered_delivery() {
    let Some(events) = &*RECORD else { return println!("skipped: strace is not here, or may not trace") };
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (cuts, seed) = (number("HOOKYARD_CUTS", 1000), number("HOOKYARD_SEED", 17));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut places: Vec<_> = (0..cuts).map(|_| random.usize(..=events.len())).collect();
    places.sort_unstable();
    let (mut disk, mut at, mut by_loss) = (Disk::default(), 0, [0_usize; 3]);
    for place in places {
        for event in &events[at..place] {
            disk.apply(event);
        }
        at = place;
        let (loss, count) = match random.u8(0..10) {
            0..3 => (Loss::All, 0),
            3 => (Loss::None, 1),
            _ => (Loss::Some(random.u64(..)), 2),
        };
        by_loss[count] += 1;
        let left = open(&disk.after_cut(loss))
            .await
            .unwrap_or_else(|error| panic!("cut before event {place} with {loss:?}, seed {seed}: {error}"));
        let missing: Vec<_> = disk.promised.difference(&left.deliveries).collect();
        assert!(missing.is_empty(), "cut before event {place} with {loss:?}, seed {seed}: {missing:?} were answered and are gone");
    }
    let [all, none, some] = by_loss;
    println!(
        "{cuts} cuts among {} events ({all} lost all that was not synced, {none} nothing, {some} any sectors): nothing answered was lost",
        events.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cut_in_the_middle_of_its_work_the_host_starts_and_every_leg_is_settled() {
    let Some(events) = &*RECORD else { return };
    let mut disk = Disk::default();
    for event in &events[..events.len() / 3] {
        disk.apply(event);
    }
    let folder = Folder::lay(&Layout::default());
    fs::create_dir_all(folder.path().join("data")).expect("a folder");
    for (name, bytes) in disk.after_cut(Loss::All) {
        fs::write(folder.path().join("data").join(name), bytes).expect("a file");
    }
    let subscribed = "sources = [\"github\"]\nevents = [\"*\"]\n";
    folder.deploy("default", "ack", &guests::component("ack"), subscribed);
    folder.deploy("default", "echo", &guests::component("publish-document"), subscribed);
    let host = TestHost::start_on(folder, Clock::system()).await;
    host.drained().await;
    assert!(!disk.promised.is_empty());
    for id in disk.promised {
        assert_eq!(host.settled(id).await.legs.len(), 2);
    }
}

/// After a failed sync the kernel may call the pages clean that it could not write. A restart that took them from its cache and went on behind
/// them would lose everything since at the next cut.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_and_a_restart_every_answer_follows_a_sync_again() {
    if !trace::is_possible() {
        return;
    }
    let folder = Folder::lay(&Layout::default());
    let tracer = Tracer::default();
    let mut events = life(&folder, &tracer, &tracer.wrapper_injecting("fdatasync:error=EIO:when=30+"), &[], |host| {
        let (_, log) = host.ended();
        assert!(log.contains("ledger_poisoned"), "{log}");
    })
    .await;
    let (before, tracer) = (events.len(), Tracer::default());
    events.extend(life(&folder, &tracer, &tracer.wrapper(), &events, ProcessHost::kill).await);
    let answers = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Answered(_))).count();
    assert!(answers(&events[..before]) > 0);
    assert_eq!(answers(&events[before..]), DELIVERIES + DELIVERIES / 10);
    assert_eq!(first_broken_promise(&events).await, None);
}

/// What a plugin emits leaves the house on two ways: somebody asks the admin listener, or a stream carries it. Seen before its sync, it might
/// be taken back by a power cut and emitted again, as something else. Each sync takes 20 ms longer here, so that there is time to look too early.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn nothing_that_was_emitted_is_seen_before_a_sync_covers_it() {
    let Some(redis) = RedisServer::start().filter(|_| trace::is_possible()) else {
        return println!("skipped: it takes a redis-server, and a strace that may trace");
    };
    let stream =
        "[streams.emits]\nkind = \"redis\"\nfollows = \"emits\"\nenvelope = \"cloudevents\"\ntenants = [\"*\"]\nstart = \"oldest\"\n";
    let plugin = (guests::component("publish-document"), "sources = [\"github\"]\nevents = [\"*\"]\n".to_owned());
    let folder = Folder::lay(&Layout {
        hookyard_toml: format!("{stream}url = {{ file = \"{}\" }}\n", redis.url_file().display()),
        plugins: BTreeMap::from([(("default".to_owned(), "echo".to_owned()), plugin)]),
        ..Layout::default()
    });
    let tracer = Tracer::default();
    let host = ProcessHost::start_under(&folder, &tracer.wrapper_injecting("fdatasync:delay_enter=20000"));
    let sender = Sender::new(host.ingest, "default", "github", SECRET);
    let token = fs::read_to_string(folder.path().join("data/admin.token")).expect("a token");
    let mut looking = tokio::task::JoinSet::new();
    looking.spawn(keep_looking(host.admin, token));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let sender = sender.clone();
        lanes.spawn(async move {
            for n in 0..15 {
                sender.send(Post::json("push", format!("{{\"n\":{n}}}"))).await.accepted();
            }
        });
    }
    lanes.join_all().await;
    while redis.entries("hookyard:emits:default:echo").await.len() < 60 {
        assert!(looking.try_join_next().is_none(), "the admin listener gave up");
    }
    drop(looking);
    host.kill();

    let events = tracer.read(&folder.path().join("data"), 0).events;
    let shown = events.iter().filter(|event| matches!(event, Event::Shown(_))).count();
    assert!(shown > 120, "each of 60 emits is sent to Redis and seen in the list: {shown}");
    assert_eq!(first_broken_promise(&events).await, None);
    // What is shown as early as the answer to its sender cannot be synced yet.
    let early = |event: &Event| if let Event::Answered(id) = event { Event::Shown(*id) } else { event.clone() };
    let forged: Vec<_> = events.iter().map(early).collect();
    assert!(first_broken_promise(&forged).await.is_some_and(|broken| broken.contains("emit")), "an early look was not noticed");
    println!("{shown} times an emit was seen, each time after the sync that covers it");
}

/// Reads the newest emits again and again.
async fn keep_looking(admin: SocketAddr, token: String) {
    let request = format!(
        "GET /api/v1/emits?limit=20 HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.trim()
    );
    loop {
        let mut stream = TcpStream::connect(admin).await.expect("an open port");
        stream.write_all(request.as_bytes()).await.expect("a listener");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}
