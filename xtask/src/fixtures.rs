//! GitHub's published example payloads: npm `@octokit/webhooks-examples`, one version, checked by its hash.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

use crate::{say, succeed};

const PACKAGE: &str = "@octokit/webhooks-examples@7.6.1";
const SHA256: &str = "09d8f0c617876ae9dad22e26fea5510bfcaad50ee7e602659f6db25b87b25815";

/// Fetches the examples to `target/fixtures/webhooks-examples`, unless they are there. False, and a word, where npm is not.
pub(crate) fn fetch(root: &Path) -> anyhow::Result<bool> {
    let folder = root.join("target/fixtures/webhooks-examples");
    let index = folder.join("api.github.com/index.json");
    if !index.is_file() {
        let npm = Command::new("npm").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !npm.is_ok_and(|status| status.success()) {
            say(&format!("skipped: npm is not here, so the tests over the payloads of {PACKAGE} do not run"));
            return Ok(false);
        }
        fs::create_dir_all(&folder)?;
        succeed(Command::new("npm").args(["pack", "--silent", PACKAGE]).current_dir(&folder).stdout(Stdio::null()))?;
        let archive = "octokit-webhooks-examples-7.6.1.tgz";
        succeed(Command::new("tar").args(["xzf", archive, "--strip-components=1"]).current_dir(&folder))?;
    }
    let sum = Command::new("sha256sum").arg(&index).output().context("sha256sum does not start")?;
    let found = String::from_utf8_lossy(&sum.stdout);
    let found = found.split_whitespace().next().unwrap_or_default();
    ensure!(found == SHA256, "{} has the hash {found}; expected {SHA256}. Remove the folder and run again", index.display());
    Ok(true)
}
