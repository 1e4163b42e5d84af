//! The project's scripts, in its language: `cargo xtask demo|test|plugins|tidy|bench|fuzz`.

mod debian;
mod demo;
mod fixtures;
mod fuzz;
mod plugins;
mod progress;
mod suite;
mod test;
mod tidy;
mod toolchain;
mod tools;

use std::{io::Write as _, path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};

use progress::Talk;

const SCRIPTS: &str =
    "demo [--once] [--broker rabbitmq] [-v] · test [-v] · plugins [-v] · tidy · bench [ARGUMENTS] · fuzz TARGET [--minutes N | --keep]";

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["demo", rest @ ..] => demo::run(root, demo::Wish::read(rest).with_context(|| format!("expected {SCRIPTS}"))?),
        ["test"] => test::run(root, Talk::Brief),
        ["test", "-v"] => test::run(root, Talk::Whole),
        ["plugins"] => plugins::run(root, Talk::Brief),
        ["plugins", "-v"] => plugins::run(root, Talk::Whole),
        ["tidy"] => tidy::run(root),
        ["fuzz", target] => fuzz::run(root, target, "30"),
        ["fuzz", target, "--minutes", minutes] => fuzz::run(root, target, minutes),
        ["fuzz", target, "--keep"] => fuzz::keep(root, target),
        ["bench", rest @ ..] => bench(root, rest),
        _ => bail!("`{}` is no script; expected {SCRIPTS}", arguments.join(" ")),
    }
}

/// Builds what is measured, then measures.
fn bench(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    plugins::run(root, Talk::Brief)?;
    succeed(cargo().args(["run", "--quiet", "-p", "bench", "--"]).args(arguments).current_dir(root))
}

/// The cargo that runs this script.
fn cargo() -> Command {
    without_this_package(Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())))
}

/// The command without what cargo says of this script: build scripts look at those variables, and what they built would be built again whenever
/// it is cargo itself that is called next.
fn without_this_package(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command whose failure is ours.
fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{} does not start", command.get_program().display()))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

/// A line of words; that it cannot be written is nothing one could say anywhere.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
