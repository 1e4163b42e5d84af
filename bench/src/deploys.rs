//! What many plugins and many deploys cost: a swap under way from rename to visible, a start with two hundred plugins, and a run among them.
//!
//! Every version that is swapped in is made anew by a custom section of its own at the end of the component, so that nothing is found in the
//! compile cache that an author's new build would not find there either.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};

use crate::{
    bench::Bench,
    durable::{PUSH_PLUGIN, drained},
    host::{Folder, Host},
    lengths::median,
    load::{Pace, drive},
    payload::Deliveries,
    report::{Figure, Floor},
};

/// The smallest plugin there is.
const SMALL_PLUGIN: &str = "status-alert";
/// Plugins of a crowded host.
const PLUGINS: u32 = 200;
/// Deliveries a second, all plugins together.
const PER_S: u32 = 1000;
/// Swaps that are timed in a round.
const SWAPS: u32 = 10;
/// How long the first start of a crowded host may take, which compiles everything.
const FIRST_START_MAX: Duration = Duration::from_mins(15);
/// How often a swap is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long a swap may take before the measurement has failed.
const SWAP_MAX: Duration = Duration::from_secs(30);

/// Measures all three.
pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    swaps(bench).await?;
    crowd(bench).await
}

/// From the rename of a new component to the version that is served.
async fn swaps(bench: &mut Bench) -> anyhow::Result<()> {
    // The smallest that is shipped, which is still bigger than the 100 kB the floor is meant for, and the biggest.
    for (plugin, floor) in [(SMALL_PLUGIN, Floor::AtMost(300.0)), (PUSH_PLUGIN, Floor::None)] {
        swaps_of(bench, plugin, floor).await?;
    }
    Ok(())
}

async fn swaps_of(bench: &mut Bench, plugin: &str, floor: Floor) -> anyhow::Result<()> {
    let folder = Folder::lay(&bench.folders, &[plugin])?;
    let mut host = folder.start(&bench.clock).await?;
    host.plugins_serve(&[plugin], &bench.clock).await?;
    let mut took = Vec::new();
    for swap in 0..SWAPS * u32::try_from(bench.lengths.rounds).unwrap_or(1) {
        took.push(deploy(&folder, &host, (plugin, swap), bench).await?);
    }
    host.stop(&bench.clock).await?;
    let worst = took.iter().copied().fold(0.0, f64::max);
    let size = component(bench, plugin)?.len() / 1000;
    bench.report.figures.extend([
        Figure { name: format!("swap, from rename to serving ({size} kB)"), value: median(took), unit: " ms", floor },
        Figure {
            name: format!("the slowest of {} swaps ({size} kB)", SWAPS * u32::try_from(bench.lengths.rounds).unwrap_or(1)),
            value: worst,
            unit: " ms",
            floor: Floor::None,
        },
    ]);
    Ok(())
}

/// Drops another version of the plugin into the folder, and gives the milliseconds until it serves.
pub(crate) async fn deploy(folder: &Folder, host: &Host, (plugin, number): (&str, u32), bench: &Bench) -> anyhow::Result<f64> {
    let before = digest(host, plugin).await?;
    replace(&folder.plugins().join(format!("{plugin}.wasm")), &distinct(&component(bench, plugin)?, number))?;
    let began = bench.clock.instant();
    while digest(host, plugin).await? == before {
        ensure!(bench.clock.instant().saturating_duration_since(began) < SWAP_MAX, "no swap within {SWAP_MAX:?}");
        bench.clock.sleep(LOOK_EVERY).await;
    }
    Ok(bench.clock.instant().saturating_duration_since(began).as_secs_f64() * 1e3)
}

fn component(bench: &Bench, plugin: &str) -> anyhow::Result<Vec<u8>> {
    let (wasm, _) = bench.folders.plugin(plugin)?;
    fs::read(&wasm).with_context(|| format!("{} cannot be read", wasm.display()))
}

/// A host with two hundred plugins: how soon it is back, and what a run costs on it.
async fn crowd(bench: &mut Bench) -> anyhow::Result<()> {
    let (crowded, alone) = (lay(bench, PLUGINS)?, lay(bench, 1)?);
    // The first start compiles; what has a floor is what an operator sees every day.
    let first = crowded.start_within(FIRST_START_MAX, &bench.clock).await?;
    let began = bench.clock.instant();
    let first_ready_after = first.ready_after;
    let first = serving_all(first, bench).await?;
    let compiled_after = first_ready_after + bench.clock.instant().saturating_duration_since(began);
    first.stop(&bench.clock).await?;
    let (many, began) = (crowded.start(&bench.clock).await?, bench.clock.instant());
    let ready_after = many.ready_after;
    let mut many = serving_all(many, bench).await?;
    let serving_after = (ready_after + bench.clock.instant().saturating_duration_since(began)).as_secs_f64();
    let mut one = alone.start(&bench.clock).await?;
    let (mut crowded_us, mut alone_us) = (Vec::new(), Vec::new());
    for round in 0..=bench.lengths.rounds {
        let (of_one, of_many) = (cost_us(&mut one, 1, bench).await?, cost_us(&mut many, PLUGINS, bench).await?);
        // Round 0 warms both up.
        if round > 0 {
            bench.say(&format!("round {round}: a run costs {of_many:.0} µs of CPU among {PLUGINS} plugins, {of_one:.0} µs alone"));
            crowded_us.push(of_many);
            alone_us.push(of_one);
        }
    }
    many.stop(&bench.clock).await?;
    one.stop(&bench.clock).await?;
    let ratio = median(crowded_us.iter().zip(&alone_us).map(|(many, one)| many / one));
    let figure = |name: String, value, unit, floor| Figure { name, value, unit, floor };
    bench.report.figures.extend([
        figure(
            format!("first start with {PLUGINS} different plugins, all compiled and serving"),
            compiled_after.as_secs_f64(),
            " s",
            Floor::None,
        ),
        figure(format!("restart with {PLUGINS} different plugins, until ready"), ready_after.as_secs_f64(), " s", Floor::AtMost(5.0)),
        figure(format!("restart with {PLUGINS} different plugins, until the last one serves"), serving_after, " s", Floor::AtMost(10.0)),
        figure(format!("a delivery and its run at {PER_S}/s over {PLUGINS} plugins against one, CPU"), ratio, "×", Floor::AtMost(1.2)),
        figure(format!("a delivery and its run at {PER_S}/s over {PLUGINS} plugins, CPU"), median(crowded_us), " µs", Floor::None),
    ]);
    Ok(())
}

/// Waits until every plugin of a crowded host serves.
async fn serving_all(mut host: Host, bench: &Bench) -> anyhow::Result<Host> {
    let deadline = bench.clock.instant() + FIRST_START_MAX;
    loop {
        host.server.must_run()?;
        if host.serving().await? >= PLUGINS as usize {
            return Ok(host);
        }
        ensure!(bench.clock.instant() < deadline, "not all of {PLUGINS} plugins serve after {FIRST_START_MAX:?}");
        bench.clock.sleep(Duration::from_millis(50)).await;
    }
}

/// CPU time of the host for one delivery from accept to settlement, at a rate that leaves it room.
async fn cost_us(host: &mut Host, plugins: u32, bench: &Bench) -> anyhow::Result<f64> {
    let deliveries = Arc::new(Deliveries::spread(bench.series(), plugins)?);
    let before = (host.books().await?.accepted, host.server.cpu_time());
    drive(host.target, &deliveries, Pace::Open { per_s: PER_S, span: bench.lengths.span }, &bench.clock).await?;
    let accepted = host.books().await?.accepted;
    drained(host, accepted, bench).await?;
    let spent = host.server.cpu_time().saturating_sub(before.1);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let runs = (accepted - before.0) as f64;
    Ok(spent.as_secs_f64() * 1e6 / runs)
}

/// A folder with so many plugins, each another component, subscribed to an event of its own.
fn lay(bench: &Bench, plugins: u32) -> anyhow::Result<Folder> {
    let folder = Folder::lay(&bench.folders, &[])?;
    let (wasm, manifest) = bench.folders.plugin(PUSH_PLUGIN)?;
    let (wasm, manifest) = (fs::read(wasm)?, fs::read_to_string(manifest)?);
    for number in 0..plugins {
        let place = folder.plugins().join(format!("p{number}"));
        let mut manifest: toml::Table = manifest.parse().context("the plugin's manifest is no TOML")?;
        manifest.insert("events".to_owned(), toml::Value::Array(vec![Deliveries::event(number).into()]));
        fs::write(place.with_extension("toml"), manifest.to_string())?;
        // Each its own component: that one code is compiled and loaded once would help nobody's two hundred.
        fs::write(place.with_extension("wasm"), distinct(&wasm, number))?;
    }
    Ok(folder)
}

/// The component with a custom section of its own, which changes its bytes and nothing else.
fn distinct(wasm: &[u8], number: u32) -> Vec<u8> {
    let mut section = vec![0, 10, 5];
    section.extend(b"bench");
    section.extend(number.to_le_bytes());
    [wasm, &section].concat()
}

fn replace(place: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside = place.with_extension("tmp");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, place)?;
    Ok(())
}

async fn digest(host: &Host, plugin: &str) -> anyhow::Result<String> {
    let view = host.admin.get(&format!("/api/v1/plugins/default/{plugin}")).await?;
    Ok(view["digest"].as_str().context("the plugin serves no version")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_section_makes_another_component_of_the_same_code() {
        let component = b"\0asm\x0d\0\x01\0";
        let made = distinct(component, 7);
        assert_eq!(made[..8], component[..]);
        assert_eq!(made[8..10], [0, 10], "a custom section of ten bytes");
        assert_eq!(made.len(), 8 + 2 + 10);
        assert_ne!(made, distinct(component, 8));
    }
}
