//! What the log says and what `docs/logging.md` says of it, held to each other; and what a line may not be: a message with a value in it, a
//! field with the name of one of the writer's own (a reader of JSON keeps one of two keys), a structure in Rust's own notation.

use std::ops::Range;

use super::{
    Finding,
    tree::{self, File, Tree},
};

const LOGGING: &str = "docs/logging.md";
const HOST: &str = "host/src/";
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// What the writer of lines puts into each by itself.
const OF_THE_WRITER: [&str; 10] =
    ["timestamp", "level", "message", "target", "fields", "span", "spans", "filename", "line_number", "threadName"];

/// One call that writes a line.
struct Line<'a> {
    at: usize,
    level: &'static str,
    message: &'a str,
    fields: Vec<&'a str>,
    /// The first thing in it that may not be.
    fault: Option<String>,
}

/// One row of the page.
struct Row<'a> {
    number: usize,
    messages: Vec<&'a str>,
    levels: &'a str,
    fields: Vec<&'a str>,
}

/// Every line the host writes has a row with its level and its fields, and every row a line.
pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(page) = tree.get(LOGGING) else { return };
    let rows = rows(page);
    let mut said = Vec::new();
    for (path, file) in tree.rust().filter(|(path, _)| path.starts_with(HOST) && !tree.is_test(path)) {
        for line in lines(file) {
            let mut find = |what| findings.push(Finding::new(path, file.line(line.at), "lines", what));
            if let Some(fault) = line.fault {
                find(fault);
                continue;
            }
            let message = line.message;
            said.push(message);
            let Some(row) = rows.iter().find(|row| row.messages.contains(&message)) else {
                find(format!("`{message}` has no row in {LOGGING}; say who is to do what when he reads it"));
                continue;
            };
            if !row.levels.contains(line.level) {
                find(format!("`{message}` is `{}` here and `{}` in {LOGGING}", line.level, row.levels));
            }
            for field in line.fields.iter().filter(|field| !row.fields.contains(field)) {
                find(format!("the field `{field}` of `{message}` does not stand in {LOGGING}"));
            }
        }
    }
    for row in &rows {
        for message in row.messages.iter().filter(|message| !said.contains(message)) {
            findings.push(Finding::new(LOGGING, row.number, "lines", format!("no code says `{message}`; remove it")));
        }
    }
}

fn rows(page: &File) -> Vec<Row<'_>> {
    page.text.lines().enumerate().filter_map(|(number, line)| row(number + 1, line)).collect()
}

fn row(number: usize, line: &str) -> Option<Row<'_>> {
    let mut cells = line.strip_prefix("| `")?.split(" | ");
    let messages = quoted(cells.next()?, true);
    Some(Row { number, messages, levels: cells.next()?, fields: quoted(cells.next()?, false) })
}

/// The words in backquotes; the first backquote is gone where `is_open`.
fn quoted(cell: &str, is_open: bool) -> Vec<&str> {
    cell.split('`').skip(usize::from(!is_open)).step_by(2).filter(|word| !word.is_empty()).collect()
}

/// The lines a file writes outside its tests.
fn lines(file: &File) -> Vec<Line<'_>> {
    let code = file.code();
    let calls = LEVELS.into_iter().flat_map(|level| {
        let call = format!("tracing::{level}!(");
        let places: Vec<_> = code.match_indices(&call).map(|(at, _)| (at, at + call.len())).collect();
        places.into_iter().map(move |(at, inside)| (level, at, inside))
    });
    calls.map(|(level, at, inside)| line(file, level, at, inside..tree::closing(code, inside - 1) - 1)).collect()
}

fn line<'a>(file: &'a File, level: &'static str, at: usize, inside: Range<usize>) -> Line<'a> {
    let mut line = Line { at, level, message: "", fields: Vec::new(), fault: None };
    let code = file.code();
    let arguments = arguments(code, inside);
    let Some((message, fields)) = arguments.split_last() else { return line };
    let text = file.lexed.strings.iter().find(|string| message.contains(&string.start)).and_then(|string| file.text.get(string.clone()));
    line.message = text.unwrap_or_default();
    let is_name =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_name(line.message) {
        line.fault = Some(format!("the message `{}` is no name in snake case; put the values into fields", line.message));
    }
    for field in fields {
        let argument = code[field.clone()].trim();
        let (name, value) = argument.split_once('=').unwrap_or((argument.trim_start_matches(['%', '?']), argument));
        let name = name.trim();
        if value.trim_start().starts_with('?') {
            line.fault = Some(format!("`{name}` is written as Rust writes structures; say it in words, or its parts as fields"));
        } else if OF_THE_WRITER.contains(&name) {
            line.fault = Some(format!("the writer of lines has a field `{name}` of its own; give this one another name"));
        } else if !is_name(name) {
            line.fault = Some(format!("`{name}` is no name of a field; give it one: `name = …`"));
        }
        line.fields.push(name);
    }
    line
}

/// What stands between the commas of a call, brackets within looked over.
fn arguments(code: &str, inside: Range<usize>) -> Vec<Range<usize>> {
    let (mut arguments, mut begin, mut at) = (Vec::new(), inside.start, inside.start);
    while at < inside.end {
        match code.as_bytes()[at] {
            b'(' | b'[' | b'{' => at = tree::closing(code, at),
            b',' => {
                arguments.push(begin..at);
                at += 1;
                begin = at;
            }
            _ => at += 1,
        }
    }
    arguments.push(begin..inside.end);
    // After the last comma there may be nothing but space, or a blanked string with its quotes.
    arguments.retain(|range| !code[range.clone()].is_empty());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| message | level | fields |\n|---|---|---|\n| `gone` | info | |\n| `came`, `went` | info; warn at night | `tenant`, `bytes` (in all) |\n";

    fn found(code: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let files = [("host/src/a.rs", code), (LOGGING, PAGE)].map(|(path, text)| (path.to_owned(), text.to_owned()));
        check(&Tree::of(files), &mut findings);
        findings.into_iter().filter(|finding| finding.file == "host/src/a.rs").map(|finding| finding.what).collect()
    }

    #[test]
    fn a_line_and_its_row_need_each_other() {
        assert_eq!(found("tracing::info!(%tenant, bytes = f(1, 2), \"came\");\ntracing::warn!(\"went\");"), [""; 0]);
        let mut findings = Vec::new();
        let code = "tracing::info!(\"came\"); tracing::warn!(\"went\"); tracing::error!(\"new\");\n";
        check(&Tree::of([("host/src/a.rs", code), (LOGGING, PAGE)].map(|(path, text)| (path.to_owned(), text.to_owned()))), &mut findings);
        let places: Vec<_> = findings.iter().map(|finding| format!("{}:{}", finding.file, finding.line)).collect();
        assert_eq!(places, ["host/src/a.rs:1", "docs/logging.md:3"]);
    }

    #[test]
    fn a_level_and_a_field_are_those_of_the_row() {
        assert!(found("tracing::error!(\"came\");")[0].contains("`error` here"));
        assert!(found("tracing::info!(age = 1, \"came\");")[0].contains("the field `age`"));
    }

    #[test]
    fn a_field_has_no_name_of_the_writers_no_structure_and_a_message_no_value() {
        assert!(found("tracing::info!(message = id, \"came\");")[0].contains("`message` of its own"));
        assert!(found("tracing::info!(?tenant, \"came\");")[0].contains("as Rust writes"));
        assert!(found("tracing::info!(bytes = ?tenant, \"came\");")[0].contains("as Rust writes"));
        assert!(found("tracing::info!(\"{tenant} came\");")[0].contains("no name in snake case"));
        assert!(found("tracing::info!(%self.tenant, \"came\");")[0].contains("no name of a field"));
    }
}
