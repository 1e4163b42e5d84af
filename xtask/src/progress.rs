//! Long work in one line: what compiles, and for how long already. Elsewhere than on a terminal it is a line at its beginning and one at its end.
//! With `-v`, everything the programs say.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{say, succeed};

/// Lines of a failed program that are shown: what it said last is why.
const KEPT_LINES_MAX: usize = 400;
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// How much of what the programs say is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Talk {
    /// One line.
    #[default]
    Brief,
    /// All of it.
    Whole,
}

/// Runs a program whose failure is ours; `what` is what it does.
pub(crate) fn run(command: &mut Command, what: &str, talk: Talk) -> anyhow::Result<()> {
    if talk == Talk::Whole {
        say(what);
        return succeed(command);
    }
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(DRAWN_EVERY);
    if bar.is_hidden() {
        say(&format!("{what} …"));
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|error| anyhow::anyhow!("{error}"));
    let child = child.with_context(|| format!("{} does not start", command.get_program().display()))?;
    let mut said = Said::default();
    for line in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        if let Some(words) = said.hear(line?) {
            bar.set_message(format!("{what}: {words}"));
        }
    }
    let (status, took) = (child.wait()?, bar.elapsed().as_secs());
    bar.finish_and_clear();
    if !status.success() {
        said.kept.iter().for_each(|line| say(line));
    }
    ensure!(status.success(), "{command:?} failed: {status}");
    say(&said.summary(what, took));
    Ok(())
}

/// What a program has said so far.
#[derive(Debug, Default)]
struct Said {
    compiled: usize,
    kept: std::collections::VecDeque<String>,
}

impl Said {
    /// Takes a line; what to show of it, where it tells how far the work is.
    fn hear(&mut self, line: String) -> Option<String> {
        let name = line.trim_start().strip_prefix("Compiling ").and_then(|rest| rest.split(' ').next());
        let words = name.map(|name| {
            self.compiled += 1;
            format!("{} crates, now {name}", self.compiled)
        });
        if words.is_none() {
            self.kept.push_back(line);
            if self.kept.len() > KEPT_LINES_MAX {
                self.kept.pop_front();
            }
        }
        words
    }

    fn summary(&self, what: &str, took_s: u64) -> String {
        match self.compiled {
            0 => format!("{what}: nothing had changed"),
            1 => format!("{what}: 1 crate in {took_s} s"),
            crates => format!("{what}: {crates} crates in {took_s} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_hundred_lines_of_cargo_are_one_and_what_it_complains_of_is_kept() {
        let mut said = Said::default();
        assert_eq!(said.hear("   Compiling serde v1.0.0".to_owned()).unwrap(), "1 crates, now serde");
        assert_eq!(said.hear("   Compiling hookyard v0.1.0 (/somewhere)".to_owned()).unwrap(), "2 crates, now hookyard");
        assert_eq!(said.hear("error[E0308]: mismatched types".to_owned()), None);
        assert_eq!(said.kept, ["error[E0308]: mismatched types"]);
        assert_eq!(said.summary("the host", 3), "the host: 2 crates in 3 s");
        for number in 0..=KEPT_LINES_MAX {
            said.hear(format!("warning {number}"));
        }
        assert_eq!((said.kept.len(), said.kept[0].as_str()), (KEPT_LINES_MAX, "warning 1"));
    }

    #[test]
    fn a_program_that_fails_is_a_failure_in_either_way() {
        for talk in [Talk::Brief, Talk::Whole] {
            assert!(run(&mut Command::new("true"), "nothing", talk).is_ok());
            assert!(run(&mut Command::new("false"), "nothing", talk).is_err());
            assert!(run(&mut Command::new("/no/such/program"), "nothing", talk).unwrap_err().to_string().contains("does not start"));
        }
    }
}
