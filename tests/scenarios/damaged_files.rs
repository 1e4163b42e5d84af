//! Files that changed while nobody looked: flipped bits, lost ends, yesterday's copy. What is damaged is told or does no harm.
//!
//! `HOOKYARD_FLIPS` sets the number of damages (400 by default), `HOOKYARD_SEED` draws others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use hookyard::{
    clock::Clock,
    delivery::{DeliveryId, TenantId, view::DeliveryView},
    ledger::{Damage, DeliveryFilter, Ledger, Queue, QueueSet, RunMemory, Settings},
};
use serde_json::Value;
use system_tests::{
    folder::{Folder, Layout},
    guests,
    host::TestHost,
    load,
};

const SUBSCRIBED: &str = "sources = [\"github\"]\nevents = [\"*\"]\n";
/// Plugins and their guests: one handles, one dies of it, one emits, one counts in a value it keeps, one is paused.
const PLUGINS: [(&str, &str); 5] = [("ack", "ack"), ("no", "reject"), ("emit", "emit-then-ack"), ("count", "count"), (PAUSED, "ack")];
const PAUSED: &str = "later";
/// How long a leg that can run may take to be lent.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a damaged folder turned out to be.
#[derive(Debug)]
enum Found {
    /// The host would not start, or counted a gap, or says of what is damaged that it is: the operator knows.
    Told,
    /// All is as it was.
    Harmless,
    /// Something is another than it was, or gone, and nobody says so.
    Silent(String),
}

type Files = BTreeMap<String, Vec<u8>>;

/// Everything a ledger shows and hands out.
#[derive(Debug)]
struct Contents {
    deliveries: BTreeMap<DeliveryId, DeliveryView>,
    emits: Vec<Value>,
    count: Option<Vec<u8>>,
    /// The legs that were waiting, as they are lent.
    lent: BTreeSet<String>,
    /// What a host finds and says when it has started.
    damage: Damage,
}

fn files(data_dir: &Path) -> Files {
    let read = |name: &str| (name.to_owned(), fs::read(data_dir.join(name)).expect("a file"));
    ["ledger.db", "ledger.db-wal", "watermark"].map(read).into()
}

/// A folder as a kill of an idle host leaves it, most in the database and the newest in the log, and as a clean stop leaves it.
async fn killed_and_stopped() -> [Files; 2] {
    let plugin = |(name, guest): (&str, &str)| (("default".to_owned(), name.to_owned()), (guests::component(guest), SUBSCRIBED.to_owned()));
    let mut folder = Folder::lay(&Layout { plugins: PLUGINS.map(plugin).into(), ..Layout::default() });
    let mut killed = Files::new();
    for deliveries in [40, 20] {
        let host = TestHost::start_on(folder, Clock::system()).await;
        let paused = host.inner().catalog().pause(&TenantId::default_tenant(), &PAUSED.parse().expect("a name"), true).await;
        paused.expect("a ledger");
        for _ in 0..deliveries {
            host.sender().post("push", load::random_document(3000)).await.accepted();
        }
        host.until("the end of all work but the paused", || async {
            let queues = host.inner().ledger().queues().await.expect("a readable ledger");
            queues.iter().all(|queue| queue.waiting + queue.leased + queue.retry + queue.relayed == 0).then_some(())
        })
        .await;
        killed = files(&host.folder().path().join("data"));
        folder = host.stop().await;
    }
    [killed, files(&folder.path().join("data"))]
}

/// Everything a sound ledger says; an error is what it complains of.
async fn look(files: &Files) -> Result<Contents, String> {
    let dir = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).expect("a folder");
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).expect("a file");
    }
    let mut settings = Settings::new(dir.path());
    settings.free_bytes_min = 0;
    let ledger = Ledger::open(settings, Clock::system()).map_err(|error| error.to_string())?;
    let looked = read(&ledger).await;
    ledger.close().await;
    looked
}

async fn read(ledger: &Ledger) -> Result<Contents, String> {
    let books = ledger.books().await.map_err(|error| error.to_string())?;
    if books.gap != 0 {
        return Err(format!("a gap in the books: {books:?}"));
    }
    let deliveries = deliveries(ledger).await?;
    let emits = ledger.emits(None, None, None, 500).await.map_err(|error| error.to_string())?;
    let emits: Vec<_> = emits.items.iter().map(|emit| serde_json::to_value(emit).expect("a view")).collect();
    let count = ledger.kv_get(&TenantId::default_tenant(), &"count".parse().expect("a name"), "n").map_err(|error| error.to_string())?;
    let shown = [serde_json::to_string(&deliveries).expect("views"), serde_json::to_string(&emits).expect("views")].concat();
    if shown.contains("damaged on the disk") {
        return Err("a row is shown as damaged".to_owned());
    }
    let damage = ledger.damaged_rows().await.map_err(|error| error.to_string())?;
    Ok(Contents { deliveries, emits, count: count.map(|count| count.value), lent: lent(ledger).await?, damage })
}

async fn deliveries(ledger: &Ledger) -> Result<BTreeMap<DeliveryId, DeliveryView>, String> {
    let mut views = BTreeMap::new();
    let mut cursor = None;
    loop {
        let page = ledger.deliveries(DeliveryFilter::default(), cursor, 500).await.map_err(|error| error.to_string())?;
        for item in page.items {
            let view = ledger.delivery(item.delivery_id).await.map_err(|error| error.to_string())?;
            let view = view.ok_or_else(|| format!("{} is listed and not there", item.delivery_id))?;
            if view.document.is_none() {
                return Err(format!("the body of {} is damaged", item.delivery_id));
            }
            views.insert(item.delivery_id, view);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(views);
        }
    }
}

/// Lends every leg that was paused. One that does not come is told, because memory and rows do not agree.
async fn lent(ledger: &Ledger) -> Result<BTreeSet<String>, String> {
    let parked: u64 = ledger.queues().await.map_err(|error| error.to_string())?.iter().map(|queue| queue.parked).sum();
    let queue = Queue {
        tenant: TenantId::default_tenant(),
        plugin: PAUSED.parse().expect("a name"),
        concurrency_max: 1000,
        run_memory: RunMemory::default(),
    };
    ledger.serve(QueueSet { queues: vec![queue], tenant_concurrency_max: 1000 });
    let mut lent = BTreeSet::new();
    for _ in 0..parked {
        let lease = tokio::time::timeout(PATIENCE, ledger.lease()).await.map_err(|_| "a leg is not lent")?.ok_or("the ledger ended")?;
        if lease.body_corrupt {
            return Err(format!("{} is lent as damaged", lease.leg));
        }
        lent.insert(format!("{} {} {}", lease.leg, lease.attempt, lease.generation));
    }
    Ok(lent)
}

/// What the damaged one turned out to be, held against the sound one.
fn compare(sound: &Contents, damaged: &Contents) -> Found {
    if !damaged.damage.is_empty() {
        return Found::Told;
    }
    let text = |view: &DeliveryView| serde_json::to_value(view).expect("a view");
    for (id, view) in &sound.deliveries {
        let Some(other) = damaged.deliveries.get(id) else { return Found::Silent(format!("{id} is gone")) };
        let (is, was) = (text(other), text(view));
        if let Some(key) = was.as_object().expect("an object").keys().find(|key| is.get(key) != was.get(key)) {
            return Found::Silent(format!("{key}: {} was {}", is[key], was[key]));
        }
    }
    let another = |emit: &&Value| !sound.emits.contains(emit);
    match () {
        () if damaged.emits != sound.emits => Found::Silent(format!("of the emits: {:?}", damaged.emits.iter().find(another))),
        () if damaged.count != sound.count => Found::Silent(format!("{:?} was {:?}", damaged.count, sound.count)),
        () if damaged.lent != sound.lent => Found::Silent(format!("{:?} was {:?}", damaged.lent, sound.lent)),
        () => Found::Harmless,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn each_flipped_bit_and_each_lost_end_is_told_or_harmless() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, seed) = (number("HOOKYARD_FLIPS", 400), number("HOOKYARD_SEED", 17));
    let mut random = fastrand::Rng::with_seed(seed);
    let folders = killed_and_stopped().await;
    let sound = [look(&folders[0]).await.expect("an undamaged folder"), look(&folders[1]).await.expect("an undamaged folder")];
    for contents in &sound {
        assert_eq!((contents.deliveries.len(), contents.emits.len(), contents.lent.len()), (60, 60, 60));
        assert_eq!(contents.count.as_deref(), Some(&60_u64.to_le_bytes()[..]));
    }
    let [mut told, mut harmless] = [0; 2];
    for _ in 0..rounds {
        let which = random.usize(..2);
        let mut damaged = folders[which].clone();
        let names: Vec<_> = damaged.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(name, _)| name.clone()).collect();
        let name = random.choice(names).expect("a name");
        let bytes = damaged.get_mut(&name).expect("a file");
        let at = random.usize(..bytes.len());
        if random.u8(..8) == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << random.u8(..8);
        }
        match look(&damaged).await.map_or(Found::Told, |contents| compare(&sound[which], &contents)) {
            Found::Told => told += 1,
            Found::Harmless => harmless += 1,
            Found::Silent(what) => panic!("{name} at {at} of {}: {what}", if which == 0 { "a killed host" } else { "a stopped host" }),
        }
    }
    println!("{rounds} damages: {told} told, {harmless} harmless");
}

#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_copy_of_the_database_is_refused_in_words() {
    let [mut older, _] = killed_and_stopped().await;
    older.insert("ledger.db-wal".to_owned(), Vec::new());
    let refused = look(&older).await.expect_err("the newest commits are missing");
    assert!(refused.contains("the newest commits are missing") && refused.contains("--accept-loss"), "{refused}");
}
