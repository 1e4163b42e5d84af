//! A plugin in Python: componentize-py puts the modules and an interpreter into one component.
//!
//! `pyproject.toml` names the interfaces it imports (`[tool.hookyard] imports = ["log", "emit"]`): a Python source does not tell them apart
//! from any other module's.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::{
        exit::{Exit, Failure},
        output::say,
        read_bounded,
    },
    contract,
    project::Project,
    tool,
};

/// The component of the project's module `handler`. Dropping the future ends the compiler.
pub(super) async fn component(project: &Project) -> Result<Vec<u8>, Failure> {
    let imports = imports(&project.build)?;
    let compiler = [".venv/bin", "venv/bin"].iter().map(|bin| project.dir.join(bin).join("componentize-py")).find(|file| file.is_file());
    let compiler = compiler.and_then(|file| file.canonicalize().ok()).or_else(|| tool::in_path("componentize-py")).ok_or_else(|| {
        Failure::new(Exit::Failed, "Python is compiled by componentize-py, which is not here")
            .hint("`python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1` in the plugin's folder brings it")
    })?;
    let scratch = tempfile::tempdir()?;
    contract::write(scratch.path(), &imports)?;
    let output = scratch.path().join("component.wasm");
    say(&format!("compiling {} with {}", project.name, compiler.display()));
    let mut command = tokio::process::Command::new(compiler);
    command.arg("--wit-path").arg(scratch.path().join(contract::FILE)).args([
        "--world",
        contract::WORLD,
        "--quiet",
        "componentize",
        "handler",
        "--output",
    ]);
    tool::run(command.arg(&output).current_dir(&project.dir)).await?;
    read_bounded(&output)
}

fn imports(build: &Value) -> Result<BTreeSet<String>, Failure> {
    let list = build.pointer("/tool/hookyard/imports").and_then(Value::as_array);
    let list = list.map(|list| list.iter().filter_map(Value::as_str).collect::<Vec<_>>()).unwrap_or_default();
    // Each name once more behind a prefix, so that the contract is asked as for any other source.
    contract::named_after("imports ", &format!("imports {}", list.join(" imports ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_imports_are_those_the_project_names() {
        let found = |text: &str| imports(&toml::from_str(text).unwrap());
        let named = found("[tool.hookyard]\nimports = [\"log\", \"emit\"]\n").unwrap();
        assert_eq!(named.iter().map(String::as_str).collect::<Vec<_>>(), ["emit", "log"]);
        assert!(found("[project]\n").unwrap().is_empty());
        assert!(found("[tool.hookyard]\nimports = [\"files\"]\n").unwrap_err().message.contains("files"));
    }
}
