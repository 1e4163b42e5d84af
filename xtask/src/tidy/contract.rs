//! A released contract does not change: plugins were built against it.
//!
//! `wit/releases/SHA256SUMS` has the hash of every released file, in the format of `sha256sum`, which also checks it.

use std::{path::Path, process::Command};

use anyhow::Context as _;

use super::{Finding, tree::Tree};

const RELEASES: &str = "wit/releases/";
const SUMS: &str = "wit/releases/SHA256SUMS";

/// Rule (j).
pub(super) fn check(root: &Path, tree: &Tree, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let unlisted = unlisted(tree);
    if tree.get(SUMS).is_some() {
        let checked = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(root.join(RELEASES))
            .output()
            .context("cannot run sha256sum")?;
        if !checked.status.success() {
            let words = String::from_utf8_lossy(&checked.stdout).trim().replace('\n', "; ");
            findings.push(Finding::new(
                SUMS,
                1,
                "contract",
                format!("a released file changed ({words}); put it back, and release a new version"),
            ));
        }
    }
    findings.extend(unlisted.into_iter().map(|path| {
        Finding::new(path, 1, "contract", format!("is not in {SUMS}; add its line when the version is released, and never after"))
    }));
    Ok(())
}

/// Released files without a line in the sums.
fn unlisted(tree: &Tree) -> Vec<&str> {
    let sums = tree.get(SUMS).map(|file| file.text.as_str()).unwrap_or_default();
    let is_listed =
        |path: &str| sums.lines().any(|line| line.split_once("  ").is_some_and(|(_, name)| Some(name) == path.strip_prefix(RELEASES)));
    tree.files().map(|(path, _)| path).filter(|path| path.starts_with(RELEASES) && *path != SUMS && !is_listed(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_file_without_its_hash_is_found() {
        let files = [
            (SUMS, "00  0.1.0/plugin.wit\n"),
            ("wit/releases/0.1.0/plugin.wit", ""),
            ("wit/releases/0.1.0/kv.wit", ""),
            ("wit/plugin.wit", ""),
        ];
        let tree = Tree::of(files.map(|(path, text)| (path.to_owned(), text.to_owned())));
        assert_eq!(unlisted(&tree), ["wit/releases/0.1.0/kv.wit"]);
    }
}
