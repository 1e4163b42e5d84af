//! The servers under test, each a process group of its own: started, looked at through `/proc`, ended with everything it started.
//!
//! uvicorn's workers are children of children, so memory and CPU time are summed over the group, and the group is what gets the signal.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use hookyard::clock::Clock;
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a server may take to end after SIGTERM.
const STOP_MAX: Duration = Duration::from_mins(1);
/// How often a starting or ending process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Clock ticks a second in `/proc/PID/stat`: fixed at 100 by the kernel's interface on every architecture we build for (proc(5), `USER_HZ`).
const TICKS_PER_S: u64 = 100;
const PAGE_BYTES: u64 = 4096;

/// A running server. Dropping it kills its group.
pub(crate) struct Server {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

/// What `/proc` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    group: u32,
    ticks: u64,
    resident_pages: u64,
}

impl Server {
    /// Starts a command; what it says goes to `log`.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = fs::File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("{name} cannot be started: {}", command.get_program().display()))?;
        Ok(Self { child, name, log: log.to_owned() })
    }

    /// Waits until `address` takes connections.
    pub(crate) async fn listening(&mut self, address: SocketAddr, patience: Duration, clock: &Clock) -> anyhow::Result<()> {
        let deadline = clock.instant() + patience;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            self.must_run()?;
            if clock.instant() > deadline {
                bail!("{} does not listen on {address} after {patience:?}; it said:\n{}", self.name, self.last_words());
            }
            clock.sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Fails where the server has ended by itself.
    pub(crate) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status}); it said:\n{}", self.name, self.last_words()),
        }
    }

    /// SIGTERM to the group, and waits for the end of its leader.
    pub(crate) async fn stop(mut self, clock: &Clock) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let deadline = clock.instant() + STOP_MAX;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if clock.instant() > deadline {
                bail!("{} has not ended {STOP_MAX:?} after SIGTERM; it said:\n{}", self.name, self.last_words());
            }
            clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Resident memory of the group, in bytes. Pages that its processes share count once for each.
    pub(crate) fn resident_bytes(&self) -> u64 {
        group_stats(self.child.id()).map(|stat| stat.resident_pages * PAGE_BYTES).sum()
    }

    /// Descriptors the leader of the group has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// CPU time the group has used since it started.
    pub(crate) fn cpu_time(&self) -> Duration {
        ticks(group_stats(self.child.id()).map(|stat| stat.ticks).sum())
    }

    /// The end of what the server said.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process_group(group, signal).with_context(|| format!("{} cannot be signalled", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A leader that was waited for may have left children behind; where all are gone there is nobody to signal.
        drop(self.signal(Signal::KILL));
        drop(self.child.wait());
    }
}

/// CPU time this process has used since it started.
pub(crate) fn own_cpu_time() -> Duration {
    ticks(fs::read_to_string("/proc/self/stat").ok().and_then(|text| parse_stat(&text)).map_or(0, |stat| stat.ticks))
}

/// An address that nobody listened on a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / TICKS_PER_S)
}

fn group_stats(group: u32) -> impl Iterator<Item = Stat> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = processes.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let stats = numbered.filter_map(|entry| parse_stat(&fs::read_to_string(entry.path().join("stat")).ok()?));
    stats.filter(move |stat| stat.group == group)
}

/// Reads a line of proc(5) `/proc/PID/stat`. The name stands in parentheses and may hold some itself, so fields are counted after the last.
fn parse_stat(line: &str) -> Option<Stat> {
    let fields: Vec<_> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat { group: u32::try_from(number(2)?).ok()?, ticks: number(11)? + number(12)?, resident_pages: number(21)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_a_name_with_parentheses_and_spaces() {
        let line = "7 (a (b) c) S 1 42 42 0 -1 4194560 0 0 0 0 150 50 0 0 20 0 1 0 100 1000000 321 184467 1 1 0";
        assert_eq!(parse_stat(line), Some(Stat { group: 42, ticks: 200, resident_pages: 321 }));
        assert_eq!(parse_stat("7 (short) S 1 42"), None);
    }

    #[tokio::test]
    async fn a_server_is_seen_with_its_children_and_ended_with_them() {
        let (clock, dir) = (Clock::system(), tempfile::tempdir().unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 60 & echo $!; wait"]);
        let server = Server::start("shell", &mut shell, &dir.path().join("log")).unwrap();
        let group = server.child.id();
        while group_stats(group).count() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(server.resident_bytes() > 0);
        assert!(server.open_files() >= 3, "standard input, output and error");
        server.stop(&clock).await.unwrap();
        assert!(group_stats(group).all(|stat| stat.resident_pages == 0), "a child lives on");
    }

    #[tokio::test]
    async fn a_server_that_ends_instead_of_listening_is_told_with_its_last_words() {
        let (clock, dir) = (Clock::system(), tempfile::tempdir().unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo no such module >&2; exit 3"]);
        let mut server = Server::start("shell", &mut shell, &dir.path().join("log")).unwrap();
        let error = server.listening(free_address().unwrap(), Duration::from_secs(30), &clock).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such module"), "{error}");
    }
}
