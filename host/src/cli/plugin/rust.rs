//! A plugin in Rust: cargo makes the core module, the component is made of it in this process.
//!
//! A crate that wants the standard library over WASI says so, `[package.metadata.hookyard] target = "wasm32-wasip2"`; its linker makes the
//! component, and the host gives it a WASI without power.

use std::{path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use wit_component::ComponentEncoder;

use super::{
    super::{
        exit::{Exit, Failure},
        output::say,
        read_bounded,
    },
    project::Project,
    toolchain::{Paths, Target, Toolchain},
};

/// The component of the project's crate. Dropping the future ends cargo.
pub(super) async fn component(project: &Project) -> Result<Vec<u8>, Failure> {
    let toolchain = Toolchain::resolve(target_of(project)?)?;
    say(&format!("compiling {} with {}", project.name, toolchain.describe()));
    let module = read_bounded(&compile(toolchain, project).await?)?;
    if toolchain.makes_components() { Ok(module) } else { componentise(&module) }
}

fn target_of(project: &Project) -> Result<Target, Failure> {
    match project.setting("/package/metadata/hookyard/target") {
        None | Some("wasm32-unknown-unknown") => Ok(Target::Bare),
        Some("wasm32-wasip2") => Ok(Target::Wasi),
        Some(other) => {
            let found = format!("Cargo.toml: `package.metadata.hookyard.target` is `{other}`");
            Err(Failure::new(Exit::ConfigInvalid, found).hint("wasm32-unknown-unknown or wasm32-wasip2"))
        }
    }
}

/// Runs cargo, and finds the core module where cargo says it is: the target folder can be anywhere.
async fn compile(toolchain: Toolchain, project: &Project) -> Result<PathBuf, Failure> {
    let name = &project.name;
    let flags = std::env::var("RUSTFLAGS").ok();
    let mut command = tokio::process::Command::from(toolchain.cargo_build(&Paths::of(&project.dir), flags.as_deref()));
    command.args(["--lib", "--message-format", "json-render-diagnostics"]).current_dir(&project.dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut cargo = command.spawn().map_err(|error| Failure::new(Exit::Failed, format!("cargo does not start: {error}")))?;
    let mut module = None;
    if let Some(stdout) = cargo.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            module = module_of(&line, name.as_str()).or(module);
        }
    }
    if !cargo.wait().await?.success() {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
