//! What people read: data to stdout, words to stderr, `--json` as objects.
//!
//! Names, reasons and log lines come from strangers. A terminal obeys escape sequences, so every control character is made harmless here, in
//! the one place through which text leaves; in objects it is escaped, which changes none of their values.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use serde_json::Value;

use super::exit::Failure;
use crate::text::escaped;
pub(super) use crate::text::harmless;

/// Digits of a short id.
const SHORT: usize = 12;

/// Where a command writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    colour: bool,
}

#[expect(clippy::unused_self, reason = "text leaves through an `Output` only, whether or not the way depends on its settings")]
impl Output {
    /// Colour only on a terminal, and not where `NO_COLOR` is set (<https://no-color.org>).
    #[must_use]
    pub(super) fn new(json: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colour: io::stdout().is_terminal() && !unwanted }
    }

    /// Whether objects are asked for.
    #[must_use]
    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// A line of data.
    pub(super) fn line(self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{}", harmless(text))?)
    }

    /// The heads of a list's columns.
    pub(super) fn heading(self, text: &str) -> Result<(), Failure> {
        if self.colour {
            return Ok(writeln!(io::stdout().lock(), "\x1b[1m{}\x1b[0m", harmless(text))?);
        }
        self.line(text)
    }

    /// Bytes of data as they are: for completions, which are ours.
    pub(super) fn raw(self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(io::stdout().lock().write_all(bytes)?)
    }

    /// An object, with its values unchanged; on one line where it is one of a stream.
    pub(super) fn object(self, value: &Value, stream: bool) -> Result<(), Failure> {
        let text = if stream { value.to_string() } else { format!("{value:#}") };
        Ok(writeln!(io::stdout().lock(), "{}", escaped(&text))?)
    }

    /// A table with aligned columns.
    pub(super) fn table(self, head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        for line in align(head, rows, self.colour) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// A line of words; that it cannot be written is nothing one could say anywhere.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless(text));
}

/// What to type next.
#[must_use]
pub(super) fn next(command: &str) -> String {
    format!("next: {command}")
}

/// The beginning of a delivery's id or a digest: as long as people read, and long enough to be one in a log of millions.
#[must_use]
pub(super) fn short(id: &str) -> &str {
    id.char_indices().nth(SHORT).map_or(id, |(end, _)| &id[..end])
}

/// The text of a field of an object: `-` where there is none.
#[must_use]
pub(super) fn field(object: &Value, name: &str) -> String {
    match &object[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

fn align(head: &[&str], rows: &[Vec<String>], colour: bool) -> Vec<String> {
    let clean: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| harmless(cell)).collect()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            clean.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).chain([head[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let heading = head.iter().map(|title| title.to_uppercase()).collect::<Vec<_>>();
    let paint = |line: String| if colour { format!("\x1b[1m{line}\x1b[0m") } else { line };
    std::iter::once(paint(pad(&heading, &widths))).chain(clean.iter().map(|row| pad(row, &widths))).collect()
}

fn pad(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, &width) in cells.iter().zip(widths) {
        // Writing to a string cannot fail.
        let _ = write!(line, "{cell:<width$}  ");
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_cannot_drive_the_terminal() {
        let lines = align(&["name"], &[vec!["x\x1b]0;owned\x07".to_owned()]], false);
        assert!(lines.iter().all(|line| !line.contains('\x1b')), "{lines:?}");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["größer".to_owned(), "2".to_owned()]];
        assert_eq!(align(&["name", "n"], &rows, false), ["NAME    N", "a       1", "größer  2"]);
    }

    #[test]
    fn an_absent_field_is_a_dash() {
        let object = serde_json::json!({ "a": null, "b": ["x", "y"], "c": 3 });
        assert_eq!(["a", "b", "c", "d"].map(|name| field(&object, name)), ["-", "x,y", "3", "-"]);
    }
}
