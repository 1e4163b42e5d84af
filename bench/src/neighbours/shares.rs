//! What one tenant, or a stranger, that uses up a shared resource costs another tenant: its accepts, its runs and its deploys.
//!
//! Each round is a fresh host. The neighbour sends pushes at a steady rate and deploys a version a second; the other presses on one resource as
//! fast as it can. Any answer to the neighbour but a 202 fails the measurement.

use std::{fmt::Write as _, fs, path::Path, sync::Arc, time::Duration};

use super::{
    PER_S, lay_other,
    pressure::{self, ALL, Act, Pressure, QUIET},
    queue,
};
use crate::{
    bench::Bench,
    deploys::deploy,
    durable::{PUSH_PLUGIN, serving},
    histogram::Histogram,
    host::{Folder, Host},
    lengths::median,
    load::{Pace, drive},
    payload::Deliveries,
    report::{Figure, Floor},
};

/// What the neighbour deploys meanwhile.
const DEPLOYED: &str = "status-alert";
/// How often.
const DEPLOY_EVERY: Duration = Duration::from_millis(700);
/// How much slower a neighbour may be than alone.
const FLOOR: Floor = Floor::AtMost(1.5);

/// The neighbour's slowest hundredth, and what a deploy took, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Felt {
    accept: f64,
    queue: f64,
    deploy: f64,
}

/// Measures the neighbour beside each pressure, round after round.
pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let pressures: Vec<_> = std::iter::once(QUIET).chain(ALL).collect();
    let mut all = vec![Vec::new(); pressures.len()];
    for number in 1..=bench.lengths.rounds {
        for (pressure, rounds) in pressures.iter().zip(&mut all) {
            let felt = round(bench, *pressure).await?;
            bench.say(&format!(
                "round {number}: {:<46} accept p99 {:.1} ms, queue p99 {:.0} ms, deploy {:.0} ms",
                pressure.name, felt.accept, felt.queue, felt.deploy
            ));
            rounds.push(felt);
        }
    }
    let of = |rounds: &[Felt], value: fn(&Felt) -> f64| median(rounds.iter().map(value));
    let medians = all.iter().map(|rounds| Felt {
        accept: of(rounds, |felt| felt.accept),
        queue: of(rounds, |felt| felt.queue),
        deploy: of(rounds, |felt| felt.deploy),
    });
    report(bench, &pressures, &medians.collect::<Vec<_>>());
    Ok(())
}

/// `medians[0]` is the quiet one.
fn report(bench: &mut Bench, pressures: &[Pressure], medians: &[Felt]) {
    let quiet = medians[0];
    let worst = |value: fn(&Felt) -> f64| medians[1..].iter().map(|felt| value(felt) / value(&quiet)).fold(0.0, f64::max);
    let figure = |what: &str, value| Figure {
        name: format!("a neighbour's {what} beside the worst use of a shared resource, against none"),
        value,
        unit: "×",
        floor: FLOOR,
    };
    bench.report.figures.extend([
        figure("accept p99", worst(|felt| felt.accept)),
        figure("queue p99", worst(|felt| felt.queue)),
        figure("deploy", worst(|felt| felt.deploy)),
    ]);
    let mut page = PAGE.to_owned();
    for (pressure, felt) in pressures.iter().zip(medians) {
        let times = |value: f64, quiet: f64| value / quiet;
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| {} | {:.1} | {:.2} | {:.0} | {:.2} | {:.0} | {:.2} |",
            pressure.name,
            felt.accept,
            times(felt.accept, quiet.accept),
            felt.queue,
            times(felt.queue, quiet.queue),
            felt.deploy,
            times(felt.deploy, quiet.deploy)
        );
    }
    bench.report.pages.push(page);
}

const PAGE: &str = "## Beside somebody who uses up a shared resource\n\nMedians of the rounds; `×` is against `nothing`. The neighbour sends 200 \
                    pushes a second, deploys a small plugin over and over, and has everything of it accepted.\n\n\
                    | used up | accept p99 ms | × | queue p99 ms | × | deploy ms | × |\n|---|---:|---:|---:|---:|---:|---:|\n";

async fn round(bench: &Bench, pressure: Pressure) -> anyhow::Result<Felt> {
    let mut folder = Folder::lay(&bench.folders, &[PUSH_PLUGIN, DEPLOYED])?;
    let other = folder.tenant("other");
    lay_other(&other, pressure.guest, pressure.manifest)?;
    copies(&other, pressure)?;
    let mut silent = None;
    if pressure.act == Act::SilentNames {
        let (socket, settings) = pressure::silent_name_server().await?;
        folder = folder.with(&settings);
        silent = Some(socket);
    }
    let mut host = serving(&folder, &[PUSH_PLUGIN, DEPLOYED], bench).await?;
    host.serves("other", "guest", &bench.clock).await?;
    let pressed = pressure::begin(pressure, &host, other, (bench.series() + 1_000_000, &bench.clock))?;
    let pushes = Arc::new(Deliveries::pushes(bench.series())?);
    drive(host.target, &pushes, Pace::Open { per_s: PER_S, span: bench.lengths.warm_up }, &bench.clock).await?;
    let since = bench.clock.now();
    let pace = Pace::Open { per_s: PER_S, span: bench.lengths.span };
    let (measured, deploys) = tokio::join!(drive(host.target, &pushes, pace, &bench.clock), deploys(&folder, &host, bench));
    let (measured, deploys) = (measured?, deploys?);
    let queue = queue(&mut host, since, bench).await?;
    drop((pressed, silent));
    let ms = |histogram: &Histogram| histogram.quantile(0.99).as_secs_f64() * 1e3;
    Ok(Felt { accept: ms(&measured.latency), queue: ms(&queue), deploy: median(deploys) })
}

/// The neighbour's deploys while the load goes on, in milliseconds each.
async fn deploys(folder: &Folder, host: &Host, bench: &Bench) -> anyhow::Result<Vec<f64>> {
    let (began, mut took) = (bench.clock.instant(), Vec::new());
    loop {
        let number = u32::try_from(took.len()).unwrap_or(u32::MAX);
        took.push(deploy(folder, host, (DEPLOYED, number), bench).await?);
        if bench.clock.instant().saturating_duration_since(began) + DEPLOY_EVERY >= bench.lengths.span {
            return Ok(took);
        }
        bench.clock.sleep(DEPLOY_EVERY).await;
    }
}

/// More of the other tenant's plugin, and more of its settings.
fn copies(home: &Path, pressure: Pressure) -> anyhow::Result<()> {
    for number in 1..pressure.copies {
        for ending in ["wasm", "toml"] {
            fs::copy(home.join("plugins/guest").with_extension(ending), home.join(format!("plugins/guest-{number}.{ending}")))?;
        }
    }
    let settings = fs::read_to_string(home.join("tenant.toml"))? + pressure.tenant;
    Ok(fs::write(home.join("tenant.toml"), settings)?)
}
