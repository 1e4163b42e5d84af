//! What the figures were measured on. Without it they mean nothing.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
    time::Duration,
};

use hookyard::clock::Clock;

use crate::{folders::Folders, lengths::median};

/// Syncs of the probe.
const SYNCS: usize = 200;

/// The machine, the build and the day.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// `YYYY-MM-DD`, UTC.
    pub(crate) date: String,
    /// The processor's model.
    pub(crate) cpu: String,
    /// Cores this process may use.
    pub(crate) cores: usize,
    memory: String,
    kernel: String,
    commit: String,
    disk: String,
    load: String,
    versions: Vec<String>,
}

impl Machine {
    /// Looks around.
    pub(crate) fn look(folders: &Folders, clock: &Clock) -> anyhow::Result<Self> {
        Ok(Self {
            date: clock.now().to_string().chars().take(10).collect(),
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            memory: field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned()),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            commit: commit(folders.repository()),
            disk: disk(&folders.scratch()?, clock)?,
            load: load(),
            versions: [("rustc", "-V"), ("python3", "-V"), ("node", "-v")].iter().filter_map(|(tool, flag)| version(tool, flag)).collect(),
        })
    }

    /// A short name for a folder: `amd-epyc-2-cores`.
    pub(crate) fn slug(&self) -> String {
        let words: Vec<_> = self.cpu.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).take(4).collect();
        format!("{}-{}-cores", words.join("-").to_ascii_lowercase(), self.cores)
    }

    /// Whether our code was compiled without optimisation, which no figure survives.
    #[expect(clippy::unused_self, reason = "the build is part of what was looked at")]
    pub(crate) fn is_unoptimised(&self) -> bool {
        env!("BENCH_OPT_LEVEL") == "0"
    }

    /// The lines of the report.
    pub(crate) fn lines(&self) -> Vec<String> {
        vec![
            format!("{}, {} cores, {} memory, Linux {}", self.cpu, self.cores, self.memory, self.kernel),
            format!("runnable tasks before the start, average of a minute: {}", self.load),
            format!("disk of the ledger: {}", self.disk),
            format!("{}; our code at `opt-level = {}`, dependencies at 3", self.versions.join(", "), env!("BENCH_OPT_LEVEL")),
            format!("commit {}, {}", self.commit, self.date),
        ]
    }
}

/// The value of the first line `name : value`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// What else the machine was doing: on a busy one, the figures are the neighbours' too.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

fn version(tool: &str, flag: &str) -> Option<String> {
    let said = stdout(Command::new(tool).arg(flag))?;
    Some(if said.starts_with('v') { format!("{tool} {said}") } else { said })
}

fn commit(repository: &Path) -> String {
    let git = |arguments: &[&str]| stdout(Command::new("git").arg("-C").arg(repository).args(arguments));
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty());
    if changed { format!("{hash} with changes") } else { hash }
}

fn stdout(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The file system and what a sync costs on it: durable figures follow from this more than from any code.
fn disk(folder: &Path, clock: &Clock) -> anyhow::Result<String> {
    let folder = folder.canonicalize()?;
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let on = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        folder.starts_with(point).then(|| (point.len(), kind.to_owned()))
    };
    let kind = mounts.lines().filter_map(on).max().map_or_else(|| "unknown".to_owned(), |(_, kind)| kind);
    let sync = sync_cost(&folder, clock)?;
    Ok(format!("{kind}, {:.0} µs for a write of 4 KiB and its fdatasync (median of {SYNCS})", sync.as_secs_f64() * 1e6))
}

fn sync_cost(folder: &Path, clock: &Clock) -> anyhow::Result<Duration> {
    let mut file: File = tempfile::tempfile_in(folder)?;
    let mut costs = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = clock.instant();
        file.write_all(&[0xa5; 4096])?;
        file.sync_data()?;
        costs.push(clock.instant().saturating_duration_since(began).as_secs_f64());
    }
    Ok(Duration::from_secs_f64(median(costs)))
}
