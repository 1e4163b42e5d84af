//! Debian's own packages, where the machine is a Debian of ours to change.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

/// Whether packages may be installed here: a Debian or a child of it, and root.
pub(crate) fn is_ours_to_change() -> bool {
    is_debian() && is_root()
}

/// Installs packages, with what they need and nothing more.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    run("apt-get", &["update"])?;
    run("apt-get", &[&["install", "-y", "--no-install-recommends"][..], packages].concat())
}

fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line.starts_with("ID") && (line.contains("debian") || line.contains("ubuntu")))
}

/// The owner of one's own `/proc/self` is the effective user.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{program} does not start"))?;
    ensure!(status.success(), "`{program} {}` failed: {status}", arguments.join(" "));
    Ok(())
}
