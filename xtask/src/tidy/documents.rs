//! What is written and what is so, held to each other: slugs, metrics, guests, links, places.

use std::collections::BTreeSet;

use super::{
    Finding,
    tree::{File, Tree},
};

const FAILURES: &str = "docs/failures.md";
const METRICS: &str = "docs/metrics.md";
/// The folder whose files register metrics.
const REGISTRIES: &str = "host/src/observe/";
const README: &str = "README.md";

/// Where slugs are listed: file, the words before the list, the words that end it.
const SLUG_LISTS: [(&str, &str, &str); 5] = [
    ("host/src/delivery/refusal.rs", "pub const SLUGS", "];"),
    ("host/src/delivery/outcome.rs", "impl FaultKind", "\n}\n"),
    ("host/src/delivery/settlement.rs", "impl DeadReason", "\n}\n"),
    ("host/src/runtime/admit.rs", "pub const SLUGS", "];"),
    ("host/src/catalog/mod.rs", "REFUSAL_SLUGS", "];"),
];

/// Places of one machine, in two pieces each so that this file does not find itself.
const PLACES: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "wt")];

/// The piece that is put before every other guest, and no guest itself.
const PRELUDE: &str = "prelude";

/// Rule (e), first half: every slug has a heading, and every such heading a slug.
pub(super) fn check_slugs(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(failures) = tree.get(FAILURES) else { return };
    let heading = |line: &'_ str| line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`')).map(str::to_owned);
    let headings: BTreeSet<_> = failures.text.lines().filter_map(heading).collect();
    let mut slugs = BTreeSet::new();
    for (path, start, end) in SLUG_LISTS {
        let Some(file) = tree.get(path) else { continue };
        let found = strings_between(file, start, end);
        if found.is_empty() {
            findings.push(Finding::new(
                path,
                1,
                "slugs",
                format!("no slugs after `{start}`; tell `xtask/src/tidy/documents.rs` where they are"),
            ));
        }
        for (at, slug) in found {
            if !headings.contains(slug) {
                findings.push(Finding::new(
                    path,
                    file.line(at),
                    "slugs",
                    format!("`{slug}` has no heading in {FAILURES}; write its entry"),
                ));
            }
            slugs.insert(slug);
        }
    }
    for (number, line) in failures.text.lines().enumerate() {
        if let Some(slug) = heading(line).filter(|slug| !slugs.contains(slug.as_str())) {
            findings.push(Finding::new(FAILURES, number + 1, "slugs", format!("no code says `{slug}`; remove its entry")));
        }
    }
}

/// Rule (e), second half: every registered metric is documented, and every documented one registered.
pub(super) fn check_metrics(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(document) = tree.get(METRICS) else { return };
    let rows: Vec<_> = document
        .text
        .lines()
        .enumerate()
        .filter_map(|(n, line)| Some((n + 1, line.strip_prefix("| `hookyard_")?.split('`').next()?)))
        .collect();
    let registries = || tree.rust().filter(|(path, _)| path.starts_with(REGISTRIES));
    let all: Vec<_> =
        registries().flat_map(|(path, file)| registered(file).into_iter().map(move |(at, name)| (path, file.line(at), name))).collect();
    for (path, line, name) in &all {
        if !rows.iter().any(|(_, row)| is_series_of(row, name)) {
            findings.push(Finding::new(path, *line, "metrics", format!("`hookyard_{name}` has no row in {METRICS}")));
        }
    }
    for (line, row) in rows {
        if !all.iter().any(|(_, _, name)| is_series_of(row, name)) {
            findings.push(Finding::new(METRICS, line, "metrics", format!("nothing registers `hookyard_{row}`; remove its row")));
        }
    }
}

/// Rule (f): every hostile guest is run by somebody.
pub(super) fn check_guests(tree: &Tree, findings: &mut Vec<Finding>) {
    let runs_guests = |path: &str| path.starts_with("tests/scenarios/") || path.starts_with("host/src/runtime/tests");
    let named: BTreeSet<_> =
        tree.rust().filter(|(path, _)| runs_guests(path)).flat_map(|(_, file)| strings(file)).map(|(_, name)| name).collect();
    for (path, _) in tree.files() {
        let Some(guest) = path.strip_prefix("tests/guests/").and_then(|name| name.strip_suffix(".wat")) else { continue };
        if guest != PRELUDE && !named.contains(guest) && !named.contains(format!("{guest}.wat").as_str()) {
            findings.push(Finding::new(
                path,
                1,
                "guests",
                "no scenario and no test of the runtime names it; run it or remove it".to_owned(),
            ));
        }
    }
}

/// Rule (h): links to files lead somewhere.
pub(super) fn check_links(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, file) in tree.files().filter(|(path, _)| is_markdown(path)) {
        let mut is_code = false;
        for (number, line) in file.text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|_| !is_code) {
                let place = target.split('#').next().unwrap_or_default();
                if !place.is_empty() && !place.contains(':') && !resolve(path, place).is_some_and(|place| tree.exists(&place)) {
                    findings.push(Finding::new(path, number + 1, "links", format!("`{target}` is not there; correct the link")));
                }
            }
        }
    }
}

/// Rule (i): no place of one machine anywhere, and the first page names the two commands.
pub(super) fn check_places(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, file) in tree.files() {
        for (number, line) in file.text.lines().enumerate() {
            for place in PLACES.into_iter().filter(|place| begins_with_place(line, place)) {
                findings.push(Finding::new(path, number + 1, "places", format!("`{place}` is a place of one machine; write it relative")));
            }
        }
    }
    let Some(readme) = tree.get(README) else { return };
    for command in ["cargo xtask demo", "cargo xtask test"] {
        if !readme.text.contains(command) {
            findings.push(Finding::new(README, 1, "places", format!("does not name `{command}`; a newcomer begins there")));
        }
    }
}

/// The string literals of a file and their places.
fn strings(file: &File) -> impl Iterator<Item = (usize, &str)> {
    file.lexed.strings.iter().filter_map(|range| Some((range.start, file.text.get(range.clone())?)))
}

fn strings_between<'a>(file: &'a File, start: &str, end: &str) -> Vec<(usize, &'a str)> {
    let Some(from) = file.text.find(start) else { return Vec::new() };
    let to = file.text[from..].find(end).map_or(file.text.len(), |length| from + length);
    strings(file).filter(|(at, _)| (from..to).contains(at)).collect()
}

/// The first string of each call of `register` and `register_with_unit`.
fn registered(file: &File) -> Vec<(usize, &str)> {
    let is_first = |at: usize| {
        let before = file.lexed.code.get(..at).unwrap_or_default().trim_end();
        before.ends_with(".register(") || before.ends_with(".register_with_unit(")
    };
    // The quote before the content is blanked, so the code ends with the bracket of the call.
    strings(file).filter(|(at, _)| *at < file.tests_at && is_first(*at)).collect()
}

/// The registry adds a unit and `_total`.
fn is_series_of(row: &str, name: &str) -> bool {
    row.strip_prefix(name).is_some_and(|suffix| ["", "_total", "_seconds", "_bytes"].contains(&suffix))
}

fn is_markdown(path: &str) -> bool {
    path.strip_suffix(".md").is_some()
}

/// The path a link on the page `path` leads to; none where it leaves the repository.
fn resolve(path: &str, link: &str) -> Option<String> {
    let mut parts: Vec<_> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether `place` stands in the line as the beginning of a path; `host/src/work/` is one of ours.
fn begins_with_place(line: &str, place: &str) -> bool {
    let goes_on = |before: char| before.is_alphanumeric() || "._-/}*<>)".contains(before);
    line.match_indices(place).any(|(at, _)| !line[..at].chars().next_back().is_some_and(goes_on))
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
    fn a_slug_without_a_heading_and_a_heading_without_a_slug_are_found() {
        let code = "pub const SLUGS: [&str; 2] = [\n    \"known\",\n    \"forgotten\",\n];\nconst OTHER: &str = \"other\";\n";
        let files = [(SLUG_LISTS[0].0, code), (FAILURES, "### `known`\n\n### `gone`\n")];
        assert_eq!(findings(check_slugs, &files), [format!("{}:3", SLUG_LISTS[0].0), format!("{FAILURES}:3")]);
    }

    #[test]
    fn a_list_of_slugs_that_moved_is_found() {
        assert_eq!(findings(check_slugs, &[(SLUG_LISTS[0].0, "//! Nothing."), (FAILURES, "")]).len(), 1);
    }

    #[test]
    fn a_metric_and_its_row_need_each_other() {
        let code = "r.register(\"calls\", \"Calls\", x);\nr.register_with_unit(\n    \"age\",\n    \"Age\", x);\nr.register(\"new\", \"New\", x);\n";
        let rows = "| `hookyard_calls_total` | x |\n| `hookyard_age_seconds` | x |\n| `hookyard_old` | x |\n";
        assert_eq!(
            findings(check_metrics, &[("host/src/observe/metrics.rs", code), (METRICS, rows)]),
            ["host/src/observe/metrics.rs:5".to_owned(), format!("{METRICS}:3")]
        );
    }

    #[test]
    fn a_guest_that_nobody_runs_is_found() {
        let files = [
            ("tests/guests/loop.wat", ""),
            ("tests/guests/lazy.wat", ""),
            ("tests/guests/prelude.wat", ""),
            ("tests/scenarios/hostile.rs", "// lazy\nrun(\"loop\");"),
        ];
        assert_eq!(findings(check_guests, &files), ["tests/guests/lazy.wat:1"]);
    }

    #[test]
    fn a_link_to_nothing_is_found_and_links_out_and_within_are_not() {
        let text = "[a](b.md#x) [up](../README.md) [web](https://example.com/) [here](#here) [dir](../docs)\n[gone](c.md)\n```\n[code](d.md)\n```\n[out](../../e.md)\n";
        assert_eq!(findings(check_links, &[("docs/a.md", text), ("docs/b.md", ""), (README, "")]), ["docs/a.md:2", "docs/a.md:6"]);
    }

    #[test]
    fn a_place_of_one_machine_is_found_and_a_path_of_ours_is_not() {
        let text = format!("see host/src{0}judge.rs\ncp {0}x .\n\"{1}a\"\n", PLACES[0], PLACES[2]);
        assert_eq!(findings(check_places, &[("a.toml", &text)]), ["a.toml:2", "a.toml:3"]);
        assert_eq!(findings(check_places, &[(README, "cargo xtask demo")]), ["README.md:1"]);
    }
}
