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

use serde_json::Value;

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

    /// `cargo build --release` for the target, to be completed by the caller; with the flags of the compiler that somebody has set already.
    pub(super) fn cargo_build(self, paths: &Paths, flags: Option<&str>) -> Command {
        let is_debians = self.origin == Origin::Debian;
        let mut cargo = Command::new(if is_debians { DEBIAN_CARGO } else { "cargo" });
        cargo.args(["build", "--release", "--target", self.target.triple()]);
        let told: Vec<&str> = flags.unwrap_or_default().split_ascii_whitespace().collect();
        let remapped = paths.flags();
        let all: Vec<&str> = told.into_iter().chain(remapped.iter().map(String::as_str)).collect();
        cargo.env("CARGO_ENCODED_RUSTFLAGS", all.join("\u{1f}"));
        if is_debians {
            cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER).env("PATH", debian_path());
        }
        cargo
    }
}

/// The folders a compiler would write into the component, each with the name that is written instead: where somebody's files lie is nobody
/// else's business, and the same source gives the same bytes wherever it is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Paths(Vec<(PathBuf, String)>);

impl Paths {
    /// The folders of a project: of each package that lies here, of cargo's downloads, of the compiler.
    pub(super) fn of(project: &Path) -> Self {
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = std::env::home_dir();
        let cargo_home = cargo_home.or_else(|| home.as_ref().map(|home| home.join(".cargo")));
        let wide = home.map(|home| (home, "/home".to_owned())).into_iter().chain(cargo_home.map(|dir| (dir, "/cargo".to_owned())));
        let mut metadata = Command::new("cargo");
        metadata.args(["metadata", "--format-version", "1", "--quiet"]).current_dir(project);
        let output = metadata.stdin(Stdio::null()).stderr(Stdio::null()).output();
        let packages = output.ok().and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok()).map(|value| local(&value));
        // Of several that fit, the compiler takes the last.
        Self(wide.chain(packages.unwrap_or_default()).collect())
    }

    fn flags(&self) -> Vec<String> {
        self.0.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect()
    }
}

/// Name and folder of each package that has no source: it lies here.
fn local(metadata: &Value) -> Vec<(PathBuf, String)> {
    let packages = metadata["packages"].as_array().into_iter().flatten().filter(|package| package["source"].is_null());
    let named = packages.filter_map(|package| {
        let folder = Path::new(package["manifest_path"].as_str()?).parent()?.to_owned();
        Some((folder, format!("/{}", package["name"].as_str()?)))
    });
    named.collect()
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
            let cargo = Toolchain { target: Target::Bare, origin }.cargo_build(&Paths::default(), None);
            assert_eq!(arguments(&cargo)[..4], ["build", "--release", "--target", "wasm32-unknown-unknown"], "{origin:?}");
        }
        let wasi = Toolchain { target: Target::Wasi, origin: Origin::Active };
        assert!(wasi.makes_components() && arguments(&wasi.cargo_build(&Paths::default(), None)).contains(&"wasm32-wasip2"));
    }

    #[test]
    fn debians_programs_come_before_rustups_and_build_the_standard_library() {
        let cargo = Toolchain { target: Target::Bare, origin: Origin::Debian }.cargo_build(&Paths::default(), None);
        assert_eq!(cargo.get_program(), DEBIAN_CARGO);
        assert!(arguments(&cargo).contains(&"-Zbuild-std=std,panic_abort"));
        let path = cargo.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).expect("it is set");
        assert!(path.to_string_lossy().starts_with("/usr/bin"), "{path:?}");
        let active = Toolchain { target: Target::Bare, origin: Origin::Active };
        let names: Vec<_> = active.cargo_build(&Paths::default(), None).get_envs().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["CARGO_ENCODED_RUSTFLAGS"], "the active one is left as it is but for the flags");
    }

    #[test]
    fn the_places_of_packages_are_written_as_their_names_beside_the_flags_somebody_set() {
        let metadata = serde_json::json!({"packages": [
            {"name": "sizes", "source": null, "manifest_path": "/places/mine/sizes/Cargo.toml"},
            {"name": "serde", "source": "registry+https://example.org", "manifest_path": "/places/cargo/serde/Cargo.toml"},
        ]});
        let paths = Paths(local(&metadata));
        assert_eq!(paths.flags(), ["--remap-path-prefix=/places/mine/sizes=/sizes"]);
        let cargo = Toolchain { target: Target::Bare, origin: Origin::Active }.cargo_build(&paths, Some("-C debuginfo=1"));
        let flags = cargo.get_envs().find(|(name, _)| *name == "CARGO_ENCODED_RUSTFLAGS").and_then(|(_, value)| value).unwrap();
        assert_eq!(flags.to_string_lossy(), "-C\u{1f}debuginfo=1\u{1f}--remap-path-prefix=/places/mine/sizes=/sizes");
    }

    #[test]
    fn a_program_that_fails_has_printed_nothing() {
        assert_eq!(printed(&mut Command::new("false")), None);
        assert_eq!(printed(Command::new("echo").arg("/usr")), Some(PathBuf::from("/usr")));
        assert_eq!(printed(&mut Command::new("/no/such/program")), None);
    }
}
