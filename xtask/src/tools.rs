//! Compilers of other languages for the tests: from npm and PyPI into `target/tools`, never anywhere else on the machine.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{say, succeed};

const JCO: &str = "1.35.0";
const COMPONENTIZE_PY: &str = "0.25.1";

/// Fetches what is missing, says what cannot be had, and gives the path with what can: the tests look for the compilers there.
pub(crate) fn path_with_compilers(root: &Path) -> OsString {
    let tools = root.join("target/tools");
    // A folder for each version: what an older checkout fetched into a shared folder is not taken for what this one asks for. The folder's real
    // place, because Python writes it into its programs.
    let tools = tools.canonicalize().unwrap_or(tools);
    let (node, python) = (tools.join(format!("jco-{JCO}")), tools.join(format!("componentize-py-{COMPONENTIZE_PY}")));
    let (jco, componentize_py) = (node.join("node_modules/.bin"), python.join("bin"));
    if !jco.join("jco").is_file() {
        let package = format!("@bytecodealliance/jco@{JCO}");
        fetch("JavaScript", || {
            succeed(Command::new("npm").args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&node).arg(package))
        });
    }
    if !componentize_py.join("componentize-py").is_file() {
        fetch("Python", || {
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
            succeed(Command::new(componentize_py.join("pip")).args(["install", "--quiet", &format!("componentize-py=={COMPONENTIZE_PY}")]))
        });
    }
    // rustup adds the target, where it is there and reaches its servers; the test over it skips in words otherwise.
    let _ = Command::new("rustup").args(["target", "add", "wasm32-wasip2"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let mut places: Vec<PathBuf> = vec![jco, componentize_py];
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(places).unwrap_or_else(|_| std::env::var_os("PATH").unwrap_or_default())
}

fn fetch(language: &str, install: impl FnOnce() -> anyhow::Result<()>) {
    say(&format!("fetching the compiler of {language} plugins into target/tools"));
    if let Err(error) = install() {
        say(&format!("skipped: the tests of {language} plugins do not run, because their compiler is not here ({error:#})"));
    }
}
