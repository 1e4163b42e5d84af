//! `check`: every problem of all files at once, each file looked at whatever is wrong with the others. Touches nothing.
//!
//! What is good ends in one line. What is wrong stands last, where a terminal still shows it; the numbers in force are only there for who asks.

mod limits;

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::json;

use super::{
    environment,
    exit::{Exit, Failure},
    output::{Output, say},
};
use crate::{
    config::{self, Problem, Survey},
    confine,
};

/// URLs that are named in the one line.
const DOORS_SHOWN: usize = 3;

/// The arguments of `check`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The host's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the limits in force and the table of shares, too
    #[arg(long)]
    all: bool,
    /// Print objects
    #[arg(long)]
    json: bool,
}

/// Checks; exit 78 where there is a problem.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let env = environment();
    let reading = config::read(args.config.as_deref(), &env);
    let survey = config::survey(&reading, &env);
    let problems: Vec<Problem> = reading.problems.iter().chain(&survey.problems).cloned().collect();
    // No problems of a file, and yet to be known before the host is started here.
    let mut notes: Vec<String> = survey.notes.iter().cloned().chain(confine::missing()).collect();
    if !reading.is_whole {
        notes.push("the host's file could not be read, so everything else was looked at with its defaults".to_owned());
    }
    let output = Output::new(args.json);
    if output.is_json() {
        let (limits, shares) = (limits::in_force(&reading.config), limits::objects(&reading.config.shares));
        let found = json!({ "tenants": survey.tenants, "plugins": survey.plugins, "urls": survey.doors, "notes": notes });
        output.object(&json!({ "problems": problems, "found": found, "limits": limits, "shares": shares }), false)?;
        return if problems.is_empty() { Ok(()) } else { Err(Failure::silent(Exit::ConfigInvalid)) };
    }
    if args.all {
        limits::print(&reading.config, output)?;
    }
    for note in notes {
        say(&format!("note: {note}"));
    }
    if problems.is_empty() {
        return output.line(&all_is_well(&survey));
    }
    print_problems(&problems);
    Err(Failure::new(Exit::ConfigInvalid, summary(&problems)))
}

/// Says each problem, with what to do.
pub(super) fn print_problems(problems: &[Problem]) {
    for problem in problems {
        let key = if problem.key.is_empty() { String::new() } else { format!(": {}", problem.key) };
        say(&format!("{}{key}: found {}, expected {}", problem.file.display(), problem.found, problem.expected));
        if let Some(hint) = &problem.hint {
            say(&format!("  hint: {hint}"));
        }
    }
}

fn all_is_well(survey: &Survey) -> String {
    let doors = match survey.doors.as_slice() {
        [] => "no source yet: nothing can be sent".to_owned(),
        doors if doors.len() <= DOORS_SHOWN => format!("POST to {}", doors.join(", ")),
        doors => format!("POST to {} and {} more", doors[..DOORS_SHOWN].join(", "), doors.len() - DOORS_SHOWN),
    };
    format!("ok: {}, {}, {doors}", counted(survey.tenants, "tenant"), counted(survey.plugins, "plugin"))
}

fn summary(problems: &[Problem]) -> String {
    let files: BTreeSet<_> = problems.iter().map(|problem| &problem.file).collect();
    format!("{} in {}", counted(problems.len(), "problem"), counted(files.len(), "file"))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_is_one_line_and_what_is_wrong_is_counted() {
        let doors = |count: usize| (0..count).map(|n| format!("http://h/webhooks/s{n}")).collect();
        let line = |tenants, plugins, count| all_is_well(&Survey { tenants, plugins, doors: doors(count), ..Survey::default() });
        assert_eq!(line(2, 3, 1), "ok: 2 tenants, 3 plugins, POST to http://h/webhooks/s0");
        assert_eq!(
            line(1, 1, 5),
            "ok: 1 tenant, 1 plugin, POST to http://h/webhooks/s0, http://h/webhooks/s1, http://h/webhooks/s2 and 2 more"
        );
        assert_eq!(line(0, 0, 0), "ok: 0 tenants, 0 plugins, no source yet: nothing can be sent");
        let problem =
            |file: &str| Problem { file: file.into(), key: String::new(), found: String::new(), expected: String::new(), hint: None };
        assert_eq!(summary(&[problem("a"), problem("b"), problem("a")]), "3 problems in 2 files");
    }
}
