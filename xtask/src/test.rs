//! `cargo xtask test`: brings up what the tests need, says plainly what it skips, runs everything.

use std::{path::Path, process::Command};

use crate::{cargo, fixtures, plugins, say, succeed};

/// Runs every test of the repository.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let examples = fixtures::fetch(root)?;
    plugins::run(root)?;
    // The binaries first: the scenarios that kill hosts start them as processes.
    succeed(Command::new(cargo()).args(["build", "--workspace"]).current_dir(root))?;
    succeed(Command::new(cargo()).args(["test", "--workspace", "--no-fail-fast"]).current_dir(root))?;
    let shipped = root.join("plugins");
    succeed(Command::new(cargo()).arg("test").env("CARGO_TARGET_DIR", root.join("target/plugin-tests")).current_dir(shipped))?;
    say("skipped: tests against RabbitMQ; this version carries the embedded engine only");
    if !examples {
        say("skipped: the tests over GitHub's published payloads, because npm is not here");
    }
    Ok(())
}
