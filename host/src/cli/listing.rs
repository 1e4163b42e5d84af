//! Lists for people: a table that fits a terminal, with what does not fit a cell on lines of its own beneath the row.
//!
//! A list is read on 80 columns. Where a terminal is wider, it has that width; where there is none, 80, so that a list in a mail or a ticket looks as
//! it did on the screen. Programs take `--json`, which leaves nothing out.

use serde_json::Value;

use super::{
    exit::Failure,
    output::{Output, field, harmless},
};

/// Columns of a list where nothing is known of the terminal, and at least.
const WIDTH: usize = 80;
/// A column that gives way keeps this many.
const GIVEN_UP_MIN: usize = 8;
const INDENT: &str = "  ";

/// What is listed: the heads of the columns, and which of them give way when it is too wide, the first one first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    pub(super) heads: &'a [&'a str],
    pub(super) soft: &'a [usize],
}

/// One row, and what is to be said of it beneath.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Columns<'_> {
    /// Prints the rows.
    pub(super) fn print(self, output: Output, rows: &[Row]) -> Result<(), Failure> {
        let terminal = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
        let mut lines = self.lines(rows, terminal.unwrap_or(WIDTH).max(WIDTH)).into_iter();
        if let Some(heads) = lines.next() {
            output.heading(&heads)?;
        }
        lines.try_for_each(|line| output.line(&line))
    }

    fn lines(self, rows: &[Row], width: usize) -> Vec<String> {
        let heads: Vec<String> = self.heads.iter().map(|head| head.to_uppercase()).collect();
        let rows: Vec<(Vec<String>, &Row)> = rows.iter().map(|row| (row.cells.iter().map(|cell| harmless(cell)).collect(), row)).collect();
        let widest = |column: usize| {
            let cells = rows.iter().filter_map(|(cells, _)| cells.get(column)).map(|cell| cell.chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..heads.len()).map(widest).collect();
        for &column in self.soft {
            let excess = (widths.iter().sum::<usize>() + INDENT.len() * (widths.len().saturating_sub(1))).saturating_sub(width);
            widths[column] = widths[column].saturating_sub(excess).max(GIVEN_UP_MIN.min(widths[column]));
        }
        let mut lines = vec![line(&heads, &widths)];
        for (cells, row) in &rows {
            lines.push(line(cells, &widths));
            for note in &row.notes {
                lines.extend(wrapped(&harmless(note), width - INDENT.len()).into_iter().map(|part| format!("{INDENT}{part}")));
            }
        }
        lines
    }
}

/// Month, day and time of an RFC 3339 time in UTC; `-` where there is none.
pub(super) fn time(object: &Value, name: &str) -> String {
    let whole = field(object, name);
    match (whole.get(5..10), whole.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time}"),
        _ => whole,
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, &width)| format!("{:width$}", cut(cell, width))).collect();
    cells.join(INDENT).trim_end().to_owned()
}

/// A text that is too long ends with `…`.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Words in lines of at most `width`; a word that is longer is broken.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (number, part) in letters.chunks(width).enumerate() {
            let Some(last) = lines.last_mut() else { break };
            let needed = last.chars().count() + usize::from(!last.is_empty()) + part.len();
            if number > 0 || needed > width {
                lines.push(part.iter().collect());
            } else {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.extend(part);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns<'_> = Columns { heads: &["name", "events", "status"], soft: &[1, 0] };

    fn row(cells: [&str; 3], notes: &[&str]) -> Row {
        Row { cells: cells.map(str::to_owned).to_vec(), notes: notes.iter().map(|&note| note.to_owned()).collect() }
    }

    #[test]
    fn a_row_that_is_too_wide_gives_up_its_soft_columns_in_their_order() {
        let events = "pull_request.opened,".repeat(6);
        let lines = COLUMNS.lines(&[row(["triage", &events, "active"], &[]), row(["größer", "push", "paused"], &[])], WIDTH);
        assert_eq!(lines[0], format!("{:8}{:66}STATUS", "NAME", "EVENTS"));
        assert!(lines[1].starts_with("triage  pull_request.opened,") && lines[1].ends_with("…  active"), "{}", lines[1]);
        assert_eq!(lines[2], format!("größer  {:64}  paused", "push"));
        let name = "n".repeat(63);
        let lines = COLUMNS.lines(&[row([&name, &events, "active (newer refused)"], &[])], WIDTH);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        assert!(lines[1].ends_with("active (newer refused)"), "{}", lines[1]);
    }

    #[test]
    fn what_does_not_fit_a_cell_is_told_whole_beneath_it() {
        let (reason, word) = ("it exports no handler ".repeat(8), "x".repeat(100));
        let lines = COLUMNS.lines(&[row(["a", "push", "refused"], &[&reason, &word])], WIDTH);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        let told: Vec<&str> = lines[2..].iter().flat_map(|line| line.split_whitespace()).collect();
        assert_eq!(told.join(" ").matches("it exports no handler").count(), 8);
        assert_eq!(told.concat().matches('x').count(), 100 + 8, "of `exports` and of the long word");
    }

    #[test]
    fn a_strangers_text_cannot_drive_the_terminal() {
        let lines = COLUMNS.lines(&[row(["\x1b]0;owned\x07", "b", "c"], &["\x1b[2J"])], WIDTH);
        assert!(lines.iter().all(|line| !line.contains('\x1b')), "{lines:?}");
    }

    #[test]
    fn a_time_is_short_and_what_is_none_stays() {
        let object = serde_json::json!({ "at": "2026-11-28T05:41:40.502Z", "odd": "soon", "none": null });
        assert_eq!(["at", "odd", "none"].map(|name| time(&object, name)), ["11-28 05:41:40", "soon", "-"]);
    }
}
