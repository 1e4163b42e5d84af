//! `cargo xtask fuzz TARGET [--minutes N]`: a reader of foreign bytes under libFuzzer, on the stable compiler.
//!
//! The pass that counts coverage is part of the stable compiler; only sanitizers are not, and what is fuzzed has no `unsafe` of its own. The
//! instrumented build has its own folder, since with other flags everything is compiled anew: the first takes minutes.

use std::{fs, path::Path, process::Command};

use anyhow::Context as _;

use crate::{cargo, say, succeed};

/// What libFuzzer needs to see: every edge counted, its place known, comparisons told.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Fuzzes `target` for so many minutes.
pub(crate) fn run(root: &Path, target: &str, minutes: &str) -> anyhow::Result<()> {
    let minutes: u64 = minutes.parse().with_context(|| format!("`{minutes}` is no number of minutes"))?;
    // To libFuzzer no time at all means without an end.
    anyhow::ensure!(minutes > 0, "found 0 minutes; expected 1 or more");
    let (kept, grown) = corpora(root, target)?;
    say(&format!("new inputs go to {}, findings to target/fuzz/findings", grown.display()));
    let limit = format!("-max_total_time={}", minutes * 60);
    succeed(fuzzer(root, target)?.args([limit.as_str(), "-print_final_stats=1"]).arg(grown).arg(kept))
}

/// Replaces the committed corpus by the fewest inputs that reach every edge it and the runs here have reached. Inputs that somebody named are
/// kept whatever they reach: an input that once was a finding reaches nothing new. How often an edge is passed is not looked at, or each minute
/// of fuzzing would make the corpus larger.
pub(crate) fn keep(root: &Path, target: &str) -> anyhow::Result<()> {
    let (kept, grown) = corpora(root, target)?;
    let fewest = root.join("target/fuzz/fewest");
    let _ = fs::remove_dir_all(&fewest);
    fs::create_dir_all(&fewest)?;
    copy(&kept, &fewest, |name| !is_hash(name))?;
    succeed(fuzzer(root, target)?.args(["-set_cover_merge=1", "-use_counters=0"]).arg(&fewest).arg(&kept).arg(grown))?;
    // A merge that went wrong must not cost the corpus.
    anyhow::ensure!(fs::read_dir(&fewest)?.next().is_some(), "the merge kept nothing, so the corpus is left as it was");
    fs::remove_dir_all(&kept)?;
    fs::create_dir_all(&kept)?;
    copy(&fewest, &kept, |_| true)
}

fn copy(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&wanted) {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Whether libFuzzer named it.
fn is_hash(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The committed corpus and the one that grows here.
fn corpora(root: &Path, target: &str) -> anyhow::Result<(std::path::PathBuf, std::path::PathBuf)> {
    let (kept, grown) = (root.join("fuzz/corpus").join(target), root.join("target/fuzz/corpus").join(target));
    anyhow::ensure!(kept.is_dir(), "`{target}` is no target; fuzz/corpus has a folder for each");
    for made in [&grown, &root.join("target/fuzz/findings")] {
        fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    Ok((kept, grown))
}

/// Builds the fuzzer; gives its command, bounded in memory and in time per input.
fn fuzzer(root: &Path, target: &str) -> anyhow::Result<Command> {
    let triple = host_triple()?;
    let apart = root.join("target/fuzz");
    // With `--target`, the flags are not for build scripts and macros, which run while building.
    let mut build = cargo();
    build.args(["build", "--target", &triple]).current_dir(root.join("fuzz/libfuzzer"));
    succeed(build.env("CARGO_TARGET_DIR", &apart).env("RUSTFLAGS", FLAGS))?;
    let mut fuzzer = Command::new(apart.join(triple).join("debug/fuzz"));
    fuzzer.env("HOOKYARD_FUZZ_TARGET", target).args(["-rss_limit_mb=1024", "-timeout=10"]);
    fuzzer.arg(format!("-artifact_prefix={}/{target}-", apart.join("findings").display()));
    Ok(fuzzer)
}

fn host_triple() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let triple = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say what it runs on")?;
    Ok(triple.to_owned())
}
