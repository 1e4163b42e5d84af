//! What GitHub publishes about itself, from npm: example payloads and the description of its REST API, each one version, checked by its hash.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

use crate::{say, succeed};

/// One file of one package.
struct Fixture {
    package: &'static str,
    /// What `npm pack` calls it.
    archive: &'static str,
    /// Its folder in `target/fixtures`.
    folder: &'static str,
    /// The file in the archive, below `package/`; unpacked without the first `depth - 1` folders.
    file: &'static str,
    depth: u8,
    sha256: &'static str,
}

const FIXTURES: [Fixture; 2] = [
    Fixture {
        package: "@octokit/webhooks-examples@7.6.1",
        archive: "octokit-webhooks-examples-7.6.1.tgz",
        folder: "webhooks-examples",
        file: "api.github.com/index.json",
        depth: 1,
        sha256: "09d8f0c617876ae9dad22e26fea5510bfcaad50ee7e602659f6db25b87b25815",
    },
    Fixture {
        package: "@octokit/openapi@23.0.2",
        archive: "octokit-openapi-23.0.2.tgz",
        folder: "openapi",
        file: "generated/api.github.com.json",
        depth: 2,
        sha256: "829b4bebb19a53133289f7b0bc819f4f1118115821db2ca9f25e9ee995a7da2a",
    },
];

/// Fetches them to `target/fixtures`, unless they are there. False, and a word, where npm is not.
pub(crate) fn fetch(root: &Path) -> anyhow::Result<bool> {
    for fixture in &FIXTURES {
        let folder = root.join("target/fixtures").join(fixture.folder);
        let file = folder.join(fixture.unpacked());
        if !file.is_file() {
            let npm = Command::new("npm").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !npm.is_ok_and(|status| status.success()) {
                say(&format!("skipped: npm is not here, so the tests against {} do not run", fixture.package));
                return Ok(false);
            }
            fixture.unpack(&folder)?;
        }
        let sum = Command::new("sha256sum").arg(&file).output().context("sha256sum does not start")?;
        let found = String::from_utf8_lossy(&sum.stdout);
        let found = found.split_whitespace().next().unwrap_or_default();
        ensure!(found == fixture.sha256, "{} has the hash {found}; expected {}. Remove it and run again", file.display(), fixture.sha256);
    }
    Ok(true)
}

impl Fixture {
    fn unpack(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        succeed(Command::new("npm").args(["pack", "--silent", self.package]).current_dir(folder).stdout(Stdio::null()))?;
        let (depth, file) = (format!("--strip-components={}", self.depth), format!("package/{}", self.file));
        succeed(Command::new("tar").args(["xzf", self.archive, &depth, &file]).current_dir(folder))?;
        // Unpacked, GitHub's description of all its servers takes half a gigabyte; the archive is of no use any more.
        Ok(fs::remove_file(folder.join(self.archive))?)
    }

    /// Where the file is in its folder.
    fn unpacked(&self) -> &'static str {
        (1..self.depth).fold(self.file, |path, _| path.split_once('/').map_or(path, |(_, rest)| rest))
    }
}
