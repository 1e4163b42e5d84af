//! The tests of the workspace, in two lanes beside each other: most of them wait more than they compute.
//!
//! A test binary is one process, as under `cargo test`, so what its tests share is made once. One lane has the binaries that need RabbitMQ, the
//! other has the rest. Those that fill the machine, measure what it does or kill what they started come last, alone.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::{cargo, say, succeed, without_this_package};

/// Run alone: they fill the machine, or measure what it does meanwhile.
const ALONE: [&str; 11] = [
    "abuse",
    "bombs",
    "broker_faults",
    "crash",
    "failing_disk",
    "folder",
    "memory",
    "power_cut",
    "walls_cell",
    "walls_door",
    "walls_ledger",
];
/// Run in a lane of their own, the longest first: they start RabbitMQ nodes, or have vhosts of the shared one.
const BROKERS: [&str; 9] =
    ["pipeline_on_rabbitmq", "migrate", "rabbitmq", "forged_legs", "topology", "lapin_defects", "tls", "onlookers", "nodes"];
/// A binary that takes longer is named at the end.
const SLOW_S: u64 = 20;

/// One compiled test binary.
#[derive(Debug)]
struct Binary {
    name: String,
    executable: PathBuf,
    /// Its package's folder, where cargo would run it.
    folder: PathBuf,
}

/// How one has ended.
#[derive(Debug)]
struct Ended {
    name: String,
    seconds: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
    is_well: bool,
}

/// Compiles the tests and runs them, each with `dress` applied to its command; fails where one fails, after all have run.
pub(crate) fn run(root: &Path, dress: impl Fn(&mut Command) + Sync) -> anyhow::Result<()> {
    let (alone, others) = split(compiled(root)?, &ALONE);
    let (brokers, others) = split(others, &BROKERS);
    let ended = Mutex::new(Vec::new());
    let lane = |binaries: Vec<Binary>| -> anyhow::Result<()> {
        for binary in binaries {
            let one = binary.run(&dress)?;
            ended.lock().map_err(|_| anyhow::anyhow!("the other lane has panicked"))?.push(one);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| lane(brokers));
        lane(others).and(beside.join().unwrap_or_else(|_| bail!("the lane of RabbitMQ has panicked")))
    })?;
    lane(alone)?;
    succeed(cargo().args(["test", "--workspace", "--doc", "--quiet"]).current_dir(root))?;
    tell(&ended.into_inner().unwrap_or_default())
}

/// The test binaries of the workspace, compiled now.
fn compiled(root: &Path) -> anyhow::Result<Vec<Binary>> {
    let mut build = cargo();
    build.args(["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"]).current_dir(root);
    let output = build.stderr(std::process::Stdio::inherit()).output().context("cargo does not start")?;
    ensure!(output.status.success(), "the tests do not compile: {}", output.status);
    let binaries: Vec<Binary> = String::from_utf8_lossy(&output.stdout).lines().filter_map(Binary::read).collect();
    ensure!(!binaries.is_empty(), "cargo names no test binary; expected its JSON messages of what it compiled");
    Ok(binaries)
}

/// Those of these names, in their order, and the others.
fn split(binaries: Vec<Binary>, names: &[&str]) -> (Vec<Binary>, Vec<Binary>) {
    let place = |binary: &Binary| names.iter().position(|name| *name == binary.name);
    let (mut found, others): (Vec<Binary>, Vec<Binary>) = binaries.into_iter().partition(|binary| place(binary).is_some());
    found.sort_by_key(place);
    (found, others)
}

impl Binary {
    /// What a line of cargo's tells of a test binary; nothing if it tells of something else.
    fn read(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message["profile"]["test"].as_bool()?;
        let executable = message["executable"].as_str().filter(|_| is_test)?;
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
        Some(Self { name: message["target"]["name"].as_str()?.to_owned(), executable: executable.into(), folder: folder.to_owned() })
    }

    #[expect(clippy::disallowed_methods, reason = "what a person waits for is measured by the real clock")]
    fn run(&self, dress: impl Fn(&mut Command)) -> anyhow::Result<Ended> {
        let mut command = without_this_package(Command::new(&self.executable));
        dress(command.current_dir(&self.folder).stdin(std::process::Stdio::null()));
        say(&format!("{} begins", self.name));
        let begun = Instant::now();
        let output = command.output().with_context(|| format!("{} does not start", self.executable.display()))?;
        let ended = Ended::read(&self.name, &String::from_utf8_lossy(&output.stdout), output.status.success(), begun.elapsed().as_secs());
        // In one piece, so that the lanes do not mix.
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        say(&format!("\n{} ({} s)\n{}", self.name, ended.seconds, String::from_utf8_lossy(&text).trim()));
        Ok(ended)
    }
}

impl Ended {
    /// Reads the closing line of the tests' harness; without one the binary has ended in the middle, and that is a failure.
    fn read(name: &str, text: &str, success: bool, seconds: u64) -> Self {
        let closing = text.lines().rev().find(|line| line.starts_with("test result: "));
        let count = |what: &str| {
            let part = closing.into_iter().flat_map(|line| line.split(['.', ';'])).find_map(|part| part.trim().strip_suffix(what));
            part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
        };
        let (passed, failed, ignored) = (count("passed"), count("failed"), count("ignored"));
        let is_well = success && closing.is_some();
        Self { name: name.to_owned(), seconds, passed, failed: failed.max(u64::from(!is_well)), ignored, is_well }
    }
}

/// Names the slow and the failed, and closes with how many there were of each kind.
fn tell(ended: &[Ended]) -> anyhow::Result<()> {
    let mut slow: Vec<&Ended> = ended.iter().filter(|one| one.seconds >= SLOW_S).collect();
    slow.sort_by_key(|one| std::cmp::Reverse(one.seconds));
    let named: Vec<String> = slow.iter().map(|one| format!("{} {} s", one.name, one.seconds)).collect();
    say(&format!("\nslow: {}", if named.is_empty() { "none".to_owned() } else { named.join(", ") }));
    let sum = |of: fn(&Ended) -> u64| ended.iter().map(of).sum::<u64>();
    say(&format!("{} passed, {} failed, {} skipped", sum(|one| one.passed), sum(|one| one.failed), sum(|one| one.ignored)));
    let failed: Vec<&str> = ended.iter().filter(|one| !one.is_well).map(|one| one.name.as_str()).collect();
    ensure!(failed.is_empty(), "tests failed in {}", failed.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSING: &str = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s";

    #[test]
    fn the_harness_closing_line_is_counted_and_its_absence_is_a_failure() {
        let counts = |text: &str, success| {
            let ended = Ended::read("accept", text, success, 1);
            (ended.passed, ended.failed, ended.ignored, ended.is_well)
        };
        assert_eq!(counts(&format!("running 13 tests\n\n{CLOSING}\n"), true), (12, 0, 1, true));
        assert_eq!(counts("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured", false), (3, 2, 0, false));
        assert_eq!(counts("running 13 tests\n", true), (0, 1, 0, false), "it ended in the middle");
        assert_eq!(counts(CLOSING, false), (12, 1, 1, false), "it ended badly after its tests");
    }

    #[test]
    fn cargo_names_test_binaries_and_each_has_its_lane() {
        let line = |name: &str, test: bool| {
            serde_json::json!({
                "profile": {"test": test}, "executable": format!("/t/{name}"), "manifest_path": "/w/tests/Cargo.toml", "target": {"name": name},
            })
        };
        let binaries = ["accept", "tls", "power_cut", "rabbitmq", "abuse"].map(|name| Binary::read(&line(name, true).to_string()).unwrap());
        assert!(Binary::read(&line("hookyard", false).to_string()).is_none());
        assert!(Binary::read("no JSON").is_none());
        assert_eq!(binaries[0].folder, Path::new("/w/tests"));
        let (alone, others) = split(binaries.into(), &ALONE);
        let (brokers, others) = split(others, &BROKERS);
        let names = |binaries: &[Binary]| binaries.iter().map(|binary| binary.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&alone), ["abuse", "power_cut"]);
        assert_eq!(names(&brokers), ["rabbitmq", "tls"]);
        assert_eq!(names(&others), ["accept"]);
    }

    #[test]
    fn every_named_binary_exists() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        for name in ALONE.iter().chain(&BROKERS) {
            let places = [format!("scenarios/{name}.rs"), format!("scenarios/{name}/main.rs"), format!("rabbit/tests/{name}.rs")];
            assert!(places.iter().any(|place| tests.join(place).is_file()), "{name}");
        }
    }
}
