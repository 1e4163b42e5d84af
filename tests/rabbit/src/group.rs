//! A process and all its descendants, which end together, and at the latest when this process ends.
//!
//! `rabbitmq-server` is a script that starts the broker, and a test can be killed at any moment. So each command is started under a shell that
//! leads a process group and reads from a pipe whose other end is here: when this process is gone, however it went, the read ends and the shell
//! kills the group.

use std::{
    ffi::OsStr,
    fs::File,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};

const GUARD: &str = r#"exec 3<&0; "$@" 0</dev/null 3<&- & read -r end <&3; kill -KILL 0"#;

/// A running group; killed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Child,
    _pipe: ChildStdin,
}

impl Group {
    /// Starts `program` in a group of its own, its words going to `log`.
    pub(crate) fn start<'a>(
        program: &OsStr,
        arguments: &[&str],
        environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
        log: File,
    ) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let mut leader = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(program)
            .args(arguments)
            .envs(environment)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("sh does not start")?;
        let pipe = leader.stdin.take().context("a pipe to the group")?;
        Ok(Self { leader, _pipe: pipe })
    }

    /// Sends a signal to every process of the group.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let group = i32::try_from(self.leader.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process_group(group, signal).with_context(|| format!("{signal:?} to the group {}", self.leader.id()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The group may have ended by itself; then there is nobody to signal and only the leader to be reaped.
        let _ = self.signal(Signal::KILL);
        let _ = self.leader.wait();
    }
}
