//! What the sandbox adds: Hookyard's own run of a component against the least that wasmtime needs for the same call.
//!
//! Both sides have the same engine settings, a linked component (`InstancePre`), a fresh store for every call, fuel and epochs armed, and the
//! same delivery. The bare side does no more: its imports answer at once and keep nothing. Rounds alternate, so that both meet the same
//! machine. What remains between them is the price of Hookyard's limits, records and host calls.

mod bare_call;
mod bindings;

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use hookyard::{
    clock::Clock,
    delivery::{BodyEncoding, Delivery, DeliveryId, Digest, Outcome, PluginName, TenantId, Timestamp, Verdict},
    runtime::{Compiler, Component, Gate, Run, Runtime, Settings},
    shares::Shares,
    tenants::Budget,
};

use self::bare_call::Bare;
use crate::{
    bench::Bench,
    durable::PUSH_PLUGIN,
    lengths::median,
    payload::push_document,
    report::{Figure, Floor},
};

/// What a run may spend, on both sides: the host's defaults.
const BUDGET: Budget = Budget {
    fuel: 1_000_000_000,
    fuel_per_body_byte: 2_000,
    memory_bytes_max: 64 << 20,
    memory_per_body_byte: 8,
    wall: Duration::from_secs(5),
};
/// Places of the pool, as shipped.
const CONCURRENCY_MAX: usize = 32;

/// Measures the ratio.
pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let (wasm, manifest) = bench.folders.plugin(PUSH_PLUGIN)?;
    let wasm = Bytes::from(fs::read(&wasm).with_context(|| format!("{} cannot be read", wasm.display()))?);
    let config = config_of(&fs::read_to_string(manifest)?)?;
    let run = a_run(Digest::of(&[&wasm]), config, bench.clock.now())?;
    let bare = Bare::new(&wasm, &run)?;
    let runtime = Runtime::new(settings())?;
    let component = runtime.admit(wasm, &["http"]).await?;
    let (verdict, bare_verdict) = (ours_once(&runtime, &component, &run).await?, bare.call().await?);
    ensure!(verdict == bare_verdict, "Hookyard's run ended in {verdict}, the bare call in {bare_verdict}: they did not do the same work");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=bench.lengths.rounds {
        let bare_us = bare_round(&bare, bench.lengths.runs, &bench.clock).await?;
        let our_us = our_round((&runtime, &component), &run, bench.lengths.runs, &bench.clock).await?;
        // Round 0 warms both up.
        if round > 0 {
            bench.say(&format!("round {round}: run {our_us:.1} µs, bare wasmtime call {bare_us:.1} µs"));
            ours.push(our_us);
            theirs.push(bare_us);
        }
    }
    let ratio = median(ours.iter().zip(&theirs).map(|(our_us, bare_us)| our_us / bare_us));
    let name = |words: &str| format!("{words} ({PUSH_PLUGIN}, ends in {verdict})");
    bench.report.figures.extend([
        Figure { name: name("run against a bare wasmtime call"), value: ratio, unit: "×", floor: Floor::AtMost(1.3) },
        Figure { name: name("one run, one thread"), value: median(ours), unit: " µs", floor: Floor::None },
        Figure { name: name("one bare wasmtime call, one thread"), value: median(theirs), unit: " µs", floor: Floor::None },
    ]);
    Ok(())
}

async fn our_round((runtime, component): (&Runtime, &Component), run: &Run, runs: u32, clock: &Clock) -> anyhow::Result<f64> {
    let began = clock.instant();
    for _ in 0..runs {
        ours_once(runtime, component, run).await?;
    }
    Ok(each_us(clock.instant().saturating_duration_since(began), runs))
}

async fn bare_round(bare: &Bare, runs: u32, clock: &Clock) -> anyhow::Result<f64> {
    let began = clock.instant();
    for _ in 0..runs {
        bare.call().await?;
    }
    Ok(each_us(clock.instant().saturating_duration_since(began), runs))
}

fn each_us(elapsed: Duration, runs: u32) -> f64 {
    elapsed.as_secs_f64() * 1e6 / f64::from(runs)
}

/// One run through Hookyard; only a handled delivery is a run that counts.
async fn ours_once(runtime: &Runtime, component: &Component, run: &Run) -> anyhow::Result<&'static str> {
    match runtime.invoke(component, run.clone()).await.outcome {
        Outcome::Verdict(Verdict::Ack) => Ok("ack"),
        Outcome::Verdict(Verdict::Skip(_)) => Ok("skip"),
        other => bail!("the plugin was to handle the push, and the run ended in {other:?}"),
    }
}

fn settings() -> Settings {
    Settings {
        concurrency_max: CONCURRENCY_MAX,
        cache_dir: None,
        compiler: Compiler::InProcess,
        component_bytes_max: 32 << 20,
        compile_timeout: Duration::from_mins(2),
        compile_memory_bytes_max: 2 << 30,
        shares: Shares::default(),
    }
}

/// The push, as the host would hand it to the plugin.
fn a_run(digest: Digest, config: serde_json::Value, now: Timestamp) -> anyhow::Result<Run> {
    let document = push_document();
    let delivery = Delivery {
        id: DeliveryId::from_bytes([7; 16]),
        tenant: TenantId::default_tenant(),
        source: "github".parse()?,
        provider_id: "72d3162e-cc78-11e3-81ab-4c9367dc0958".to_owned(),
        hook_id: Some("1".to_owned()),
        event: "push".to_owned(),
        action: None,
        repository: Some("Codertocat/Hello-World".to_owned()),
        installation_id: None,
        received_at: now,
        sequence: 1,
        encoding: BodyEncoding::Json,
        headers: Vec::new(),
        body_sha256: *Digest::of(&[&document]).as_bytes(),
        document,
        raw: None,
    };
    Ok(Run {
        delivery: Arc::new(delivery),
        plugin: PUSH_PLUGIN.parse::<PluginName>()?,
        attempt: 1,
        generation: 0,
        started_at: now,
        digest,
        config: Arc::new(config),
        budget: BUDGET,
        gate: Gate::Dry,
    })
}

/// The `[config]` table of a manifest; empty where there is none.
fn config_of(manifest: &str) -> anyhow::Result<serde_json::Value> {
    let manifest: toml::Table = manifest.parse().context("the plugin's manifest is no TOML")?;
    Ok(manifest.get("config").map_or_else(|| Ok(serde_json::json!({})), serde_json::to_value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_table_reaches_the_plugin_and_nothing_else_of_its_manifest() {
        let config = config_of("events = [\"push\"]\n[config]\nmain_branch = \"main\"\n[limits]\nfuel = 1\n").unwrap();
        assert_eq!(config, serde_json::json!({"main_branch": "main"}));
        assert_eq!(config_of("events = [\"push\"]").unwrap(), serde_json::json!({}));
        assert!(config_of("events = [").is_err());
    }
}
