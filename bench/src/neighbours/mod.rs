//! What a hostile plugin costs its neighbours: another tenant's accepts and runs, beside each guest of `tests/guests` that means harm.
//!
//! Two tenants on one host, as shipped. One sends pushes to a shipped plugin; that is the neighbour. The other sends to a guest, first to one
//! that only acknowledges, then to the hostile one, at the same rate. What is compared is the neighbour's slowest hundredth in both: from the
//! intended time to the answer, and from receipt to settlement as the host itself records it.
//!
//! `shares` holds the same against somebody who uses up one resource as fast as it goes.

mod pressure;
pub(crate) mod shares;

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use hookyard::delivery::Timestamp;
use serde_json::Value;
use system_tests::guests;

use crate::{
    bench::Bench,
    durable::{PUSH_PLUGIN, serving},
    histogram::Histogram,
    host::{Folder, Host, private_file},
    lengths::median,
    load::{Measured, Pace, drive},
    payload::{Deliveries, SECRET},
    report::{Figure, Floor},
};

/// The neighbour's deliveries a second.
const PER_S: u32 = 200;
/// The other tenant's.
const OTHER_PER_S: u32 = 50;
/// How long the neighbour's runs may take to come to their end.
const WORK_MAX: Duration = Duration::from_mins(1);
/// How often the list is read; reading it costs the host something too.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const OTHER_PATH: &str = "/t/other/webhooks/github";
/// The guest nobody notices.
const QUIET: &str = "ack";
const HOSTILE: [&str; 18] = [
    "bad-text",
    "bulk-fill",
    "burn-then-trap",
    "call-flood",
    "exit",
    "fat-string",
    "huge-string",
    "invalid-discriminant",
    "log-flood",
    "loop",
    "memory-bomb",
    "memory-bombs",
    "noisy",
    "stack-overflow",
    "start-grow",
    "start-loop",
    "table-bomb",
    "trap",
];
const TENANT: &str = "[sources.github]\nscheme = \"github\"\nsecrets = [{ file = \"secrets/github\" }]\nrate_per_s_max = 1000000\n";
/// As much as a manifest gets by default, and every failure is the last one: what is measured is the guest, not the back-off.
const MANIFEST: &str = "sources = [\"github\"]\nevents = [\"*\"]\n[retry]\nattempts_max = 1\n";

/// The neighbour's slowest hundredth, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Slowest {
    accept_ms: f64,
    queue_ms: f64,
}

/// Measures the neighbour beside each guest, round after round, so that a slow minute of the machine falls on all of them.
pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let names: Vec<_> = std::iter::once(QUIET).chain(HOSTILE).collect();
    let mut all = vec![Vec::new(); names.len()];
    for number in 1..=bench.lengths.rounds {
        for (name, rounds) in names.iter().zip(&mut all) {
            let slowest = round(bench, name).await?;
            bench.say(&format!("round {number}: {name:<22} accept p99 {:.1} ms, queue p99 {:.0} ms", slowest.accept_ms, slowest.queue_ms));
            rounds.push(slowest);
        }
    }
    let medians: Vec<_> = all.iter().map(|rounds| Slowest::median(rounds)).collect();
    report(bench, &names, &medians);
    shares::measure(bench).await
}

/// `names[0]` is the quiet one.
fn report(bench: &mut Bench, names: &[&str], medians: &[Slowest]) {
    let (quiet, hostile) = (medians[0], &medians[1..]);
    let ratios = |value: fn(&Slowest) -> f64| hostile.iter().map(value).map(move |ms| ms / value(&quiet)).collect::<Vec<_>>();
    let (accepts, queues) = (ratios(|slowest| slowest.accept_ms), ratios(|slowest| slowest.queue_ms));
    let worst = |ratios: &[f64]| ratios.iter().copied().fold(0.0, f64::max);
    let figure = |name: &str, value, floor| Figure { name: name.to_owned(), value, unit: "×", floor };
    bench.report.figures.extend([
        figure("a neighbour's accept p99 beside the worst hostile guest, against a quiet one", worst(&accepts), Floor::AtMost(2.0)),
        figure("a neighbour's queue p99 beside the worst hostile guest, against a quiet one", worst(&queues), Floor::AtMost(2.0)),
        figure("the same, median of the guests: accept", median(accepts), Floor::None),
        figure("the same, median of the guests: queue", median(queues), Floor::None),
    ]);
    let mut page = PAGE.to_owned();
    for (name, slowest) in names.iter().zip(medians) {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| {name} | {:.1} | {:.0} |", slowest.accept_ms, slowest.queue_ms);
    }
    bench.report.pages.push(page);
}

const PAGE: &str = "## Beside a hostile neighbour\n\nMedians of the rounds; `ack` is the quiet one the others are held against.\n\n\
                    | guest of the other tenant | accept p99 ms | queue p99 ms |\n|---|---:|---:|\n";

impl Slowest {
    fn median(all: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| median(all.iter().map(value));
        Self { accept_ms: of(|slowest| slowest.accept_ms), queue_ms: of(|slowest| slowest.queue_ms) }
    }
}

async fn round(bench: &Bench, guest: &str) -> anyhow::Result<Slowest> {
    let folder = Folder::lay(&bench.folders, &[PUSH_PLUGIN])?;
    lay_other(&folder.tenant("other"), guest, MANIFEST)?;
    let mut host = serving(&folder, &[PUSH_PLUGIN], bench).await?;
    host.serves("other", "guest", &bench.clock).await?;
    load(&host, bench.lengths.warm_up, bench).await?;
    let since = bench.clock.now();
    let measured = load(&host, bench.lengths.span, bench).await?;
    let queue = queue(&mut host, since, bench).await?;
    ensure!(
        queue.len() >= measured.latency.len(),
        "{} deliveries were answered and {} are in the list",
        measured.latency.len(),
        queue.len()
    );
    // What the hostile tenant left behind is not waited for: the host goes with it.
    drop(host);
    let ms = |histogram: &Histogram| histogram.quantile(0.99).as_secs_f64() * 1e3;
    Ok(Slowest { accept_ms: ms(&measured.latency), queue_ms: ms(&queue) })
}

fn lay_other(home: &Path, guest: &str, manifest: &str) -> anyhow::Result<()> {
    for folder in ["secrets", "plugins"] {
        fs::create_dir_all(home.join(folder))?;
    }
    private_file(&home.join("secrets/github"), SECRET)?;
    fs::write(home.join("tenant.toml"), TENANT)?;
    fs::write(home.join("plugins/guest.toml"), manifest)?;
    Ok(fs::write(home.join("plugins/guest.wasm"), guests::component(guest))?)
}

/// Both tenants' deliveries at once; what is measured is the neighbour's.
async fn load(host: &Host, span: Duration, bench: &Bench) -> anyhow::Result<Measured> {
    let (ours, others) = (Arc::new(Deliveries::pushes(bench.series())?), Arc::new(Deliveries::pushes(bench.series())?.to(OTHER_PATH)));
    let (measured, other) = tokio::join!(
        drive(host.target, &ours, Pace::Open { per_s: PER_S, span }, &bench.clock),
        drive(host.target, &others, Pace::Open { per_s: OTHER_PER_S, span }, &bench.clock),
    );
    other.context("the hostile tenant's deliveries")?;
    measured
}

/// From receipt to settlement of everything the neighbour sent since, once all of it is settled.
async fn queue(host: &mut Host, since: Timestamp, bench: &Bench) -> anyhow::Result<Histogram> {
    let deadline = bench.clock.instant() + WORK_MAX;
    loop {
        host.server.must_run()?;
        if let Some(ages) = ages(host, since, deadline, bench).await? {
            return Ok(ages);
        }
        bench.clock.sleep(LOOK_EVERY).await;
    }
}

/// None while something is not settled.
async fn ages(host: &Host, since: Timestamp, deadline: Instant, bench: &Bench) -> anyhow::Result<Option<Histogram>> {
    let (mut ages, mut cursor) = (Histogram::default(), String::new());
    loop {
        let page = host.admin.get(&format!("/api/v1/deliveries?tenant=default&since={since}&limit=500{cursor}")).await?;
        for delivery in page["items"].as_array().context("a page has items")? {
            let Some(settled) = delivery["legs"][0]["settled_at"].as_str() else {
                ensure!(bench.clock.instant() < deadline, "a neighbour's run is not settled after {WORK_MAX:?}: {delivery}");
                return Ok(None);
            };
            ages.record(settled.parse::<Timestamp>()?.since(time(&delivery["received_at"])?));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(Some(ages)),
        }
    }
}

fn time(value: &Value) -> anyhow::Result<Timestamp> {
    Ok(value.as_str().context("a delivery has a time")?.parse()?)
}
