//! Chores of this repository: `cargo xtask plugins`.

mod plugins;
mod toolchain;

use std::{io::Write as _, path::Path};

use anyhow::{Context as _, bail};

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not inside a repository")?;
    match std::env::args().nth(1).as_deref() {
        Some("plugins") => plugins::run(root),
        found => bail!("found {found:?}; expected `plugins`"),
    }
}

/// A line of words; that it cannot be written is nothing one could say anywhere.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
