//! The project's scripts: `cargo xtask <script>`.

mod tidy;

use std::{env, path::Path};

use anyhow::{Context as _, bail};

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    match env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(root),
        other => bail!("`{}` is no script; expected `tidy`", other.unwrap_or_default()),
    }
}
