//! What was measured, as Markdown: figures against their floors, then every server in detail, then what has to be said with it.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{machine::Machine, reading::Readings};

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Floor {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
    /// No promise; measured to be seen.
    None,
}

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what; stands behind value and floor.
    pub(crate) unit: &'static str,
    /// What it has to reach.
    pub(crate) floor: Floor,
}

/// All that was measured in one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// In the order of the table.
    pub(crate) figures: Vec<Figure>,
    /// Servers under load.
    pub(crate) readings: Vec<Readings>,
    /// What was left out, and why.
    pub(crate) skipped: Vec<String>,
    /// What has a table of its own.
    pub(crate) pages: Vec<String>,
}

impl Floor {
    /// Whether a value reaches it; a value that is no number reaches nothing.
    fn is_cleared_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(floor) => value >= floor,
            Self::AtMost(floor) => value <= floor,
            Self::None => true,
        }
    }
}

impl Figure {
    /// Whether its floor is reached.
    pub(crate) fn is_cleared(&self) -> bool {
        self.floor.is_cleared_by(self.value)
    }

    fn row(&self) -> String {
        let (value, unit) = (number(self.value), self.unit);
        let floor = match self.floor {
            Floor::AtLeast(floor) => format!("≥ {}{unit}", number(floor)),
            Floor::AtMost(floor) => format!("≤ {}{unit}", number(floor)),
            Floor::None => return format!("| {} | {value}{unit} | | |", self.name),
        };
        let cleared = if self.is_cleared() { "yes" } else { "**no**" };
        format!("| {} | {value}{unit} | {floor} | {cleared} |", self.name)
    }
}

impl Report {
    /// Whether every floor is reached.
    pub(crate) fn is_cleared(&self) -> bool {
        self.figures.iter().all(Figure::is_cleared)
    }

    /// The median rate of a server, where it was measured.
    pub(crate) fn per_s(&self, name: &str) -> Option<f64> {
        self.readings.iter().find(|readings| readings.name == name).map(Readings::per_s)
    }

    /// The value of a figure, where it was measured.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    /// The whole text.
    pub(crate) fn markdown(&self, machine: &Machine, command: &str) -> String {
        let mut lines = vec!["# Bench".to_owned(), String::new(), format!("`{command}` on"), String::new()];
        lines.extend(machine.lines().iter().map(|line| format!("* {line}")));
        lines.extend(["", "Generator and servers share these cores; nothing is pinned.", ""].map(str::to_owned));
        if machine.is_unoptimised() {
            lines.extend([UNOPTIMISED, ""].map(str::to_owned));
        }
        if !self.figures.is_empty() {
            lines.extend(["## Figures", "", "| figure | measured | floor | cleared |", "|---|---:|---:|---|"].map(str::to_owned));
            lines.extend(self.figures.iter().map(Figure::row));
            lines.push(String::new());
        }
        if !self.readings.is_empty() {
            lines.extend(["## Servers under load", "", SERVERS_HEAD, "|---|---:|---:|---:|---:|---:|---:|---|"].map(str::to_owned));
            lines.extend(self.readings.iter().map(server_row));
            lines.extend(["", SERVERS_WORDS].map(str::to_owned));
        }
        lines.extend(self.pages.iter().flat_map(|page| [String::new(), page.clone()]));
        if !self.skipped.is_empty() {
            lines.extend(["", "## Left out", ""].map(str::to_owned));
            lines.extend(self.skipped.iter().map(|words| format!("* {words}")));
        }
        lines.join("\n") + "\n"
    }

    /// Writes the text into a folder, which is made.
    pub(crate) fn write(text: &str, folder: &Path) -> anyhow::Result<PathBuf> {
        let path = folder.join("README.md");
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }
}

const UNOPTIMISED: &str = "**Our code was compiled without optimisation.** Generator, bare loop and host are several times slower than they are, the other \
servers are not: this report shows that the bench works, and its figures and ratios mean nothing.";

const SERVERS_HEAD: &str = "| server | deliveries/s | p50 ms | p99 ms | max ms | server CPU µs | generator CPU µs | rates of the rounds |";

const SERVERS_WORDS: &str = "Medians of the rounds. 64 keep-alive connections, documents of 6.9 kB, every request signed anew under an id of its own. CPU time is \
for each delivery, over all processes of the server. In an open loop latency counts from the time a delivery should have been sent.";

fn server_row(readings: &Readings) -> String {
    let ms =
        |value: fn(&crate::reading::Reading) -> std::time::Duration| number(readings.median(|reading| value(reading).as_secs_f64() * 1e3));
    let (p50, p99, max) = (ms(|reading| reading.p50), ms(|reading| reading.p99), ms(|reading| reading.max));
    let (server, generator) = (readings.median(|reading| reading.server_cpu_us), readings.median(|reading| reading.generator_cpu_us));
    let rates: Vec<_> = readings.rounds.iter().map(|reading| number(reading.per_s)).collect();
    let mut row = format!("| {} | {} | {p50} | {p99} | {max} ", readings.name, number(readings.per_s()));
    // Writing to a string cannot fail.
    let _ = write!(row, "| {} | {} | {} |", number(server), number(generator), rates.join(" · "));
    row
}

/// Three digits that matter, thousands apart.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let digits: Vec<char> = whole.chars().collect();
    let mut grouped = String::new();
    for (at, digit) in digits.iter().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digits[at - 1].is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(*digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, floor: Floor) -> Figure {
        Figure { name: "a figure".to_owned(), value, unit: "×", floor }
    }

    #[test]
    fn a_floor_is_cleared_at_its_very_value_and_missed_just_beside_it() {
        for (floor, cleared, missed) in [(Floor::AtLeast(5.0), 5.0, 4.999), (Floor::AtMost(1.3), 1.3, 1.301)] {
            assert!(figure(cleared, floor).is_cleared());
            assert!(!figure(missed, floor).is_cleared());
            assert!(!figure(f64::NAN, floor).is_cleared(), "a figure that is no number clears its floor");
        }
    }

    #[test]
    fn one_missed_floor_fails_the_report_and_shows_in_its_row() {
        let report = |figures| Report { figures, ..Report::default() };
        assert!(report(vec![figure(9.0, Floor::AtLeast(5.0)), figure(0.0, Floor::None)]).is_cleared());
        let missed = figure(4.0, Floor::AtLeast(5.0));
        assert_eq!(missed.row(), "| a figure | 4.00× | ≥ 5.00× | **no** |");
        assert!(!report(vec![figure(9.0, Floor::AtLeast(5.0)), missed]).is_cleared());
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        let shown = [0.0, 1.234, 12.34, 123.4, 1_234.0, 58_123.4, 1_234_567.0, -1_234.0].map(number);
        assert_eq!(shown, ["0.00", "1.23", "12.3", "123", "1,234", "58,123", "1,234,567", "-1,234"]);
    }
}
