//! `plugin build`: cargo makes the core module, the component is made of it in this process, and both files land whole or not at all.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use wit_component::ComponentEncoder;

use super::{
    super::{
        exit::{Exit, Failure},
        output::say,
        read_bounded,
    },
    refused,
    toolchain::Toolchain,
};
use crate::{catalog, delivery::PluginName, runtime::Runtime};

/// The arguments of `plugin build`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The plugin's crate: a folder with `Cargo.toml` and `NAME.toml`
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The component; by default `NAME.wasm` in the crate's folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Builds; nothing is written unless the manifest is valid and the component can be read. The whole admission is `plugin run`'s.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let name = package_name(&args.dir)?;
    let manifest = read_manifest(&args.dir, &name)?;
    let toolchain = Toolchain::resolve()?;
    say(&format!("compiling {name} with {}", toolchain.describe()));
    let core = read_bounded(&compile(toolchain, &args.dir, &name)?)?;
    let component = componentise(&core)?;
    let report = Runtime::inspect(&component).map_err(|error| refused(&error))?;
    let file = args.output.clone().unwrap_or_else(|| args.dir.join(format!("{name}.wasm")));
    // The host looks when files have been quiet for a while: the manifest first, so that a new component never meets an old one.
    write_whole(&file.with_extension("toml"), &manifest)?;
    write_whole(&file, &component)?;
    say(&format!("wrote {}: {} bytes, {}", file.display(), report.component_bytes, report.world));
    Ok(())
}

/// The crate's name, which is the plugin's.
fn package_name(dir: &Path) -> Result<PluginName, Failure> {
    let file = dir.join("Cargo.toml");
    let invalid = |problem: String| Failure::new(Exit::ConfigInvalid, format!("{}: {problem}", file.display()));
    let text = String::from_utf8(read_bounded(&file)?).map_err(|error| invalid(error.to_string()))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    let name = table.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let name = name.ok_or_else(|| invalid("it has no `package.name`; name the folder of one plugin's crate".to_owned()))?;
    name.parse().map_err(|error| invalid(format!("`package.name` is the plugin's name too, and {error}")))
}

fn read_manifest(dir: &Path, name: &PluginName) -> Result<Vec<u8>, Failure> {
    let file = dir.join(format!("{name}.toml"));
    let hint = "a manifest names at least `sources` and `events`";
    let bytes = read_bounded(&file).map_err(|failure| failure.hint(hint))?;
    catalog::parse_manifest(&bytes)
        .map_err(|problems| Failure::new(Exit::ConfigInvalid, format!("{}: {problems}", file.display())).hint(hint))?;
    Ok(bytes)
}

/// Runs cargo, and finds the core module where cargo says it is: the target folder can be anywhere.
fn compile(toolchain: Toolchain, dir: &Path, name: &PluginName) -> Result<PathBuf, Failure> {
    let mut command = toolchain.cargo_build();
    command.args(["--lib", "--message-format", "json-render-diagnostics"]).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut cargo = command.spawn().map_err(|error| Failure::new(Exit::Failed, format!("cargo does not start: {error}")))?;
    let mut module = None;
    for line in cargo.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        module = module_of(&line?, name.as_str()).or(module);
    }
    if !cargo.wait()?.success() {
        return Err(Failure::new(Exit::Failed, format!("{name} does not compile; cargo said why")));
    }
    module.ok_or_else(|| {
        Failure::new(Exit::Failed, format!("{name} compiles, but not to WebAssembly")).hint("`[lib] crate-type = [\"cdylib\", \"rlib\"]`")
    })
}

/// The module a line of cargo's tells of, if it is of this crate. Cargo writes a library's name with `_`.
fn module_of(line: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let ours = message["reason"] == "compiler-artifact" && message["target"]["name"].as_str()?.replace('-', "_") == name.replace('-', "_");
    let files = message["filenames"].as_array().filter(|_| ours)?;
    files.iter().filter_map(Value::as_str).map(PathBuf::from).find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

fn componentise(core: &[u8]) -> Result<Vec<u8>, Failure> {
    let encode = || ComponentEncoder::default().module(core)?.validate(true).encode();
    encode().map_err(|error| {
        Failure::new(Exit::Failed, format!("the module does not become a component: {error:#}"))
            .hint("does the crate say `hookyard_sdk::plugin!(handle)`?")
    })
}

/// Writes beside, then renames: who watches the folder sees the old file or the new one.
fn write_whole(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", file.display()));
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed)?;
    let mut beside = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    beside.write_all(bytes).and_then(|()| beside.as_file().sync_all()).map_err(failed)?;
    // A temporary file is its owner's only; a host under another user has to read this one.
    beside.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(failed)?;
    beside.persist(file).map(drop).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(cargo: &str, manifest: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Cargo.toml"), cargo).unwrap();
        if let Some(manifest) = manifest {
            fs::write(dir.path().join("sizes.toml"), manifest).unwrap();
        }
        dir
    }

    #[test]
    fn the_plugin_has_the_name_of_its_crate() {
        let dir = crate_of("[package]\nname = \"sizes\"\n", None);
        assert_eq!(package_name(dir.path()).unwrap().as_str(), "sizes");
        let failure = package_name(crate_of("[workspace]\n", None).path()).unwrap_err();
        assert!(failure.message.contains("package.name"), "{failure}");
        let failure = package_name(crate_of("[package]\nname = \"Sizes!\"\n", None).path()).unwrap_err();
        assert_eq!(failure.exit, Exit::ConfigInvalid);
    }

    #[test]
    fn a_manifest_a_host_would_refuse_is_not_built() {
        let name: PluginName = "sizes".parse().unwrap();
        let cargo = "[package]\nname = \"sizes\"\n";
        assert!(read_manifest(crate_of(cargo, Some("sources = [\"github\"]\nevents = [\"push\"]\n")).path(), &name).is_ok());
        let failure = read_manifest(crate_of(cargo, Some("sources = [\"github\"]\nevents = []\n")).path(), &name).unwrap_err();
        assert_eq!(failure.exit, Exit::ConfigInvalid);
        assert!(failure.message.contains("events"), "{failure}");
        let failure = read_manifest(crate_of(cargo, None).path(), &name).unwrap_err();
        assert!(failure.message.contains("sizes.toml") && failure.hint.is_some(), "{failure}");
    }

    #[test]
    fn the_module_is_the_one_of_this_crate() {
        let line = |name: &str, file: &str| {
            serde_json::json!({"reason": "compiler-artifact", "target": {"name": name}, "filenames": ["/t/libx.rlib", file]}).to_string()
        };
        assert_eq!(module_of(&line("pr_size", "/t/pr_size.wasm"), "pr-size"), Some(PathBuf::from("/t/pr_size.wasm")));
        assert_eq!(module_of(&line("pr-size", "/t/pr_size.wasm"), "pr-size"), Some(PathBuf::from("/t/pr_size.wasm")));
        assert_eq!(module_of(&line("serde", "/t/serde.wasm"), "pr-size"), None);
        assert_eq!(module_of(&line("pr_size", "/t/libpr_size.so"), "pr-size"), None);
        assert_eq!(module_of("not json", "pr-size"), None);
    }

    #[test]
    fn what_is_no_whole_module_does_not_become_a_component() {
        let failure = componentise(b"\0asm\x01\0\0").unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
    }

    #[test]
    fn a_file_is_replaced_whole_and_readable_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/sizes.wasm");
        write_whole(&file, b"one").unwrap();
        write_whole(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }
}
