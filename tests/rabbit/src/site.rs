//! Where nodes live: a folder, a cookie and a name service of their own, shared by the nodes of a cluster and by nobody else.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::{group::Group, packages::Packages, ports};

/// What folders of sites are called first.
const PREFIX: &str = "hookyard-rabbit-";
/// The file that says which process a site belongs to.
const OWNER: &str = "owner";

/// One place for nodes.
#[derive(Debug)]
pub(crate) struct Site {
    packages: Packages,
    /// Before the folder, so that the name service is gone when the folder goes.
    _names: Group,
    names_port: u16,
    dir: TempDir,
}

impl Site {
    pub(crate) fn open(packages: Packages) -> anyhow::Result<Self> {
        sweep();
        let dir = TempDir::with_prefix(PREFIX).context("a folder for RabbitMQ")?;
        fs::write(dir.path().join(OWNER), std::process::id().to_string())?;
        let names_port = ports::free()?;
        let log = File::create(dir.path().join("epmd.log"))?;
        let arguments = ["-port", &names_port.to_string(), "-address", "127.0.0.1"];
        let names = Group::start(packages.program("epmd").as_os_str(), &arguments, [], log)?;
        Ok(Self { packages, _names: names, names_port, dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn script(&self, name: &str) -> PathBuf {
        self.packages.script(name)
    }

    /// What every program of this site needs to know; the home holds the cookie.
    pub(crate) fn environment(&self, node: &str) -> Vec<(&'static str, OsString)> {
        vec![
            ("HOME", self.path().as_os_str().to_owned()),
            ("PATH", self.packages.search_path()),
            ("ERL_EPMD_PORT", self.names_port.to_string().into()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODENAME", node.into()),
            ("RABBITMQ_CONF_ENV_FILE", self.path().join("none.conf").into()),
            ("LANG", "C.UTF-8".into()),
        ]
    }

    /// Runs `rabbitmqctl` against a node and gives what it prints.
    pub(crate) fn ctl(&self, node: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(self.script("rabbitmqctl"))
            .args(["--node", node, "--quiet", "--timeout", "60"])
            .args(arguments)
            .envs(self.environment(node))
            .stdin(Stdio::null())
            .output()
            .context("rabbitmqctl does not start")?;
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        ensure!(output.status.success(), "`rabbitmqctl {}`: {}", arguments.join(" "), said.concat());
        Ok(said[0].trim().to_owned())
    }

    /// A file of this site, made with its folder.
    pub(crate) fn write(&self, name: impl AsRef<OsStr>, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path().join(name.as_ref());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Removes the folders of processes that are gone. A process that is killed cannot, and what a test binary shares between its tests is never
/// dropped.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let owner = fs::read_to_string(entry.path().join(OWNER)).ok().and_then(|owner| owner.trim().parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            // Somebody else may be at it, too; what is left is for the next.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_of_a_process_that_is_gone_is_removed_and_one_of_a_living_process_is_not() {
        let site = |owner: &str| {
            let dir = TempDir::with_prefix(PREFIX).unwrap();
            fs::write(dir.path().join(OWNER), owner).unwrap();
            dir
        };
        // No process has the highest number there is.
        let (gone, living) = (site(&i32::MAX.to_string()), site(&std::process::id().to_string()));
        sweep();
        assert!(!gone.path().exists() && living.path().exists());
    }
}
