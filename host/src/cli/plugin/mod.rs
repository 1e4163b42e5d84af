//! `plugin`: the author's loop, from nothing to a component that is tested. What a component is and how it runs is told by the host's own
//! code; no host needs to run.

mod build;
mod contract;
mod dev;
mod expect;
mod fixture;
mod javascript;
mod new;
mod project;
mod python;
mod report;
mod rust;
mod testing;
mod tool;
mod toolchain;
mod trial;
mod try_out;
mod words;

use std::path::PathBuf;

use super::{
    exit::{Exit, Failure},
    output::Output,
    read_bounded,
};
use crate::runtime::{AdmissionError, Report, Runtime};

const AFTER_HELP: &str = "From nothing to the first handled event:
  hookyard plugin new sizes          # a folder with a handler, a manifest and two fixtures
  hookyard plugin test sizes         # builds it, runs the fixtures in the host's own sandbox
Then `hookyard plugin dev sizes` while you write, and copy sizes.toml and sizes.wasm into tenants/default/plugins/ to deploy.

Exit codes of `test` and `run`: 0 as expected, 1 another verdict, 70 it trapped, 75 it hit a limit.";

/// The arguments of `plugin`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Make a plugin that builds and passes its fixtures at once
    New(new::Args),
    /// Compile a plugin to a component, with its manifest beside it
    Build(build::Args),
    /// Build, then hold every fixture against its run; tells what differs
    Test(testing::Args),
    /// Build and test again at every change, until Ctrl-C
    Dev(dev::Args),
    /// Run a component once on one document; nothing of it reaches the outside
    Run(try_out::Args),
    /// What a component is and asks for, without running it
    Inspect {
        /// The component
        file: PathBuf,
        /// Print objects
        #[arg(long)]
        json: bool,
    },
}

/// Does what is asked.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.verb {
        Verb::New(args) => new::run(&args),
        Verb::Build(args) => super::block_on(async { build::run(&args).await }),
        Verb::Test(args) => super::block_on(async { testing::run(&args).await }),
        Verb::Dev(args) => super::block_on(async { dev::run(&args).await }),
        Verb::Run(args) => super::block_on(try_out::run(args)),
        Verb::Inspect { file, json } => {
            let report = Runtime::inspect(&read_bounded(&file)?).map_err(|error| refused(&error))?;
            print(Output::new(json), &report)
        }
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
