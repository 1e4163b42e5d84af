//! What a comment asks for: its first lines, as long as each is a command.

/// What is said to those who ask for something else.
pub(crate) const HELP: &str = "I know `/assign [@name …]`, `/unassign [@name …]`, `/label NAME …` and `/unlabel NAME …` (quote a name with \
                               spaces), `/close [not-planned]`, `/reopen` and, on a pull request, `/retest`.";
/// Commands of one comment that are read.
const COMMANDS_MAX: usize = 10;
/// Names of one command that are read.
const NAMES_MAX: usize = 10;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// These people; nobody means the author of the comment.
    Assign(Vec<String>),
    /// The same, the other way.
    Unassign(Vec<String>),
    /// At least one label.
    Label(Vec<String>),
    /// The same, the other way.
    Unlabel(Vec<String>),
    /// Close, as done or as not to be done.
    Close {
        /// Whether it will not be done.
        not_planned: bool,
    },
    /// Open again.
    Reopen,
    /// Run failed checks again.
    Retest,
    /// Looks like a command and is none, or lacks what it needs.
    Unclear(String),
}

/// The commands at the start of a comment, at most ten.
pub(crate) fn read(text: &str) -> Vec<Command> {
    text.lines().map_while(command).take(COMMANDS_MAX).collect()
}

/// `/word` and its names. A path such as `/usr/bin` is no command.
fn command(line: &str) -> Option<Command> {
    let line = line.trim();
    let (word, rest) = line.strip_prefix('/')?.split_once(char::is_whitespace).unwrap_or((line.get(1..)?, ""));
    if word.is_empty() || !word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
        return None;
    }
    let names = names(rest);
    Some(match (word.to_ascii_lowercase().as_str(), names.as_slice()) {
        ("assign", _) => Command::Assign(people(names)),
        ("unassign", _) => Command::Unassign(people(names)),
        ("label", [_, ..]) => Command::Label(names),
        ("unlabel" | "remove-label", [_, ..]) => Command::Unlabel(names),
        ("close", []) => Command::Close { not_planned: false },
        ("close", [why]) if why == "not-planned" => Command::Close { not_planned: true },
        ("reopen", []) => Command::Reopen,
        ("retest", []) => Command::Retest,
        _ => Command::Unclear(format!("/{word}")),
    })
}

/// Separated by spaces or commas; double quotes hold a name together.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (index, part) in text.split('"').enumerate() {
        if index % 2 == 1 {
            names.push(part.trim().to_owned());
        } else {
            names.extend(part.split([' ', '\t', ',']).map(str::to_owned));
        }
    }
    names.retain(|name| !name.is_empty());
    names.truncate(NAMES_MAX);
    names
}

fn people(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| name.trim_start_matches('@').to_owned()).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Command::*, read};

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_command_is_read_with_its_names() {
        for (text, expected) in [
            ("/assign", Assign(vec![])),
            ("/assign @ada @bob", Assign(texts(&["ada", "bob"]))),
            ("/unassign ada,", Unassign(texts(&["ada"]))),
            ("/label bug, urgent", Label(texts(&["bug", "urgent"]))),
            ("/label \"good first issue\" bug", Label(texts(&["good first issue", "bug"]))),
            ("/unlabel bug", Unlabel(texts(&["bug"]))),
            ("/CLOSE  ", Close { not_planned: false }),
            ("/close not-planned", Close { not_planned: true }),
            ("/reopen", Reopen),
            ("/retest", Retest),
            ("/frobnicate now", Unclear("/frobnicate".into())),
            ("/label", Unclear("/label".into())),
            ("/close perhaps", Unclear("/close".into())),
        ] {
            assert_eq!(read(text), [expected], "{text}");
        }
    }

    #[test]
    fn commands_stand_at_the_start_and_end_with_the_first_other_line() {
        assert_eq!(read("/reopen\r\n/retest\n\nthanks\n/close"), [Reopen, Retest]);
        for text in ["", "please /close", "> /close", "see\n/close", "/usr/bin/env", "/ close", "/", "/etc", "/größe"] {
            let found = read(text);
            assert!(found.is_empty() || found == [Unclear("/etc".into())], "{text}: {found:?}");
        }
        assert_eq!(read(&"/reopen\n".repeat(50)).len(), 10);
    }
}
