//! Points in time: GitHub writes most as RFC 3339, and some of a push's as seconds since the Unix epoch.

use serde::{Deserialize, Deserializer};

const DAY_S: u64 = 86_400;

/// The day of a moment given in milliseconds since the Unix epoch, as `2026-05-18`, in UTC.
pub fn day(unix_ms: u64) -> String {
    let (year, month, day) = civil(unix_ms / 1000 / DAY_S);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A moment given in seconds since the Unix epoch, as `2026-05-18T09:12:44Z`.
fn rfc3339(unix_s: u64) -> String {
    let second = unix_s % DAY_S;
    format!("{}T{:02}:{:02}:{:02}Z", day(unix_s.saturating_mul(1000)), second / 3600, second / 60 % 60, second % 60)
}

/// For fields that are a number in one event and text in another; always text afterwards.
pub(super) fn either<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Seconds(u64),
        Text(String),
    }
    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| match either {
        Either::Seconds(seconds) => rfc3339(seconds),
        Either::Text(text) => text,
    }))
}

/// Year, month and day of a day counted from 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (784_111_777, "1994-11-06T08:49:37Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix_s), expected);
        }
        assert_eq!(day(1_767_225_599_999), "2025-12-31");
    }

    #[test]
    fn a_moment_is_text_however_it_was_written() {
        #[derive(Deserialize)]
        struct View {
            #[serde(default, deserialize_with = "either")]
            at: Option<String>,
        }
        let at = |document: &str| serde_json::from_str::<View>(document).unwrap().at;
        assert_eq!(at(r#"{"at":784111777}"#).as_deref(), Some("1994-11-06T08:49:37Z"));
        assert_eq!(at(r#"{"at":"2026-05-18T09:12:44Z"}"#).as_deref(), Some("2026-05-18T09:12:44Z"));
        assert_eq!(at(r#"{"at":null}"#), None);
        assert_eq!(at("{}"), None);
    }
}
