//! What is bounded in the code and what `docs/limits.md` says of it, held to each other: shared resources, and queues, channels and caches.

use std::collections::BTreeSet;

use super::{
    Finding,
    tree::{File, Tree},
};

const LIMITS: &str = "docs/limits.md";
const RESOURCES: &str = "host/src/shares/resource.rs";
const HOST: &str = "host/src/";

/// What makes something that fills up, or takes a thread of the many that may block, as it is written in code.
const MAKERS: [&str; 8] = [
    "spawn_blocking(",
    "Semaphore::new(",
    "mpsc::channel(",
    "sync_channel(",
    "broadcast::channel(",
    "VecDeque<",
    "Mutex<HashMap<",
    "Mutex<BTreeMap<",
];

/// Every resource has a row in the table for people, and every row a resource.
pub(super) fn check_resources(tree: &Tree, findings: &mut Vec<Finding>) {
    let (Some(code), Some(page)) = (tree.get(RESOURCES), tree.get(LIMITS)) else { return };
    let named: Vec<(usize, &str)> = names(code);
    if named.is_empty() {
        findings.push(Finding::new(RESOURCES, 1, "limits", "no names after `pub fn row`; tell `xtask/src/tidy/limits.rs`".to_owned()));
    }
    let rows: Vec<_> = rows(page, "| `").collect();
    for (at, name) in &named {
        if !rows.iter().any(|(_, row)| row == name) {
            findings.push(Finding::new(
                RESOURCES,
                code.line(*at),
                "limits",
                format!("`{name}` has no row in {LIMITS}; say why its numbers are so"),
            ));
        }
    }
    for (line, row) in rows.iter().filter(|(_, row)| !row.contains('/')) {
        if !named.iter().any(|(_, name)| name == row) {
            findings.push(Finding::new(LIMITS, *line, "limits", format!("no resource is called `{row}`; remove its row")));
        }
    }
}

/// Every file of the host that makes a semaphore, channel, queue or cache is named on the page, and every file named there makes one.
pub(super) fn check_queues(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(page) = tree.get(LIMITS) else { return };
    let rows: Vec<_> = rows(page, "| `").filter(|(_, row)| row.contains('/')).collect();
    let mut makers = BTreeSet::new();
    for (path, file) in tree.rust() {
        let Some(name) = path.strip_prefix(HOST).filter(|_| !tree.is_test(path)) else { continue };
        let Some(at) = MAKERS.iter().filter_map(|maker| file.code().find(maker)).min() else { continue };
        makers.insert(name);
        if !rows.iter().any(|(_, row)| *row == name) {
            let what = format!(
                "makes something that fills up, and has no row in {LIMITS}: say what bounds it, and whose share of it one tenant has"
            );
            findings.push(Finding::new(path, file.line(at), "limits", what));
        }
    }
    for (line, row) in rows.iter().filter(|(_, row)| !makers.contains(row)) {
        findings.push(Finding::new(LIMITS, *line, "limits", format!("`{HOST}{row}` has no semaphore, channel, queue or cache any more")));
    }
}

/// The first string of each arm of `row`.
fn names(code: &File) -> Vec<(usize, &str)> {
    let Some(from) = code.text.find("pub fn row") else { return Vec::new() };
    let to = code.text[from..].find("let (bound_key").map_or(from, |length| from + length);
    let is_first = |at: usize| code.lexed.code.get(..at).unwrap_or_default().trim_end().ends_with("=> (");
    let strings = code.lexed.strings.iter().filter(|range| (from..to).contains(&range.start));
    strings.filter(|range| is_first(range.start)).filter_map(|range| Some((range.start, code.text.get(range.clone())?))).collect()
}

/// The first word in backquotes of each row of a table.
fn rows<'a>(page: &'a File, start: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let word = move |line: &'a str| line.strip_prefix(start)?.split('`').next();
    page.text.lines().enumerate().filter_map(move |(number, line)| Some((number + 1, word(line)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(check: fn(&Tree, &mut Vec<Finding>), files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Vec::new();
        check(&Tree::of(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))), &mut findings);
        findings.iter().map(|finding| format!("{}:{}", finding.file, finding.line)).collect()
    }

    #[test]
    fn a_resource_without_a_row_and_a_row_without_a_resource_are_found() {
        let code = "pub fn row() {\n A => (\"memory\", 1),\n B => (\"slots\", \"tenant\"),\n let (bound_key";
        let page = "| `memory` | x |\n| `gone` | x |\n| `ledger/x.rs` | x |\n";
        assert_eq!(findings(check_resources, &[(RESOURCES, code), (LIMITS, page)]), ["host/src/shares/resource.rs:3", "docs/limits.md:2"]);
    }

    #[test]
    fn a_queue_that_the_page_does_not_name_is_found_and_a_row_of_none_too() {
        let queue = "//! Doc.\nstruct S { q: VecDeque<u8> }\n";
        let tested = "//! Doc.\n#[cfg(test)]\nmod tests {\n fn f() { Semaphore::new(1); }\n}\n";
        let page = "| `a/known.rs` | x |\n| `a/gone.rs` | x |\n";
        let files = [("host/src/a/known.rs", queue), ("host/src/a/new.rs", queue), ("host/src/a/tested.rs", tested), (LIMITS, page)];
        assert_eq!(findings(check_queues, &files), ["host/src/a/new.rs:2", "docs/limits.md:2"]);
    }
}
