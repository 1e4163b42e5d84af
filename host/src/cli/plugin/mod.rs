//! `plugin`: the author's loop, from nothing to a component that is tested. What a component is and how it runs is told by the host's own
//! code; no host needs to run.

mod build;
mod contract;
mod dev;
mod expect;
mod fixture;
mod inspect;
mod javascript;
mod new;
mod optional;
mod outside;
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

pub(super) use build::write_whole;
pub(super) use inspect::print_admission;

use std::path::Path;

use super::exit::{Exit, Failure};
use crate::runtime::AdmissionError;

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
    /// Examine a component as a deploy would: what it is, needs and asks for, and whether a host would take it
    Inspect(inspect::Args),
}

/// Does what is asked.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.verb {
        Verb::New(args) => new::run(&args),
        Verb::Build(args) => super::block_on(async { build::run(&args).await }),
        Verb::Test(args) => super::block_on(async { testing::run(&args).await }),
        Verb::Dev(args) => super::block_on(async { dev::run(&args).await }),
        Verb::Run(args) => super::block_on(try_out::run(args)),
        Verb::Inspect(args) => super::block_on(inspect::run(args)),
    }
}

/// The event and the document of a fixture, for who sends it to a host.
pub(super) fn delivery_of_fixture(file: &Path) -> Result<(String, Vec<u8>), Failure> {
    fixture::Fixture::read(file).map(|fixture| (fixture.event, fixture.document))
}

fn refused(error: &AdmissionError) -> Failure {
    Failure::new(Exit::Failed, format!("a host would refuse it: {error}"))
}
