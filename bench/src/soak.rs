//! An hour at half load with a deploy every minute: what grows slowly shows here and nowhere else.
//!
//! Half load is half of the thousand deliveries a second that are promised. Settled deliveries are kept for [`RETENTION_MS`], so that the
//! ledger comes to a size at which as much is deleted as is written, and stays there. Each minute is read by itself; the last quarter of the
//! minutes is held against the second, because in the first the ledger still fills.

use std::{fmt::Write as _, fs, path::Path, sync::Arc, time::Duration};

use anyhow::ensure;

use crate::{
    bench::Bench,
    deploys::deploy,
    durable::{PUSH_PLUGIN, drained, serving},
    host::{Folder, Host},
    lengths::median,
    load::{Measured, Pace, drive},
    payload::Deliveries,
    report::{Figure, Floor},
};

/// How long settled deliveries are kept, in milliseconds.
const RETENTION_MS: u32 = 300_000;
/// One row of the table.
const MINUTE: Duration = Duration::from_mins(1);
/// When in a minute the new version is dropped into the folder.
const DEPLOY_AFTER: Duration = Duration::from_secs(20);
/// Fewer minutes have no quarters worth comparing.
const MINUTES_MIN: u32 = 8;
const MIB: f64 = 1024.0 * 1024.0;

/// One minute.
#[derive(Clone, Copy, Debug)]
struct Minute {
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    swap_ms: f64,
    resident_mib: f64,
    open_files: f64,
    wal_mib: f64,
    ledger_mib: f64,
    open_legs: f64,
}

/// Soaks a host for so many minutes, with so many deliveries a second.
pub(crate) async fn measure(bench: &mut Bench, minutes: u32, per_s: u32) -> anyhow::Result<()> {
    ensure!(minutes >= MINUTES_MIN, "{minutes} minutes cannot be told apart in quarters; soak for {MINUTES_MIN} or more");
    let folder = Folder::lay(&bench.folders, &[PUSH_PLUGIN])?.with(&format!("[retention]\nsettled_ms = {RETENTION_MS}\n"));
    let mut host = serving(&folder, &[PUSH_PLUGIN], bench).await?;
    let deliveries = Arc::new(Deliveries::pushes(bench.series())?);
    let mut sent = 0;
    bench.say(&format!("{minutes} minutes at {per_s} deliveries/s"));
    let mut all = Vec::new();
    for number in 1..=minutes {
        let pace = Pace::Open { per_s, span: MINUTE };
        let (measured, swap_ms) =
            tokio::join!(drive(host.target, &deliveries, pace, &bench.clock), deployed(&folder, &host, number, bench));
        let (measured, swap_ms) = (measured?, swap_ms?);
        host.server.must_run()?;
        sent += measured.latency.len();
        let minute = read(&folder, &host, &measured, swap_ms).await?;
        bench.say(&format!("{number}: {}", minute.row()));
        all.push(minute);
    }
    drained(&mut host, sent, bench).await?;
    host.books().await?.must_hold(sent)?;
    host.stop(&bench.clock).await?;
    report(bench, &all, sent);
    Ok(())
}

async fn deployed(folder: &Folder, host: &Host, number: u32, bench: &Bench) -> anyhow::Result<f64> {
    bench.clock.sleep(DEPLOY_AFTER).await;
    deploy(folder, host, (PUSH_PLUGIN, number), bench).await
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes are far below 2^52")]
async fn read(folder: &Folder, host: &Host, measured: &Measured, swap_ms: f64) -> anyhow::Result<Minute> {
    let ms = |share| measured.latency.quantile(share).as_secs_f64() * 1e3;
    let mib = |name: &str| size(&folder.data().join(name)) as f64 / MIB;
    Ok(Minute {
        p50_ms: ms(0.50),
        p99_ms: ms(0.99),
        max_ms: ms(1.0),
        swap_ms,
        resident_mib: host.server.resident_bytes() as f64 / MIB,
        open_files: host.server.open_files() as f64,
        wal_mib: mib("ledger.db-wal"),
        ledger_mib: mib("ledger.db"),
        open_legs: host.books().await?.open as f64,
    })
}

/// Bytes of a file; none where it is not there.
fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |data| data.len())
}

impl Minute {
    fn row(&self) -> String {
        format!(
            "{:.2} | {:.2} | {:.1} | {:.0} | {:.1} | {} | {:.1} | {:.0} | {}",
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.swap_ms,
            self.resident_mib,
            self.open_files,
            self.wal_mib,
            self.ledger_mib,
            self.open_legs
        )
    }
}

fn report(bench: &mut Bench, all: &[Minute], sent: u64) {
    let quarter = all.len() / 4;
    let (early, late) = (&all[quarter..2 * quarter], &all[all.len() - quarter..]);
    let of = |minutes: &[Minute], value: fn(&Minute) -> f64| median(minutes.iter().map(value));
    let most = |value: fn(&Minute) -> f64| all.iter().map(value).fold(0.0, f64::max);
    let grown = |value: fn(&Minute) -> f64| of(late, value) / of(early, value);
    let figure = |name: &str, value, unit, floor| Figure { name: name.to_owned(), value, unit, floor };
    bench.report.figures.extend([
        figure("soak: memory, last quarter against the second", grown(|minute| minute.resident_mib), "×", Floor::AtMost(1.1)),
        figure("soak: open files, last quarter against the second", grown(|minute| minute.open_files), "×", Floor::AtMost(1.1)),
        figure("soak: accept p99, last quarter against the second", grown(|minute| minute.p99_ms), "×", Floor::AtMost(1.5)),
        figure("soak: accept p99, median of the minutes", of(all, |minute| minute.p99_ms), " ms", Floor::AtMost(20.0)),
        figure("soak: write-ahead log, the largest", most(|minute| minute.wal_mib), " MiB", Floor::AtMost(128.0)),
        figure("soak: swap under load, median", of(all, |minute| minute.swap_ms), " ms", Floor::AtMost(300.0)),
    ]);
    let mut page =
        format!("{PAGE}\n\n{sent} deliveries were accepted, and every one was handled once: the books were read at the end.\n\n");
    page += "| minute | p50 ms | p99 ms | max ms | swap ms | memory MiB | open files | WAL MiB | ledger MiB | open legs |\n";
    page += "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    for (number, minute) in all.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| {} | {} |", number + 1, minute.row());
    }
    bench.report.pages.push(page);
}

const PAGE: &str =
    "## Minute by minute\n\nSettled deliveries are kept for five minutes, ids for three days: that is what the ledger goes on growing by.";
