//! Hookyard's own figures that need the whole host: accepting, end to end, idle memory, restart.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;

use crate::{
    bench::Bench,
    host::{Folder, Host},
    lengths::median,
    load::{Pace, drive},
    payload::Deliveries,
    reading::{Reading, Readings, read},
    report::{Figure, Floor},
};

/// The plugin that handles pushes; it parses the whole document as JSON.
pub(crate) const PUSH_PLUGIN: &str = "push-deploy";
/// As the report names the accept alone.
pub(crate) const ACCEPTING: &str = "Hookyard, accepting durably";
/// As the report names the whole.
pub(crate) const END_TO_END: &str = "end to end: accepted → plugin done";
/// Arrivals a second of the open loop.
const OPEN_PER_S: u32 = 2_000;
/// How often the books are read while work is under way; the end of a measurement is known to this.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Longest wait for the work of one round.
const WORK_MAX: Duration = Duration::from_mins(5);
/// Rest before the idle memory is read, so that what the start needed is given back.
const REST: Duration = Duration::from_secs(3);
const MIB: f64 = 1024.0 * 1024.0;

/// How a round of accepting goes.
#[derive(Clone, Copy, Debug)]
struct Round {
    name: &'static str,
    pace: Pace,
    /// Whether the plugin runs while deliveries come in, on the same cores.
    plugin_runs: bool,
}

/// Accepts: the most it takes, the same with the plugin at work, and the delays at a steady rate with the plugin at work.
pub(crate) async fn accept(bench: &mut Bench) -> anyhow::Result<()> {
    let (span, rounds) = (bench.lengths.span, bench.lengths.rounds);
    let closed = Pace::ClosedFor(span);
    let kinds = [
        Round { name: ACCEPTING, pace: closed, plugin_runs: false },
        Round { name: "Hookyard, accepting while the plugin runs", pace: closed, plugin_runs: true },
        Round { name: "Hookyard, open loop of 2,000/s, plugin runs", pace: Pace::Open { per_s: OPEN_PER_S, span }, plugin_runs: true },
    ];
    let mut all = kinds.map(|kind| Readings { name: kind.name.to_owned(), rounds: Vec::new() });
    for round in 1..=rounds {
        for (kind, readings) in kinds.iter().zip(&mut all) {
            let reading = turn(bench, *kind).await?;
            bench.say(&format!("round {round}: {:<44} {:>8.0} deliveries/s, p99 {:?}", kind.name, reading.per_s, reading.p99));
            readings.rounds.push(reading);
        }
    }
    let p99_ms = all[2].median(|reading| reading.p99.as_secs_f64() * 1e3);
    let name = "accept p99 at 2,000 deliveries/s, open loop".to_owned();
    bench.report.figures.push(Figure { name, value: p99_ms, unit: " ms", floor: Floor::AtMost(20.0) });
    bench.report.readings.extend(all);
    Ok(())
}

async fn turn(bench: &Bench, round: Round) -> anyhow::Result<Reading> {
    let folder = Folder::lay(&bench.folders, &[PUSH_PLUGIN])?;
    let mut host = serving(&folder, &[PUSH_PLUGIN], bench).await?;
    if !round.plugin_runs {
        host.pause(PUSH_PLUGIN).await?;
    }
    let deliveries = Arc::new(Deliveries::pushes(bench.series())?);
    let warm = drive(host.target, &deliveries, Pace::ClosedFor(bench.lengths.warm_up), &bench.clock).await?;
    if round.plugin_runs {
        // An open loop that begins behind a queue would measure the queue.
        drained(&mut host, warm.latency.len(), bench).await?;
    }
    let (reading, measured) = read((&mut host.server, host.target), &deliveries, round.pace, &bench.clock).await?;
    host.books().await?.must_hold(warm.latency.len() + measured.latency.len())?;
    host.stop(&bench.clock).await?;
    Ok(reading)
}

/// The ratios that need both sides measured in this run.
pub(crate) fn compare(bench: &mut Bench) {
    let Some(ours) = bench.report.per_s(ACCEPTING) else { return };
    let floors = [("FastAPI, 1 worker", 5.0), ("@octokit/webhooks", 1.2), ("bare hyper + HMAC", 0.25)];
    for (peer, floor) in floors {
        let name = format!("durable accepts against {peer}");
        match bench.report.per_s(peer) {
            Some(theirs) => bench.report.figures.push(Figure { name, value: ours / theirs, unit: "×", floor: Floor::AtLeast(floor) }),
            None => bench.report.skipped.push(format!("{name}: the peer was not measured")),
        }
    }
    let (ours, theirs) = (bench.report.figure(END_TO_END), bench.report.per_s("FastAPI, 1 worker"));
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        let name = "end to end against FastAPI, 1 worker, which also handles".to_owned();
        bench.report.figures.push(Figure { name, value: ours / theirs, unit: "×", floor: Floor::None });
    }
}

/// From the first accept to the last settlement.
pub(crate) async fn end_to_end(bench: &mut Bench) -> anyhow::Result<()> {
    let mut rates = Vec::new();
    for round in 1..=bench.lengths.rounds {
        let rate = end_to_end_round(bench).await?;
        bench.say(&format!("round {round}: end to end {rate:.0} deliveries/s"));
        rates.push(rate);
    }
    let figure = Figure { name: END_TO_END.to_owned(), value: median(rates), unit: "/s", floor: Floor::AtLeast(5_000.0) };
    bench.report.figures.push(figure);
    Ok(())
}

async fn end_to_end_round(bench: &Bench) -> anyhow::Result<f64> {
    let folder = Folder::lay(&bench.folders, &[PUSH_PLUGIN])?;
    let mut host = serving(&folder, &[PUSH_PLUGIN], bench).await?;
    let (count, deliveries) = (bench.lengths.end_to_end, Arc::new(Deliveries::pushes(bench.series())?));
    let measured = drive(host.target, &deliveries, Pace::ClosedCount(count), &bench.clock).await?;
    drained(&mut host, count, bench).await?;
    let elapsed = bench.clock.instant().saturating_duration_since(measured.first_answer);
    host.books().await?.must_hold(count)?;
    host.stop(&bench.clock).await?;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    Ok(count as f64 / elapsed.as_secs_f64())
}

/// Resident memory of a host with all shipped plugins that has nothing to do.
pub(crate) async fn idle(bench: &mut Bench) -> anyhow::Result<()> {
    let names = bench.folders.plugin_names()?;
    ensure!(!names.is_empty(), "{} holds no plugin; build them with `cargo xtask plugins`", bench.folders.plugins().display());
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let folder = Folder::lay(&bench.folders, &names)?;
    // The first start compiles; what an operator sees every day is a start from the cache.
    serving(&folder, &names, bench).await?.stop(&bench.clock).await?;
    let host = serving(&folder, &names, bench).await?;
    bench.clock.sleep(REST).await;
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    let value = host.server.resident_bytes() as f64 / MIB;
    host.stop(&bench.clock).await?;
    let name = format!("idle memory ({})", names.join(", "));
    bench.report.figures.push(Figure { name, value, unit: " MiB", floor: Floor::AtMost(80.0) });
    Ok(())
}

/// From the start of the process to `readyz`, with a queue that was left behind.
pub(crate) async fn restart(bench: &mut Bench) -> anyhow::Result<()> {
    let folder = Folder::lay(&bench.folders, &[PUSH_PLUGIN])?;
    let host = serving(&folder, &[PUSH_PLUGIN], bench).await?;
    host.pause(PUSH_PLUGIN).await?;
    let (count, deliveries) = (bench.lengths.queued, Arc::new(Deliveries::small(bench.series())?));
    bench.say(&format!("queueing {count} deliveries"));
    drive(host.target, &deliveries, Pace::ClosedCount(count), &bench.clock).await?;
    let before = host.books().await?;
    before.must_hold(count)?;
    ensure!(before.open == count, "{} of {count} deliveries wait for the paused plugin", before.open);
    host.stop(&bench.clock).await?;
    let host = folder.start(&bench.clock).await?;
    host.books().await?.must_hold(count)?;
    let (name, value) = (format!("restart with {count} queued, until ready"), host.ready_after.as_secs_f64());
    bench.report.figures.push(Figure { name, value, unit: " s", floor: Floor::AtMost(10.0) });
    // Half a million runs are not waited for: the folder goes with them.
    drop(host);
    Ok(())
}

/// Starts a host and waits until these plugins serve.
pub(crate) async fn serving(folder: &Folder, plugins: &[&str], bench: &Bench) -> anyhow::Result<Host> {
    let mut host = folder.start(&bench.clock).await?;
    host.plugins_serve(plugins, &bench.clock).await?;
    Ok(host)
}

/// Waits until every accepted delivery is handled.
pub(crate) async fn drained(host: &mut Host, accepted: u64, bench: &Bench) -> anyhow::Result<()> {
    let deadline = bench.clock.instant() + WORK_MAX;
    loop {
        host.server.must_run()?;
        let open = host.legs_open().await?;
        if open == 0 && host.books().await?.are_done(accepted)? {
            return Ok(());
        }
        ensure!(bench.clock.instant() < deadline, "{open} legs are open after {WORK_MAX:?}");
        bench.clock.sleep(LOOK_EVERY).await;
    }
}
