//! `plugin`: from source to component, and a run of it without a host. What a component is and how it runs is told by
//! the host's own code.

mod build;
mod toolchain;
mod try_out;

use std::path::PathBuf;

use super::{
    exit::{Exit, Failure},
    output::Output,
    read_bounded,
};
use crate::runtime::{AdmissionError, Report, Runtime};

/// The arguments of `plugin`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Compile a plugin's crate to a component, with its manifest beside it
    Build(build::Args),
    /// What a component is and asks for, without running it
    Inspect {
        /// The component
        file: PathBuf,
        /// Print objects
        #[arg(long)]
        json: bool,
    },
    /// Run a component once on one document; nothing of it reaches the outside
    Run(try_out::Args),
}

/// Does what is asked.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.verb {
        Verb::Build(args) => build::run(&args),
        Verb::Inspect { file, json } => {
            let report = Runtime::inspect(&read_bounded(&file)?).map_err(|error| refused(&error))?;
            print(Output::new(json), &report)
        }
        Verb::Run(args) => super::block_on(try_out::run(args)),
    }
}

fn refused(error: &AdmissionError) -> Failure {
    Failure::new(Exit::Failed, format!("a host would refuse it: {error}"))
}

fn print(output: Output, report: &Report) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(&serde_json::json!(report), false);
    }
    let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    let lines = [
        ("world", report.world.clone()),
        ("imports", list(&report.imports)),
        ("wasi_imports", list(&report.wasi_imports)),
        ("component_bytes", report.component_bytes.to_string()),
        ("core_instances", report.core_instances.to_string()),
        ("memories", report.memories.to_string()),
    ];
    lines.iter().try_for_each(|(name, value)| output.line(&format!("{name:18}{value}")))
}
