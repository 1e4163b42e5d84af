//! What all lists are asked with: a time is so long ago or a point in time, and a page has a beginning and a size.

use std::{str::FromStr, time::Duration};

use crate::{clock::Clock, delivery::Timestamp, ledger::PAGE_MAX};

/// Which part of a list.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Page {
    /// The `next_cursor` of the page before
    #[arg(long)]
    pub(super) cursor: Option<String>,
    /// How many at most, up to 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=PAGE_MAX as i64))]
    pub(super) limit: u16,
}

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// So long before now.
    Ago(Duration),
    /// From then on.
    At(Timestamp),
}

impl Since {
    /// The point in time, seen from `now`.
    pub(super) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.before(span),
            Self::At(time) => time,
        }
    }
}

impl Since {
    /// The point in time, seen from now, as the API takes it.
    pub(super) fn for_api(self) -> String {
        self.before(Clock::system().now()).to_string()
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time; expected `24h`, `30m`, `7d` or 2026-01-31T12:00:00Z");
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        let unit = text.chars().last().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        count.checked_mul(seconds).map(|seconds| Self::Ago(Duration::from_secs(seconds))).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_and_a_time_are_read_and_nothing_else() {
        let now = Timestamp::from_unix_ms(1_700_000_000_000);
        let at = |text: &str| text.parse::<Since>().map(|since| since.before(now).unix_ms());
        assert_eq!(at("24h"), Ok(1_700_000_000_000 - 86_400_000));
        assert_eq!((at("90s"), at("1m"), at("1d")), (Ok(1_699_999_910_000), Ok(1_699_999_940_000), at("24h")));
        assert_eq!(at("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        for bad in ["", "h", "24", "-1h", "1.5h", "yesterday", "99999999999999999999h", "18446744073709551615d", "ü"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}
