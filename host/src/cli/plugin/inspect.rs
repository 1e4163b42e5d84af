//! `plugin inspect`: the examination a host would make of a version, without a host. The report is the one `plugins show` prints.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{
    super::{
        exit::{Exit, Failure},
        output::{Output, field},
    },
    trial::Sandbox,
};

/// The arguments of `plugin inspect`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The component; the manifest beside it is examined with it, where there is one
    file: PathBuf,
    /// Print objects
    #[arg(long)]
    json: bool,
}

/// Examines; exit 1 where a host would refuse the version.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let inspected = Sandbox::open()?.inspect(&args.file).await?;
    let output = Output::new(args.json);
    if output.is_json() {
        output.object(&json!(inspected.report), false)?;
    } else {
        print_admission(output, &json!(inspected.report))?;
    }
    match inspected.refusal {
        None => Ok(()),
        Some((code, reason)) => Err(Failure::new(Exit::Failed, format!("a host would refuse it: {code}: {reason}"))),
    }
}

/// Prints an admission report.
pub(in crate::cli) fn print_admission(output: Output, report: &Value) -> Result<(), Failure> {
    for name in ["world", "imports", "wasi_imports", "validates_config", "component_bytes", "core_instances", "memories", "asks"] {
        output.line(&format!("{name:18}{}", field(report, name)))?;
    }
    for step in report["steps"].as_array().into_iter().flatten() {
        let (name, result, took) = (field(step, "step"), field(step, "result"), step["duration_ms"].as_f64().unwrap_or_default());
        output.line(&format!("{name:18}{result:9}{took:>9.1} ms  {}", field(step, "detail")))?;
    }
    Ok(())
}
