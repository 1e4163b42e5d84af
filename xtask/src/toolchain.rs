//! Something that compiles plugins: the same three ways as `hookyard plugin build`, and the installation of the last one.
//!
//! `hookyard` only looks; a build machine may be changed, so where nothing is found and the machine is a Debian of ours to change, its own
//! packages are installed.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::ensure;

use crate::debian;

const TARGET: &str = "wasm32-unknown-unknown";
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// Makes sure of a toolchain for `wasm32-unknown-unknown`; the error names what to install.
pub(crate) fn ensure() -> anyhow::Result<()> {
    if active_has_target() || (succeeds("rustup", &["target", "add", TARGET]) && active_has_target()) || debian_is_there() {
        return Ok(());
    }
    let by_hand = format!("run `rustup target add {TARGET}`, or as root `apt-get install {}`", PACKAGES.join(" "));
    ensure!(debian::is_ours_to_change(), "there is no Rust toolchain for {TARGET}; {by_hand}");
    crate::say(&format!("no Rust toolchain for {TARGET}: installing {} with apt-get", PACKAGES.join(", ")));
    debian::install(&PACKAGES)?;
    ensure!(debian_is_there(), "apt-get has installed the packages, and still there is no toolchain for {TARGET}; {by_hand}");
    Ok(())
}

/// rustup prints the folder whether or not the target is installed: only the folder itself tells.
fn active_has_target() -> bool {
    let printed = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).stderr(Stdio::null()).output();
    printed.is_ok_and(|output| output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim_end()).is_dir())
}

fn debian_is_there() -> bool {
    let programs = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/bin/wasm-ld-22"];
    let sources = fs::read_dir("/usr/src").into_iter().flatten().flatten();
    programs.iter().all(|program| Path::new(program).is_file())
        && (Path::new("/usr/lib/rustlib/src/rust/library").is_dir()
            || sources.map(|entry| entry.path().join("library")).any(|library| library.is_dir()))
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
