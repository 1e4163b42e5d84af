//! When the other side says "not now": the times it names.

use std::time::Duration;

use super::Response;

/// GitHub's advice for a secondary rate limit that names no time: wait at least a minute
/// (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit>).
const SECONDARY_LIMIT_WAIT: Duration = Duration::from_mins(1);

impl Response {
    /// How long the other side asks to be left alone, where it does: `retry-after` (seconds or an HTTP date), else the reset of a primary rate
    /// limit that is used up (`x-ratelimit-remaining: 0`), else a minute for a secondary one. None where this answer is about something else.
    ///
    /// A plugin has no clock: the time is the answer's own `date`, which the host adds where the other side sent none.
    pub fn rate_limited(&self) -> Option<Duration> {
        if !matches!(self.status, 403 | 429 | 503) {
            return None;
        }
        let now = self.header("date").and_then(unix_seconds);
        // A second more: `date` has no fraction.
        let until = |then: u64| now.map(|now| Duration::from_secs(then.saturating_sub(now) + 1));
        if let Some(asked) = self.header("retry-after").map(str::trim) {
            if let Ok(seconds) = asked.parse() {
                return Some(Duration::from_secs(seconds));
            }
            if let Some(then) = unix_seconds(asked) {
                return Some(until(then).unwrap_or(SECONDARY_LIMIT_WAIT));
            }
        }
        let number = |name: &str| self.header(name).and_then(|value| value.trim().parse::<u64>().ok());
        if number("x-ratelimit-remaining") == Some(0) {
            return Some(number("x-ratelimit-reset").and_then(until).unwrap_or(SECONDARY_LIMIT_WAIT));
        }
        let is_secondary = self.status == 429 || (self.status == 403 && contains(&self.body, b"secondary rate limit"));
        is_secondary.then_some(SECONDARY_LIMIT_WAIT)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// Seconds since the epoch of an HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7), or in one of the two obsolete forms.
fn unix_seconds(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // `Sun Nov  6 08:49:37 1994` has no comma; `Sunday, 06-Nov-94 08:49:37 GMT` has dashes.
    let words: Vec<&str> = date.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    let (day, name, year, clock) = match words[..] {
        [weekday, day, name, year, clock, "GMT"] if weekday.ends_with(',') => (day, name, year, clock),
        [_, name, day, clock, year] => (day, name, year, clock),
        _ => return None,
    };
    let day: u64 = day.parse().ok()?;
    let month = MONTHS.iter().position(|known| *known == name)? as u64 + 1;
    let year: u64 = match (year.len(), year.parse::<u64>().ok()?) {
        // Two digits: of the years that end so, one of 1970 to 2069.
        (2, year) => year + if year < 70 { 2000 } else { 1900 },
        (_, year) => year,
    };
    let mut clock = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 || clock.next().is_some() {
        return None;
    }
    // Days since the epoch by the civil calendar, counted in years that begin in March (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = (year * 365 + year / 4 - year / 100 + year / 400 + day_of_year).checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_the_second_it_names() {
        assert_eq!(unix_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_seconds("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        for bad in ["", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(unix_seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_time_to_come_back_is_read_as_seconds_and_as_a_date() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let wait = |asked: &str, with_date: bool| {
            let answer = Response::new(503).with_header("Retry-After", asked);
            let answer = if with_date { answer.with_header("Date", date) } else { answer };
            answer.rate_limited().map(|wait| wait.as_secs())
        };
        assert_eq!(wait("120", false), Some(120));
        for asked in ["Sun, 06 Nov 1994 08:51:37 GMT", "Sunday, 06-Nov-94 08:51:37 GMT", "Sun Nov  6 08:51:37 1994"] {
            assert_eq!(wait(asked, true), Some(121), "{asked}");
            assert_eq!(wait(asked, false), Some(60), "without a clock a minute");
        }
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT", true), Some(1), "a time that is over");
        assert_eq!(wait("soon", true), None);
    }
}
