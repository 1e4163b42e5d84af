//! What compiles a plugin: the first Rust toolchain found that can make code for its target.
//!
//! A toolchain without the target is mended by rustup. Where there is no way to rustup's servers, Debian's own packages do for the bare target:
//! their compiler has it and their standard library comes as source, which cargo then builds first (`-Zbuild-std`, for which the compiler wants
//! to be told that it may: `RUSTC_BOOTSTRAP`). WASI's target needs a C library that Debian has only in a version too old.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::super::exit::{Exit, Failure};

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-22";
const DEBIAN_SOURCES: &str = "/usr/src";

/// What a plugin is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// No WASI, so that nothing of the outside is even imported: what plugins are compiled for unless they say otherwise.
    Bare,
    /// WASI 0.2.
    Wasi,
}

/// A toolchain that can compile plugins for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Toolchain {
    target: Target,
    origin: Origin,
}

/// Where a toolchain is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The one that is active has the target.
    Active,
    /// The one that is active has been given the target.
    Added,
    /// Debian's.
    Debian,
}

impl Target {
    /// Its name.
    fn triple(self) -> &'static str {
        match self {
            Self::Bare => "wasm32-unknown-unknown",
            Self::Wasi => "wasm32-wasip2",
        }
    }
}

impl Toolchain {
    /// Finds one; the error names what to install.
    pub(super) fn resolve(target: Target) -> Result<Self, Failure> {
        let triple = target.triple();
        let found = |origin| Ok(Self { target, origin });
        if active_has_target(triple) {
            return found(Origin::Active);
        }
        if succeeds(Command::new("rustup").args(["target", "add", triple])) && active_has_target(triple) {
            return found(Origin::Added);
        }
        let lacking = format!("no Rust toolchain for {triple}: the active one lacks the target, rustup cannot add it");
        if target == Target::Wasi {
            return Err(Failure::new(Exit::Failed, lacking).hint(format!("`rustup target add {triple}`")));
        }
        let missing = debian_missing();
        if missing.is_empty() {
            return found(Origin::Debian);
        }
        Err(Failure::new(Exit::Failed, format!("{lacking}, and of Debian's are missing {}", missing.join(", ")))
            .hint(format!("`rustup target add {triple}`, or `apt-get install rustc-web cargo-web rust-web-src lld-22`")))
    }

    /// Which it is, in words.
    pub(super) fn describe(self) -> String {
        let triple = self.target.triple();
        match self.origin {
            Origin::Active => format!("the active toolchain, which has {triple}"),
            Origin::Added => format!("the active toolchain, to which rustup has added {triple}"),
            Origin::Debian => "Debian's rustc and wasm-ld-22, which build the standard library first".to_owned(),
        }
    }

    /// Whether its linker makes components already.
    pub(super) fn makes_components(self) -> bool {
        self.target == Target::Wasi
    }

    /// `cargo build --release` for the target, to be completed by the caller.
    pub(super) fn cargo_build(self) -> Command {
        let is_debians = self.origin == Origin::Debian;
        let mut cargo = Command::new(if is_debians { DEBIAN_CARGO } else { "cargo" });
        cargo.args(["build", "--release", "--target", self.target.triple()]);
        if is_debians {
            cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER).env("PATH", debian_path());
        }
        cargo
    }
}

/// rustup prints the folder whether or not the target is installed: only the folder itself tells.
fn active_has_target(triple: &str) -> bool {
    printed(Command::new("rustc").args(["--print", "target-libdir", "--target", triple])).is_some_and(|dir| dir.is_dir())
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
        for origin in [Origin::Active, Origin::Added, Origin::Debian] {
            let cargo = Toolchain { target: Target::Bare, origin }.cargo_build();
            assert_eq!(arguments(&cargo)[..4], ["build", "--release", "--target", "wasm32-unknown-unknown"], "{origin:?}");
        }
        let wasi = Toolchain { target: Target::Wasi, origin: Origin::Active };
        assert!(wasi.makes_components() && arguments(&wasi.cargo_build()).contains(&"wasm32-wasip2"));
    }

    #[test]
    fn debians_programs_come_before_rustups_and_build_the_standard_library() {
        let cargo = Toolchain { target: Target::Bare, origin: Origin::Debian }.cargo_build();
        assert_eq!(cargo.get_program(), DEBIAN_CARGO);
        assert!(arguments(&cargo).contains(&"-Zbuild-std=std,panic_abort"));
        let path = cargo.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).expect("it is set");
        assert!(path.to_string_lossy().starts_with("/usr/bin"), "{path:?}");
        let active = Toolchain { target: Target::Bare, origin: Origin::Active };
        assert_eq!(active.cargo_build().get_envs().count(), 0, "the active one is left as it is");
    }

    #[test]
    fn a_program_that_fails_has_printed_nothing() {
        assert_eq!(printed(&mut Command::new("false")), None);
        assert_eq!(printed(Command::new("echo").arg("/usr")), Some(PathBuf::from("/usr")));
        assert_eq!(printed(&mut Command::new("/no/such/program")), None);
    }
}
