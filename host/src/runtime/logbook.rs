//! What a run says: its log lines and the record of its host calls, both bounded, both telling what was cut.

use super::recording::Question;
use crate::delivery::view::{HostCall, LogLine, Recorded};

/// Log lines kept of one run.
const LINES_MAX: usize = 200;
/// Bytes of log kept of one run.
const LOG_BYTES_MAX: usize = 32 * 1024;
/// Host calls kept of one run.
const CALLS_KEPT_MAX: usize = 200;
/// Bytes kept of a call's arguments, and of its answer.
const SIDE_BYTES_MAX: usize = 256;
/// Bytes of exact answers kept of one run: without them the attempt is shown, but cannot be replayed.
const RECORDED_BYTES_MAX: usize = 256 * 1024;

/// The field of a line in which a guest says why it is about to trap: the SDK's panic hook and the layer around JavaScript set it.
const PANIC: &str = "panic";
/// Bytes kept of such a line as the fault's detail.
const LAST_WORDS_BYTES_MAX: usize = 2048;

/// The log of one run.
#[derive(Debug, Default)]
pub(super) struct Logbook {
    last_words: Option<String>,
    lines: Vec<LogLine>,
    bytes: usize,
    cut: u64,
}

impl Logbook {
    /// Keeps a line if there is room for it, whole; counts it otherwise.
    pub(super) fn write(&mut self, level: &str, message: &str, fields: &[(String, String)]) {
        let bytes = message.len() + fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if level == "error" && fields.iter().any(|(name, _)| name == PANIC) {
            self.last_words = Some(short(message, LAST_WORDS_BYTES_MAX));
        }
        if self.lines.len() >= LINES_MAX || self.bytes + bytes > LOG_BYTES_MAX {
            self.cut += 1;
            return;
        }
        self.bytes += bytes;
        self.lines.push(LogLine { level: level.to_owned(), message: message.to_owned(), fields: fields.to_vec() });
    }

    /// Why the guest is about to trap, in its own words; kept whether or not there was room for the line.
    pub(super) fn last_words(&self) -> Option<&str> {
        self.last_words.as_deref()
    }

    /// The lines, with a last one that tells how many are missing.
    pub(super) fn into_lines(mut self) -> Vec<LogLine> {
        if self.cut > 0 {
            let message = format!("… {} lines cut (a run keeps {LINES_MAX} lines and {LOG_BYTES_MAX} bytes)", self.cut);
            self.lines.push(LogLine { level: "warn".to_owned(), message, fields: Vec::new() });
        }
        self.lines
    }
}

/// The host calls of one run.
#[derive(Debug, Default)]
pub(super) struct Journal {
    calls: Vec<HostCall>,
    recorded_bytes: usize,
    cut: u64,
}

impl Journal {
    /// Keeps a call if there is room for it; counts it otherwise.
    pub(super) fn record(&mut self, question: Question, answer: &str, recorded: Option<Recorded>) {
        if self.calls.len() >= CALLS_KEPT_MAX {
            self.cut += 1;
            return;
        }
        let room = RECORDED_BYTES_MAX.saturating_sub(self.recorded_bytes);
        let recorded = recorded.filter(|recorded| recorded.bytes() <= room);
        self.recorded_bytes += recorded.as_ref().map_or(0, Recorded::bytes);
        let Question { call, shown, digest } = question;
        self.calls.push(HostCall {
            call: call.to_owned(),
            input: short(&shown, SIDE_BYTES_MAX),
            answer: short(answer, SIDE_BYTES_MAX),
            input_digest: digest,
            recorded,
        });
    }

    /// The calls, with a last one that tells how many are missing.
    pub(super) fn into_calls(mut self) -> Vec<HostCall> {
        if self.cut > 0 {
            self.calls.push(HostCall { call: "…".to_owned(), input: format!("{} calls cut", self.cut), ..HostCall::default() });
        }
        self.calls
    }
}

fn short(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mark = "…";
    let end = (0..=bytes_max - mark.len()).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    format!("{}{mark}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_logbook_says_how_many_lines_are_missing() {
        let mut log = Logbook::default();
        for i in 0..250 {
            log.write("info", &i.to_string(), &[]);
        }
        let lines = log.into_lines();
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert!(lines[LINES_MAX].message.starts_with("… 50 lines cut"), "{}", lines[LINES_MAX].message);
    }

    #[test]
    fn the_last_words_are_kept_even_where_the_log_is_full() {
        let mut log = Logbook::default();
        log.write("info", &"x".repeat(LOG_BYTES_MAX), &[]);
        log.write("error", "only a line", &[]);
        assert_eq!(log.last_words(), None);
        log.write("error", &"ä".repeat(2000), &[("panic".to_owned(), "true".to_owned())]);
        let words = log.last_words().unwrap();
        assert!(words.len() <= LAST_WORDS_BYTES_MAX && words.starts_with('ä') && words.ends_with('…'));
    }

    #[test]
    fn a_line_larger_than_the_whole_log_is_cut_and_counted() {
        let mut log = Logbook::default();
        log.write("info", &"x".repeat(LOG_BYTES_MAX + 1), &[]);
        log.write("info", "small", &[]);
        let lines = log.into_lines();
        assert_eq!(lines[0].message, "small");
        assert!(lines[1].message.starts_with("… 1 lines cut"));
    }

    #[test]
    fn a_journal_keeps_short_sides_of_the_first_calls() {
        let mut journal = Journal::default();
        for _ in 0..206 {
            journal.record(Question::told("kv.get", "ä".repeat(300)), "none", None);
        }
        let calls = journal.into_calls();
        assert_eq!(calls.len(), CALLS_KEPT_MAX + 1);
        assert!(calls[0].input.len() <= SIDE_BYTES_MAX && calls[0].input.ends_with('…'));
        assert_eq!(calls[CALLS_KEPT_MAX].input, "6 calls cut");
    }

    #[test]
    fn exact_answers_are_kept_while_there_is_room_and_the_calls_in_any_case() {
        let mut journal = Journal::default();
        let large = || Some(Recorded::Value(Some(vec![0; RECORDED_BYTES_MAX / 2].into())));
        for recorded in [large(), large(), large(), Some(Recorded::Begun)] {
            journal.record(Question::told("kv.get", "k".to_owned()), "…", recorded);
        }
        let kept: Vec<_> = journal.into_calls().iter().map(|call| call.recorded.is_some()).collect();
        assert_eq!(kept, [true, true, false, true]);
    }
}
