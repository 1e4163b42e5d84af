//! What compiles a plugin: the first Rust toolchain found that can make code for `wasm32-unknown-unknown`.
//!
//! A toolchain without the target is mended by rustup. Where there is no way to rustup's servers, Debian's own packages do: its compiler has
//! the target and its standard library comes as source, which cargo then builds first (`-Zbuild-std`, for which the compiler wants to be told
//! that it may: `RUSTC_BOOTSTRAP`).

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::super::exit::{Exit, Failure};

/// The target plugins are compiled for: no WASI, so that nothing of the outside is even imported.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-22";
const DEBIAN_SOURCES: &str = "/usr/src";

/// A toolchain that can compile plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// The one that is active has the target.
    Active,
    /// The one that is active has been given the target.
    Added,
    /// Debian's.
    Debian,
}

impl Toolchain {
    /// Finds one; the error names what to install.
    pub(super) fn resolve() -> Result<Self, Failure> {
        if active_has_target() {
            return Ok(Self::Active);
        }
        if succeeds(Command::new("rustup").args(["target", "add", TARGET])) && active_has_target() {
            return Ok(Self::Added);
        }
        let missing = debian_missing();
        if missing.is_empty() {
            return Ok(Self::Debian);
        }
        let found =
            format!("no Rust toolchain for {TARGET}: the active one lacks the target, rustup cannot add it, and of Debian's are missing");
        Err(Failure::new(Exit::Failed, format!("{found} {}", missing.join(", ")))
            .hint(format!("`rustup target add {TARGET}`, or `apt-get install rustc-web cargo-web rust-web-src lld-22`")))
    }

    /// Which it is, in words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Active => "the active toolchain, which has wasm32-unknown-unknown",
            Self::Added => "the active toolchain, to which rustup has added wasm32-unknown-unknown",
            Self::Debian => "Debian's rustc and wasm-ld-22, which build the standard library first",
        }
    }

    /// `cargo build --release` for the target, to be completed by the caller.
    pub(super) fn cargo_build(self) -> Command {
        let mut cargo = Command::new(if self == Self::Debian { DEBIAN_CARGO } else { "cargo" });
        cargo.args(["build", "--release", "--target", TARGET]);
        if self == Self::Debian {
            cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER).env("PATH", debian_path());
        }
        cargo
    }
}

/// rustup prints the folder whether or not the target is installed: only the folder itself tells.
fn active_has_target() -> bool {
    printed(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET])).is_some_and(|dir| dir.is_dir())
}

/// What of Debian's toolchain is not there, as names of packages.
fn debian_missing() -> Vec<&'static str> {
    let there = |path: &str| Path::new(path).is_file();
    let needs = [
        ("rustc-web", there(DEBIAN_RUSTC)),
        ("cargo-web", there(DEBIAN_CARGO)),
        ("lld-22", there(DEBIAN_LINKER)),
        ("rust-web-src", has_sources()),
    ];
    needs.into_iter().filter(|(_, there)| !there).map(|(package, _)| package).collect()
}

fn has_sources() -> bool {
    let of_sysroot = printed(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]))
        .is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library").is_dir());
    let entries = std::fs::read_dir(DEBIAN_SOURCES).into_iter().flatten().flatten();
    of_sysroot
        || entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("rustc-"))
            .any(|entry| entry.path().join("library").is_dir())
}

/// rustup's wrappers must not come before Debian's programs, which call each other by name.
fn debian_path() -> OsString {
    let mut path = OsString::from("/usr/bin");
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn printed(command: &mut Command) -> Option<PathBuf> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(command: &Command) -> Vec<&str> {
        command.get_args().filter_map(|argument| argument.to_str()).collect()
    }

    #[test]
    fn every_toolchain_compiles_for_the_same_target() {
        for toolchain in [Toolchain::Active, Toolchain::Added, Toolchain::Debian] {
            assert_eq!(arguments(&toolchain.cargo_build())[..4], ["build", "--release", "--target", TARGET], "{toolchain:?}");
        }
    }

    #[test]
    fn debians_programs_come_before_rustups_and_build_the_standard_library() {
        let cargo = Toolchain::Debian.cargo_build();
        assert_eq!(cargo.get_program(), DEBIAN_CARGO);
        assert!(arguments(&cargo).contains(&"-Zbuild-std=std,panic_abort"));
        let path = cargo.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).expect("it is set");
        assert!(path.to_string_lossy().starts_with("/usr/bin"), "{path:?}");
        assert_eq!(Toolchain::Active.cargo_build().get_envs().count(), 0, "the active one is left as it is");
    }

    #[test]
    fn a_program_that_fails_has_printed_nothing() {
        assert_eq!(printed(&mut Command::new("false")), None);
        assert_eq!(printed(Command::new("echo").arg("/usr")), Some(PathBuf::from("/usr")));
        assert_eq!(printed(&mut Command::new("/no/such/program")), None);
    }
}
