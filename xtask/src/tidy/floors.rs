//! The floors of the host: who may import whom, and who alone may use which crate.
//!
//! Both are read from the table in the doc comment of `host/src/lib.rs`, so that what is drawn there is what holds.

use std::collections::BTreeMap;

use super::{
    Finding,
    tree::{self, File, Tree},
};

const LIB: &str = "host/src/lib.rs";
const SOURCES: &str = "host/src/";

/// Crates the table does not name, and the modules that may use them.
const GATED: [(&str, &[&str]); 2] = [("notify", &["catalog"]), ("toml", &["config", "catalog", "cli/plugin"])];

/// What the table says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Floors {
    /// The floor of each module.
    floors: BTreeMap<String, u32>,
    /// Crate → modules that may use it.
    gated: BTreeMap<String, Vec<String>>,
}

/// Rules (a) and (b).
pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(lib) = tree.get(LIB) else { return };
    let table = Floors::parse(&lib.text);
    for module in tree::words(lib.code(), "mod").map(|at| tree::identifier(&lib.code()[at + 3..])) {
        if !table.floors.contains_key(module) {
            findings.push(Finding::new(LIB, 1, "floors", format!("`{module}` stands in no row of the table; give it a floor")));
        }
    }
    for (path, file) in tree.rust().filter(|(path, _)| !tree.is_test(path)) {
        let Some(place) = path.strip_prefix(SOURCES).and_then(|place| place.strip_suffix(".rs")) else { continue };
        let module = place.split('/').next().unwrap_or(place);
        table.check_imports(path, file, module, findings);
        table.check_gates(path, file, place, findings);
    }
}

impl Floors {
    fn parse(text: &str) -> Self {
        let mut table = Self { floors: BTreeMap::new(), gated: GATED.map(|(name, modules)| (name.to_owned(), owned(modules))).into() };
        for row in text.lines().filter_map(|line| line.strip_prefix("//! |")) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let (Some(Ok(floor)), Some(names), Some(users)) = (cells.first().map(|cell| cell.parse()), cells.get(1), cells.get(3)) else {
                continue;
            };
            let modules: Vec<_> = names.split('`').skip(1).step_by(2).collect();
            for gate in users.split(',').map(str::trim).filter(|gate| !gate.is_empty()) {
                let (name, users) = match gate.split_once('(') {
                    Some((name, users)) => (name, users.trim_end_matches(')').split(" and ").map(str::to_owned).collect()),
                    None => (gate, owned(&modules)),
                };
                table.gated.entry(name.trim().replace('-', "_")).or_insert(users);
            }
            table.floors.extend(modules.into_iter().map(|module| (module.to_owned(), floor)));
        }
        table
    }

    fn check_imports(&self, path: &str, file: &File, module: &str, findings: &mut Vec<Finding>) {
        let Some(&floor) = self.floors.get(module) else { return };
        for (at, other) in crate_paths(file.code()) {
            let Some(&theirs) = self.floors.get(other) else { continue };
            if other != module && theirs >= floor {
                let what = format!("`{module}` (floor {floor}) uses `{other}` (floor {theirs}); move the shared part to a lower floor");
                findings.push(Finding::new(path, file.line(at), "floors", what));
            }
        }
        // From a module's root, `super` is the crate by another name.
        let is_root = path == format!("{SOURCES}{module}.rs") || path == format!("{SOURCES}{module}/mod.rs");
        for at in tree::words(file.code(), "super").filter(|at| is_root && file.code()[at + 5..].starts_with("::")) {
            findings.push(Finding::new(path, file.line(at), "floors", "`super` leads out of the module; write `crate::`".to_owned()));
        }
    }

    fn check_gates(&self, path: &str, file: &File, place: &str, findings: &mut Vec<Finding>) {
        for (name, users) in &self.gated {
            let is_user =
                users.iter().any(|user| place == user || place.strip_prefix(user.as_str()).is_some_and(|rest| rest.starts_with('/')));
            if is_user {
                continue;
            }
            for (at, found) in file.code().match_indices(name.as_str()) {
                if names_crate(file.code(), at, found) {
                    let what = format!("only {} may use the crate `{name}`; ask that module for what you need", users.join(" and "));
                    findings.push(Finding::new(path, file.line(at), "gates", what));
                }
            }
        }
    }
}

/// The modules named by `crate::module` and by `crate::{module, module::…}`, with their places.
fn crate_paths(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for at in tree::words(code, "crate") {
        let Some(rest) = code[at + 5..].strip_prefix("::") else { continue };
        let start = at + 7;
        if !rest.starts_with('{') {
            found.push((start, tree::identifier(rest)));
            continue;
        }
        let end = tree::closing(code, start).saturating_sub(1);
        let (mut depth, mut item) = (0_usize, start + 1);
        for (offset, byte) in code.bytes().enumerate().take(end + 1).skip(start + 1) {
            match byte {
                b'{' => depth += 1,
                b'}' if offset < end => depth = depth.saturating_sub(1),
                b',' | b'}' if depth == 0 => {
                    found.push((offset, tree::identifier(&code[item..offset])));
                    item = offset + 1;
                }
                _ => {}
            }
        }
    }
    found
}

/// Whether the word at `at` is the beginning of a path into a crate of that name or of its family (`hyper_util` beside `hyper`).
fn names_crate(code: &str, at: usize, name: &str) -> bool {
    let before = code[..at].chars().next_back().unwrap_or(' ');
    let before_path = code[..at].strip_suffix("::").map(|head| head.chars().next_back().unwrap_or(' '));
    let is_tail = before.is_ascii_alphanumeric() || before == '_' || before == '.';
    let is_segment = before_path.is_some_and(|before| before.is_ascii_alphanumeric() || before == '_' || before == '>');
    let word = tree::identifier(&code[at..]);
    let is_family = word == name || word.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
    !is_tail && !is_segment && is_family && code[at + word.len()..].starts_with("::")
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "//! | floor | module | owns | sole user of |\n//! |---|---|---|---|\n//! | 2 | `top` | all | clap |\n\
        //! | 1 | `left` `right` | things | hyper (left and top/part), axum-core (right) |\n//! | 0 | `base` | words | |\n\
        pub mod base;\npub mod left;\npub mod right;\npub mod top;\n";

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let lib = [(LIB, TABLE)];
        let tree = Tree::of(lib.iter().chain(files).map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
        let mut findings = Vec::new();
        check(&tree, &mut findings);
        findings.iter().map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.rule)).collect()
    }

    #[test]
    fn a_lower_floor_and_the_own_module_may_be_used() {
        assert_eq!(
            findings(&[("host/src/top.rs", "use crate::{base::{A, left}, left::B};\nuse crate::right::C;\nuse crate::top::D;")]),
            [""; 0]
        );
    }

    #[test]
    fn a_sibling_and_a_higher_floor_may_not_be_used_however_they_are_named() {
        let text = "use crate::right::X;\nuse crate::{\n    base::Y,\n    top::{Z, W},\n};\nfn f() { crate::right::g() }\n";
        assert_eq!(
            findings(&[("host/src/left/part.rs", text)]),
            ["host/src/left/part.rs:1 floors", "host/src/left/part.rs:4 floors", "host/src/left/part.rs:6 floors"]
        );
        assert_eq!(findings(&[("host/src/left/mod.rs", "use super::right::X;")]), ["host/src/left/mod.rs:1 floors"]);
    }

    #[test]
    fn comments_and_tests_may_name_anybody() {
        let text = "// crate::top::X\n#[cfg(test)]\nmod tests {\n    use crate::top::X;\n}\n";
        assert_eq!(findings(&[("host/src/base.rs", text)]), [""; 0]);
    }

    #[test]
    fn a_gated_crate_and_its_family_stay_with_their_user() {
        assert_eq!(
            findings(&[
                ("host/src/left.rs", "use hyper_util::A; use hyper::B;"),
                ("host/src/right.rs", "use axum_core::C;"),
                ("host/src/top/part.rs", "use hyper::D;")
            ]),
            [""; 0]
        );
        let text = "use clap::Parser;\nfn f(x: ::hyper::Body) {}\nuse crate::base::hyper::D;\nlet hyper = 1;";
        assert_eq!(findings(&[("host/src/base.rs", text)]), ["host/src/base.rs:1 gates", "host/src/base.rs:2 gates"]);
    }

    #[test]
    fn a_module_without_a_floor_is_found() {
        assert_eq!(findings(&[(LIB, "//! | 0 | `base` | words | |\npub mod base;\npub mod other;")]), ["host/src/lib.rs:1 floors"]);
    }
}
