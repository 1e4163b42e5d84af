//! `plugin run`: one run of a component in the host's own sandbox, with the host's bounds and without any way out.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    super::{
        check::print_problems,
        environment,
        exit::{Exit, Failure},
        output::Output,
        read_bounded,
    },
    refused,
};
use crate::{
    catalog::{self, Limits},
    clock::Clock,
    config,
    delivery::{BodyEncoding, Delivery, DeliveryId, DeliveryKey, Digest, FaultKind, Header, Outcome, SourceId, TenantId},
    runtime::{Compiler, Gate, Run, RunReport, Runtime, Settings},
};

/// The provider's id of a tried delivery: always the same, so that the same file has the same delivery id.
const PROVIDER_ID: &str = "00000000-0000-0000-0000-000000000000";

/// The arguments of `plugin run`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The component; limits and configuration are those of the manifest beside it, where there is one
    file: PathBuf,
    /// The event's name, such as `pull_request`
    #[arg(long)]
    event: String,
    /// The JSON document, or `-`
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    /// Another `[config]` table: JSON, or TOML where the name ends in `.toml`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Fail unless this is the verdict
    #[arg(long)]
    expect: Option<Word>,
    /// Print objects
    #[arg(long)]
    json: bool,
}

/// A verdict's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Word {
    Ack,
    Skip,
    Retry,
    Reject,
}

/// Runs; exit 1 where the verdict is another than expected, 70 where the plugin trapped, 75 where it hit a limit.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let host = config::load(None, &environment()).map_err(|problems| {
        print_problems(&problems);
        Failure::new(Exit::ConfigInvalid, "the host's configuration does not tell the limits")
    })?;
    let (limits, mut table) = manifest_beside(&args.file)?;
    if let Some(file) = &args.config {
        table = read_table(file)?;
    }
    let wasm = read_bounded(&args.file)?;
    let digest = Digest::of(&[&wasm]);
    let delivery = delivery(&args.event, read_bounded(&args.payload)?)?;
    // One run needs no pool, no cache and no child: the file is the caller's own.
    let settings = Settings { concurrency_max: 1, cache_dir: None, compiler: Compiler::InProcess, ..host.runtime };
    let runtime = Runtime::new(settings)?;
    let component = runtime.admit(wasm.into(), &[]).await.map_err(|error| refused(&error))?;
    let run = Run {
        started_at: delivery.received_at,
        delivery: Arc::new(delivery),
        plugin: plugin_name(&args.file)?,
        attempt: 1,
        generation: 0,
        digest,
        config: Arc::new(table),
        budget: limits.budget(host.catalog.default_budget, host.ceiling),
        gate: Gate::Dry,
    };
    let report = runtime.invoke(&component, run).await;
    print(Output::new(args.json), &report)?;
    verdict_of(&report.outcome, args.expect)
}

/// Limits and `[config]` of the manifest beside the component, where there is one.
fn manifest_beside(component: &Path) -> Result<(Limits, Value), Failure> {
    let file = component.with_extension("toml");
    if !file.exists() {
        return Ok((Limits::default(), json!({})));
    }
    let manifest = catalog::parse_manifest(&read_bounded(&file)?)
        .map_err(|problems| Failure::new(Exit::ConfigInvalid, format!("{}: {problems}", file.display())))?;
    Ok((manifest.limits, manifest.config))
}

fn read_table(file: &Path) -> Result<Value, Failure> {
    let bytes = read_bounded(file)?;
    let table: Result<Value, String> = if file.extension().is_some_and(|extension| extension == "toml") {
        std::str::from_utf8(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|text| toml::from_str(text).map_err(|error| error.to_string()))
    } else {
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    };
    let invalid = |problem: &str| Failure::new(Exit::ConfigInvalid, format!("{}: {problem}", file.display()));
    table.map_err(|error| invalid(&error)).and_then(|table| if table.is_object() { Ok(table) } else { Err(invalid("it is no table")) })
}

/// The name it would have in a host; it shows in the ids of emitted events.
fn plugin_name(file: &Path) -> Result<crate::delivery::PluginName, Failure> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    stem.parse().map_err(|error| Failure::new(Exit::Usage, format!("a component's file is named after its plugin, and {error}")))
}

/// The delivery a host would make of the document.
fn delivery(event: &str, document: Vec<u8>) -> Result<Delivery, Failure> {
    let parsed: Value = serde_json::from_slice(&document)
        .map_err(|error| Failure::new(Exit::Failed, format!("the payload is not JSON ({error}): a host would refuse it")))?;
    let (tenant, body_sha256) = (TenantId::default_tenant(), Sha256::digest(&document).into());
    let source: SourceId = "github".parse().map_err(|error| Failure::new(Exit::Failed, format!("{error}")))?;
    let key = DeliveryKey { tenant: &tenant, source: &source, hook_id: "", provider_id: PROVIDER_ID, body_sha256: &body_sha256 };
    Ok(Delivery {
        id: DeliveryId::derive(&key),
        provider_id: PROVIDER_ID.to_owned(),
        hook_id: None,
        event: event.to_owned(),
        action: parsed["action"].as_str().map(str::to_owned),
        repository: parsed["repository"]["full_name"].as_str().map(str::to_owned),
        installation_id: parsed["installation"]["id"].as_u64(),
        received_at: Clock::system().now(),
        sequence: 1,
        encoding: BodyEncoding::Json,
        headers: vec![Header { name: "x-github-event".to_owned(), value: event.to_owned() }],
        document: Bytes::from(document),
        raw: None,
        body_sha256,
        tenant,
        source,
    })
}

fn verdict_of(outcome: &Outcome, expected: Option<Word>) -> Result<(), Failure> {
    match outcome {
        Outcome::Verdict(verdict) => match expected.map(Word::slug).filter(|word| *word != verdict.slug()) {
            None => Ok(()),
            Some(word) => Err(Failure::new(Exit::Failed, format!("expected {word}, found {}", verdict.slug()))),
        },
        Outcome::Fault(fault) => Err(Failure::silent(match fault.kind {
            FaultKind::OutOfFuel | FaultKind::OutOfMemory | FaultKind::DeadlineExceeded | FaultKind::AbiLimit => Exit::LimitHit,
            _ => Exit::Trapped,
        })),
    }
}

impl Word {
    fn slug(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Skip => "skip",
            Self::Retry => "retry",
            Self::Reject => "reject",
        }
    }
}

fn print(output: Output, report: &RunReport) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(&object(report), false);
    }
    output.line(format!("{:10}{}", report.outcome.slug(), report.outcome.detail()).trim_end())?;
    for line in &report.logs {
        let fields: Vec<String> = line.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        output.line(format!("log       {} {} {}", line.level, line.message, fields.join(" ")).trim_end())?;
    }
    for call in &report.host_calls {
        output.line(&format!("call      {}({}) -> {}", call.call, call.input, call.answer))?;
    }
    for emit in &report.effects.emits {
        output.line(&format!("emit      {} {}", emit.name, String::from_utf8_lossy(&emit.body)))?;
    }
    output.line(&format!("fuel      {}", share(report.fuel, report.fuel_max)))?;
    output.line(&format!("memory    {}, in bytes", share(report.memory_peak_bytes, report.memory_bytes_max)))?;
    output.line(&format!("time      {:.3} ms", millis(report)))
}

/// What was used of what there was, to a tenth of a percent.
fn share(used: u64, most: u64) -> String {
    let permille = u128::from(used) * 1000 / u128::from(most.max(1));
    format!("{used} of {most} ({}.{} %)", permille / 10, permille % 10)
}

fn object(report: &RunReport) -> Value {
    let emits: Vec<Value> = report
        .effects
        .emits
        .iter()
        .map(|emit| json!({ "name": emit.name, "content_type": emit.content_type, "body": String::from_utf8_lossy(&emit.body) }))
        .collect();
    json!({
        "outcome": report.outcome.slug(), "detail": report.outcome.detail(), "logs": report.logs, "host_calls": report.host_calls,
        "emits": emits, "fuel": report.fuel, "fuel_max": report.fuel_max, "memory_peak_bytes": report.memory_peak_bytes,
        "memory_bytes_max": report.memory_bytes_max, "duration_ms": millis(report),
    })
}

fn millis(report: &RunReport) -> f64 {
    report.duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        delivery::{Fault, Verdict},
        tenants::Budget,
    };

    #[test]
    fn each_ending_has_its_exit_code() {
        let exit = |outcome: Outcome, expected| verdict_of(&outcome, expected).map_err(|failure| failure.exit);
        let fault = |kind| Outcome::Fault(Fault::new(kind, ""));
        assert_eq!(exit(Outcome::Verdict(Verdict::Ack), Some(Word::Ack)), Ok(()));
        assert_eq!(exit(Outcome::Verdict(Verdict::Reject(String::new())), None), Ok(()));
        assert_eq!(exit(Outcome::Verdict(Verdict::Skip(String::new())), Some(Word::Ack)), Err(Exit::Failed));
        assert_eq!(exit(fault(FaultKind::Trapped), Some(Word::Ack)), Err(Exit::Trapped));
        for kind in [FaultKind::OutOfFuel, FaultKind::OutOfMemory, FaultKind::DeadlineExceeded, FaultKind::AbiLimit] {
            assert_eq!(exit(fault(kind), None), Err(Exit::LimitHit), "{kind:?}");
        }
    }

    #[test]
    fn a_share_is_told_to_a_tenth_of_a_percent() {
        assert_eq!(share(5, 1000), "5 of 1000 (0.5 %)");
        assert_eq!(share(u64::MAX, u64::MAX), format!("{0} of {0} (100.0 %)", u64::MAX));
        assert_eq!(share(0, 0), "0 of 0 (0.0 %)");
    }

    #[test]
    fn the_same_document_is_the_same_delivery() {
        let document = br#"{"action":"opened","repository":{"full_name":"acme/shop"}}"#;
        let (first, second) = (delivery("pull_request", document.to_vec()).unwrap(), delivery("pull_request", document.to_vec()).unwrap());
        assert_eq!(first.id, second.id);
        assert_eq!((first.action.as_deref(), first.repository.as_deref()), (Some("opened"), Some("acme/shop")));
        assert_ne!(delivery("push", b"{}".to_vec()).unwrap().id, first.id);
        assert!(delivery("push", b"{".to_vec()).unwrap_err().message.contains("not JSON"));
    }

    #[test]
    fn a_table_is_read_from_either_format_and_nothing_else_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            read_table(&dir.path().join(name)).map_err(|failure| failure.exit)
        };
        assert_eq!(read("a.toml", "small = 10\n"), Ok(json!({ "small": 10 })));
        assert_eq!(read("a.json", r#"{"small": 10}"#), Ok(json!({ "small": 10 })));
        assert_eq!(read("b.json", "[10]"), Err(Exit::ConfigInvalid));
        assert_eq!(read("b.toml", "small ="), Err(Exit::ConfigInvalid));
    }

    #[test]
    fn limits_and_configuration_come_from_the_manifest_beside() {
        let dir = tempfile::tempdir().unwrap();
        let component = dir.path().join("sizes.wasm");
        assert_eq!(manifest_beside(&component).unwrap().1, json!({}));
        std::fs::write(dir.path().join("sizes.toml"), "sources=[\"github\"]\nevents=[\"*\"]\n[config]\nsmall=1\n[limits]\nfuel=7\n")
            .unwrap();
        let (limits, table) = manifest_beside(&component).unwrap();
        let most = Budget { fuel: 9, fuel_per_body_byte: 0, memory_bytes_max: 1, memory_per_body_byte: 0, wall: std::time::Duration::MAX };
        assert_eq!((limits.budget(most, most).fuel, table), (7, json!({ "small": 1 })));
    }
}
