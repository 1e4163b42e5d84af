//! The rules of this project that no compiler and no linter holds. Each finding names the place, the rule and what to do.
//!
//! | rule | holds |
//! |---|---|
//! | floors | a module of the host imports only from lower floors, as drawn in `host/src/lib.rs` |
//! | gates | a crate that shapes a module stays in that module |
//! | sizes | files, functions, traits |
//! | header | every source says what it is for |
//! | words | nothing left undone, nothing named after nothing, nothing silenced without a reason |
//! | slugs, metrics | code and documents name the same things |
//! | guests | every hostile guest is run |
//! | limits | every shared resource, and whatever else fills up, has its bound on the page |
//! | lines | what the log says stands on its page, and no field has the name of another |
//! | links, places | what a page points at is there, and on every machine |
//! | contract | a released contract does not change |

mod contract;
mod documents;
mod floors;
mod lexer;
mod limits;
mod lines;
mod sizes;
mod tree;
mod words;

use std::{
    fmt,
    io::{self, Write as _},
    path::Path,
};

use anyhow::ensure;

use tree::Tree;

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    file: String,
    line: usize,
    rule: &'static str,
    /// What was found, and what to do.
    what: String,
}

impl Finding {
    fn new(file: &str, line: usize, rule: &'static str, what: String) -> Self {
        Self { file: file.to_owned(), line, rule, what }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.what)
    }
}

/// Checks the repository at `root` and prints every finding; fails where there is one.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let findings = findings(root)?;
    let mut out = io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    ensure!(findings.is_empty(), "tidy: {} findings", findings.len());
    Ok(())
}

fn findings(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let tree = Tree::read(root)?;
    let mut findings = Vec::new();
    let rules = [
        floors::check,
        sizes::check,
        words::check,
        documents::check_slugs,
        documents::check_metrics,
        documents::check_guests,
        limits::check_resources,
        limits::check_queues,
        lines::check,
        documents::check_links,
        documents::check_places,
    ];
    for rule in rules {
        rule(&tree, &mut findings);
    }
    contract::check(root, &tree, &mut findings)?;
    findings.sort();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let findings = findings(root).unwrap();
        assert!(findings.is_empty(), "\n{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
}
