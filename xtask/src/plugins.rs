//! `cargo xtask plugins`: every plugin of `plugins/` as a component in `target/plugins/`, made by `hookyard plugin build` as anyone's would be.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::{
    cargo,
    progress::{self, Talk},
    toolchain,
};

/// Builds all of them; `root` is the repository.
pub(crate) fn run(root: &Path, talk: Talk) -> anyhow::Result<()> {
    build(root, &found(&root.join("plugins"))?, talk)
}

/// Builds those with these names.
pub(crate) fn run_some(root: &Path, names: &[&str], talk: Talk) -> anyhow::Result<()> {
    let all = found(&root.join("plugins"))?;
    let some: Vec<_> = all.into_iter().filter(|(_, name)| names.contains(&name.as_str())).collect();
    ensure!(some.len() == names.len(), "found {some:?} of {names:?}");
    build(root, &some, talk)
}

fn build(root: &Path, plugins: &[(PathBuf, String)], talk: Talk) -> anyhow::Result<()> {
    toolchain::ensure()?;
    progress::run(cargo().args(["build", "-p", "hookyard"]).current_dir(root), "building the host", talk)?;
    for (number, (dir, name)) in plugins.iter().enumerate() {
        let output = root.join("target/plugins").join(name).with_extension("wasm");
        let mut build = Command::new(root.join("target/debug/hookyard"));
        build.args(["plugin", "build"]).arg(dir).arg("-o").arg(output);
        // Apart from the host's own target folder: two toolchains would wait for each other's lock.
        build.env("CARGO_TARGET_DIR", root.join("target/wasm")).current_dir(root);
        progress::run(&mut build, &format!("building the plugin {name} ({} of {})", number + 1, plugins.len()), talk)?;
    }
    Ok(())
}

/// Folders with a manifest of their own name, in order.
fn found(plugins: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(plugins).with_context(|| format!("cannot read {}", plugins.display()))? {
        let (dir, name) = entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))?;
        if dir.join(format!("{name}.toml")).is_file() {
            found.push((dir, name));
        }
    }
    ensure!(!found.is_empty(), "found no NAME/NAME.toml in {}", plugins.display());
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_manifest_of_its_name_is_a_plugin() {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
        let names: Vec<String> = found(&plugins).unwrap().into_iter().map(|(_, name)| name).collect();
        assert!(names.len() >= 14 && names.is_sorted(), "{names:?}");
        assert!(names.contains(&"pr-size".to_owned()), "{names:?}");
        let error = found(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err();
        assert!(error.to_string().contains("NAME.toml"), "{error}");
    }

    #[test]
    fn a_plugin_that_is_not_there_is_told_before_anything_is_built() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(run_some(&root, &["pr-size", "pr-sise"], Talk::Brief).is_err());
    }
}
