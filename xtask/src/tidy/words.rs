//! What may not stand in a source: a file that does not say what it is for, work that was left, a name that names nothing, a warning
//! silenced without a reason.

use super::{
    Finding,
    tree::{self, File, Tree},
};

/// Written in two pieces here, so that this file does not find itself.
const LEFT: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X:")];
const UNFINISHED: [&str; 3] = ["dbg", "todo", "unimplemented"];
const NAMES_OF_NOTHING: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

/// Rules (d) and (g).
pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, file) in tree.rust() {
        if !file.text.starts_with("//!") {
            findings.push(Finding::new(path, 1, "header", "does not begin with `//!`; say what the file is for".to_owned()));
        }
        check_left(path, file, findings);
        check_names(path, file, findings);
        check_silenced(path, file, findings);
    }
}

fn check_left(path: &str, file: &File, findings: &mut Vec<Finding>) {
    for word in LEFT {
        for (at, _) in file.text.match_indices(word) {
            findings.push(Finding::new(path, file.line(at), "words", format!("`{word}`; do it, or say in words what is not done and why")));
        }
    }
    let code = &file.lexed.code;
    for name in UNFINISHED {
        for at in tree::words(code, name).filter(|at| code[at + name.len()..].starts_with("!(")) {
            findings.push(Finding::new(path, file.line(at), "words", format!("`{name}!`; finish it")));
        }
    }
}

fn check_names(path: &str, file: &File, findings: &mut Vec<Finding>) {
    let code = &file.lexed.code;
    for at in tree::words(code, "mod") {
        let name = tree::identifier(&code[at + 3..]);
        if NAMES_OF_NOTHING.contains(&name) {
            findings.push(Finding::new(path, file.line(at), "words", format!("a module `{name}`; name it after what it does")));
        }
    }
}

fn check_silenced(path: &str, file: &File, findings: &mut Vec<Finding>) {
    let code = &file.lexed.code;
    for opening in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in code.match_indices(opening) {
            let attribute = &code[at..tree::closing(code, at + opening.len() - 1)];
            if tree::words(attribute, "reason").next().is_none() {
                findings.push(Finding::new(
                    path,
                    file.line(at),
                    "words",
                    "a warning is silenced without `reason = \"…\"`; say why".to_owned(),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check(&Tree::of([("a.rs".to_owned(), text.to_owned())]), &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        assert_eq!(lines("//! It is for this.\n"), [0; 0]);
        assert_eq!(lines("// It is not said.\n"), [1]);
    }

    #[test]
    fn work_that_was_left_is_found_and_words_in_strings_are_not() {
        assert_eq!(lines("//! A.\nfn a() { todo!() }\nfn b() { \"todo!()\"; my_todo!() }\n"), [2]);
        assert_eq!(lines(&format!("//! A.\n// {}\n", LEFT[0])), [2]);
    }

    #[test]
    fn a_module_is_named_after_what_it_does() {
        assert_eq!(lines("//! A.\nmod utils;\nmod commons;\npub mod misc {}\n"), [2, 4]);
    }

    #[test]
    fn a_silenced_warning_has_a_reason_of_its_own() {
        assert_eq!(lines("//! A.\n#[expect(clippy::x, reason = \"so\")]\n#[expect(\n    dead_code\n)]\nstruct A { reason: u8 }\n"), [3]);
    }
}
