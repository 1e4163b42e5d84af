//! Files that changed while nobody looked: flipped bits, lost ends, yesterday's copy. What is damaged is told or does no harm.
//!
//! `HOOKYARD_FLIPS` sets the number of damages (400 by default), `HOOKYARD_SEED` draws others.

use std::{collections::BTreeMap, fs, path::Path};

use hookyard::{
    clock::Clock,
    delivery::{DeliveryId, view::DeliveryView},
    ledger::{DeliveryFilter, Ledger, Settings},
};
use system_tests::{
    folder::{Folder, Layout},
    guests,
    host::TestHost,
    load,
};

const SUBSCRIBED: &str = "sources = [\"github\"]\nevents = [\"*\"]\n";

/// What a damaged folder turned out to be.
#[derive(Debug)]
enum Found {
    /// The host would not start, or counted a gap, or could not read a delivery: the operator knows.
    Told,
    /// All is as it was.
    Harmless,
    /// A delivery is as it was accepted, but a leg's state or record, or a flag, is another: these rows carry no checksum of their own.
    Unsealed(String),
    /// A delivery is another than it was, or gone, and nobody says so.
    Silent(String),
}

/// What is told of a delivery but was not accepted with it.
const UNSEALED: [&str; 5] = ["id_reused", "body_seen_before", "status", "legs", "sequence"];

type Files = BTreeMap<String, Vec<u8>>;
type Views = BTreeMap<DeliveryId, DeliveryView>;

fn files(data_dir: &Path) -> Files {
    let read = |name: &str| (name.to_owned(), fs::read(data_dir.join(name)).expect("a file"));
    ["ledger.db", "ledger.db-wal", "watermark"].map(read).into()
}

/// A folder as a kill of an idle host leaves it, most in the database and the newest in the log, and as a clean stop leaves it.
async fn killed_and_stopped() -> [Files; 2] {
    let plugin = |name: &str, guest| (("default".to_owned(), name.to_owned()), (guests::component(guest), SUBSCRIBED.to_owned()));
    let mut folder = Folder::lay(&Layout { plugins: BTreeMap::from([plugin("ack", "ack"), plugin("no", "reject")]), ..Layout::default() });
    let mut killed = Files::new();
    for deliveries in [40, 20] {
        let host = TestHost::start_on(folder, Clock::system()).await;
        for _ in 0..deliveries {
            host.sender().post("push", load::random_document(3000)).await.accepted();
        }
        host.drained().await;
        killed = files(&host.folder().path().join("data"));
        folder = host.stop().await;
    }
    [killed, files(&folder.path().join("data"))]
}

/// Everything a sound ledger says of its deliveries; an error is what it complains of.
async fn look(files: &Files) -> Result<Views, String> {
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

async fn read(ledger: &Ledger) -> Result<Views, String> {
    let books = ledger.books().await.map_err(|error| error.to_string())?;
    if books.gap != 0 {
        return Err(format!("a gap in the books: {books:?}"));
    }
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

/// What the damaged one turned out to be, held against the sound one.
fn compare(sound: &Views, damaged: &Views) -> Found {
    let text = |view: &DeliveryView| serde_json::to_value(view).expect("a view");
    let mut found = Found::Harmless;
    for (id, view) in sound {
        let Some(other) = damaged.get(id) else { return Found::Silent(format!("{id} is gone")) };
        let (is, was) = (text(other), text(view));
        for key in was.as_object().expect("an object").keys().filter(|key| is.get(key) != was.get(key)) {
            let what = format!("{key}: {} was {}", is[key], was[key]);
            if !UNSEALED.contains(&key.as_str()) {
                return Found::Silent(what);
            }
            found = Found::Unsealed(what);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn each_flipped_bit_and_each_lost_end_is_told_or_harmless() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, seed) = (number("HOOKYARD_FLIPS", 400), number("HOOKYARD_SEED", 17));
    let mut random = fastrand::Rng::with_seed(seed);
    let folders = killed_and_stopped().await;
    let sound = [look(&folders[0]).await.expect("an undamaged folder"), look(&folders[1]).await.expect("an undamaged folder")];
    assert_eq!(sound.each_ref().map(BTreeMap::len), [60, 60]);
    let [mut told, mut harmless, mut unsealed] = [0; 3];
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
        match look(&damaged).await.map_or(Found::Told, |views| compare(&sound[which], &views)) {
            Found::Told => told += 1,
            Found::Harmless => harmless += 1,
            Found::Unsealed(what) => {
                println!("{name} at {at}: {what:.200}");
                unsealed += 1;
            }
            Found::Silent(what) => panic!("{name} at {at} of {}: {what}", if which == 0 { "a killed host" } else { "a stopped host" }),
        }
    }
    println!("{rounds} damages: {told} told, {harmless} harmless, {unsealed} in a leg's state or record");
}

#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_copy_of_the_database_is_refused_in_words() {
    let [mut older, _] = killed_and_stopped().await;
    older.insert("ledger.db-wal".to_owned(), Vec::new());
    let refused = look(&older).await.expect_err("the newest commits are missing");
    assert!(refused.contains("the newest commits are missing") && refused.contains("--accept-loss"), "{refused}");
}
