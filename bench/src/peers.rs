//! The servers Hookyard is measured against: how each is installed and started.
//!
//! Every one starts fresh for its turn, so that none runs beside another and none is measured warmer than the next.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use http::StatusCode;

use crate::{folders::Folders, payload::SECRET};

/// A server that is not Hookyard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// hyper and HMAC in Rust, nothing else.
    Bare,
    /// `FastAPI` on so many uvicorn workers.
    FastApi(u8),
    /// `@octokit/webhooks` on Node.
    Octokit,
}

impl Peer {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 4] = [Self::Bare, Self::FastApi(1), Self::FastApi(2), Self::Octokit];

    /// As the report names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare hyper + HMAC",
            Self::FastApi(1) => "FastAPI, 1 worker",
            Self::FastApi(_) => "FastAPI, 2 workers",
            Self::Octokit => "@octokit/webhooks",
        }
    }

    /// The status of a delivery that was taken.
    pub(crate) fn expected(self) -> StatusCode {
        if self == Self::Octokit { StatusCode::OK } else { StatusCode::ACCEPTED }
    }

    /// Installs what it needs. The error says what is missing; the report carries it and the others go on.
    pub(crate) fn install(self, folders: &Folders) -> anyhow::Result<()> {
        match self {
            Self::Bare => Ok(()),
            Self::FastApi(_) => install_python(&folders.peer_sources("fastapi"), &folders.peers().join("fastapi")),
            Self::Octokit => install_node(&folders.peer_sources("octokit"), &folders.peers().join("octokit")),
        }
    }

    /// The command that serves on `address`.
    pub(crate) fn command(self, address: SocketAddr, folders: &Folders) -> anyhow::Result<Command> {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let mut command = match self {
            Self::Bare => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["bare-server", "--listen", &address.to_string()]);
                command
            }
            Self::FastApi(workers) => {
                let home = folders.peers().join("fastapi");
                let mut command = Command::new(home.join("venv/bin/uvicorn"));
                command.args(["server:app", "--no-access-log", "--host", &ip, "--port", &port, "--workers", &workers.to_string()]);
                command.current_dir(home);
                command
            }
            Self::Octokit => {
                let mut command = Command::new("node");
                command.arg("server.mjs").current_dir(folders.peers().join("octokit"));
                command
            }
        };
        command.env("BENCH_SECRET", SECRET).env("BENCH_PORT", port).env("NODE_ENV", "production");
        Ok(command)
    }
}

fn install_python(sources: &Path, home: &Path) -> anyhow::Result<()> {
    let Some(stamp) = Stamp::outdated(sources, home, &["requirements.txt", "server.py"])? else { return Ok(()) };
    let venv = home.join("venv");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--no-deps", "-r"]).arg(home.join("requirements.txt")))?;
    stamp.write()
}

fn install_node(sources: &Path, home: &Path) -> anyhow::Result<()> {
    let Some(stamp) = Stamp::outdated(sources, home, &["package.json", "package-lock.json", "server.mjs"])? else { return Ok(()) };
    run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(home))?;
    stamp.write()
}

/// What was installed: the pinned files themselves, written only once the installation is whole.
struct Stamp {
    path: PathBuf,
    contents: String,
}

impl Stamp {
    /// Copies the files to where they run from; none where that very version is installed.
    fn outdated(sources: &Path, home: &Path, files: &[&str]) -> anyhow::Result<Option<Self>> {
        let read = |file: &&str| {
            fs::read_to_string(sources.join(file)).with_context(|| format!("{} cannot be read", sources.join(file).display()))
        };
        let texts = files.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        let stamp = Self { path: home.join("installed"), contents: texts.concat() };
        if fs::read_to_string(&stamp.path).is_ok_and(|installed| installed == stamp.contents) {
            return Ok(None);
        }
        fs::create_dir_all(home)?;
        for (file, text) in files.iter().zip(&texts) {
            fs::write(home.join(file), text)?;
        }
        Ok(Some(stamp))
    }

    fn write(self) -> anyhow::Result<()> {
        fs::write(&self.path, self.contents).with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

/// Runs a command to its end; the error carries what it said.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("`{program}` cannot be run; is it installed?"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program}` failed ({}): {}", output.status, said.trim().lines().last().unwrap_or("it said nothing"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_installed_again_only_when_a_pinned_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (sources, home) = (dir.path().join("sources"), dir.path().join("home"));
        fs::create_dir(&sources).unwrap();
        fs::write(sources.join("pins"), "a==1").unwrap();
        let stamp = Stamp::outdated(&sources, &home, &["pins"]).unwrap().expect("nothing is installed yet");
        assert!(Stamp::outdated(&sources, &home, &["pins"]).unwrap().is_some(), "an installation that broke off counts as done");
        stamp.write().unwrap();
        assert!(Stamp::outdated(&sources, &home, &["pins"]).unwrap().is_none());
        fs::write(sources.join("pins"), "a==2").unwrap();
        assert!(Stamp::outdated(&sources, &home, &["pins"]).unwrap().is_some());
        assert_eq!(fs::read_to_string(home.join("pins")).unwrap(), "a==2");
    }

    #[test]
    fn a_missing_tool_and_a_failing_one_are_told_apart() {
        let missing = run(&mut Command::new("no-such-tool")).unwrap_err();
        assert!(missing.to_string().contains("is it installed?"), "{missing}");
        let failing = run(Command::new("sh").args(["-c", "echo broken >&2; exit 2"])).unwrap_err();
        assert!(failing.to_string().contains("broken"), "{failing}");
    }
}
