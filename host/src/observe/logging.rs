//! Where log lines go: one subscriber for the process, set up once. The law of the lines is in `docs/logging.md`.
//!
//! Lines go to standard error, so that standard output stays data. A person at a terminal gets readable lines, a collector gets one JSON
//! object a line. Fields may hold text from outside; what a terminal would obey in it leaves escaped, whichever format it is. Nothing here waits
//! for who reads it, nor fails where nobody does: a thread of its own writes (`lines`).

use std::{
    io::{self, IsTerminal, Write},
    panic,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::Dispatch;
use tracing_subscriber::{
    EnvFilter,
    fmt::{MakeWriter, fmt},
    util::SubscriberInitExt as _,
};

use super::lines::{DroppedLines, Lines};
use crate::text::{escaped, harmless};

/// What is still in the queue at the end of the process has so long to be written.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Human,
    /// One JSON object a line, for a collector.
    Json,
}

/// The log of this process. When it is dropped, what is left in the queue is written, where somebody takes it in time.
#[derive(Debug)]
pub struct Log {
    lines: Lines,
    dropped: DroppedLines,
}

/// How lines look and which are wanted.
#[derive(Clone, Debug)]
struct Style {
    format: Format,
    filter: String,
    is_coloured: bool,
}

/// Takes a line with escapes in place of what a terminal would obey. The subscriber gives each line whole.
struct Harmless<W>(W);

/// Keeps what is written.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Format {
    /// What the setting says, or what standard error is.
    ///
    /// # Errors
    /// The setting is neither `human` nor `json`.
    pub fn choose(setting: Option<&str>) -> anyhow::Result<Self> {
        match setting {
            Some("human") => Ok(Self::Human),
            Some("json") => Ok(Self::Json),
            Some(other) => anyhow::bail!("the log format `{other}` is not known; expected `human` or `json`"),
            None if io::stderr().is_terminal() => Ok(Self::Human),
            None => Ok(Self::Json),
        }
    }
}

/// Starts logging for the whole process, panics included. `filter` is a list of directives such as `info` or `warn,hookyard::work=debug`.
/// What confines the process comes before: this starts a thread.
///
/// # Errors
/// The filter cannot be read, logging was started before, or there is no thread for it.
pub fn start(format: Format, filter: &str) -> anyhow::Result<Log> {
    let is_coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = Style { format, filter: filter.to_owned(), is_coloured };
    style.filter()?;
    let dropped = DroppedLines::default();
    let of_notice = style.clone();
    let lines = Lines::start(io::stderr(), dropped.clone(), Box::new(move |lines| of_notice.notice(lines)))
        .map_err(|error| anyhow::anyhow!("logging cannot start: no thread to write lines ({error})"))?;
    let to_queue = lines.clone();
    let started = style.dispatch(move || Harmless(to_queue.clone()))?.try_init();
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))?;
    // The hook that is there by default waits until somebody reads what it writes.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, reason = panic.payload_as_str(), thread = std::thread::current().name(), "panicked");
    }));
    Ok(Log { lines, dropped })
}

impl Log {
    /// Words for who looks at standard error, as a line among the others.
    pub fn say(&self, words: &str) {
        self.lines.put(format!("{}\n", harmless(words)).into_bytes());
    }

    /// The count of lines that were dropped.
    #[must_use]
    pub fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.flush(FLUSH_MAX);
    }
}

impl Style {
    fn filter(&self) -> anyhow::Result<EnvFilter> {
        let filter = &self.filter;
        EnvFilter::try_new(filter)
            .map_err(|error| anyhow::anyhow!("the log filter `{filter}` cannot be read ({error}); expected for example `info`"))
    }

    /// A subscriber that writes to `writer`.
    fn dispatch<W>(&self, writer: W) -> anyhow::Result<Dispatch>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        // What the library would say of its own errors it says to standard error itself, and panics where that fails.
        let lines = fmt().with_env_filter(self.filter()?).log_internal_errors(false).with_writer(writer);
        Ok(match self.format {
            Format::Human => Dispatch::new(lines.with_ansi(self.is_coloured).finish()),
            Format::Json => Dispatch::new(lines.json().flatten_event(true).with_current_span(false).with_span_list(false).finish()),
        })
    }

    /// The line that says how many were dropped. It does not go through the queue that was full. As it has the filter of all lines, the
    /// short life of its subscriber changes nothing for other threads.
    fn notice(&self, lines: u64) -> Vec<u8> {
        let kept = Kept::default();
        let writer = kept.clone();
        if let Ok(dispatch) = self.dispatch(move || Harmless(writer.clone())) {
            tracing::dispatcher::with_default(&dispatch, || tracing::warn!(lines, "log_lines_dropped"));
        }
        std::mem::take(&mut *kept.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Write for Harmless<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Lines are strings; what is none would be half a character, and half a control character is none.
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(escaped(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(format: Format) -> Style {
        Style { format, filter: "info".to_owned(), is_coloured: false }
    }

    #[test]
    fn a_line_has_nothing_a_terminal_obeys_whatever_its_fields_hold_and_its_values_are_the_same() {
        const FOREIGN: &str = "a\u{9b}2J\u{202e}b\u{2028}c\x1b[31m\u{7f}";
        let kept = Kept::default();
        for format in [Format::Json, Format::Human] {
            let writer = kept.clone();
            let dispatch = style(format).dispatch(move || Harmless(writer.clone())).unwrap();
            tracing::dispatcher::with_default(&dispatch, || tracing::warn!(reason = FOREIGN, "plugin_refused"));
        }
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(text.chars().all(|c| c == '\n' || !crate::text::is_obeyed(c)), "{text:?}");
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["reason"], FOREIGN);
    }

    #[test]
    fn the_setting_decides_the_format_and_a_wrong_one_is_named() {
        assert_eq!(Format::choose(Some("human")).unwrap(), Format::Human);
        assert_eq!(Format::choose(Some("json")).unwrap(), Format::Json);
        assert!(Format::choose(Some("xml")).unwrap_err().to_string().contains("`xml`"));
    }

    #[test]
    fn dropped_lines_are_told_in_the_format_of_the_others() {
        let line: serde_json::Value = serde_json::from_slice(&style(Format::Json).notice(7)).unwrap();
        assert_eq!((&line["message"], &line["lines"], &line["level"]), (&"log_lines_dropped".into(), &7.into(), &"WARN".into()));
        let line = String::from_utf8(style(Format::Human).notice(7)).unwrap();
        assert!(line.ends_with("log_lines_dropped lines=7\n"), "{line:?}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_before_anything_starts() {
        assert!(start(Format::Json, "hookyard=loudly").unwrap_err().to_string().contains("hookyard=loudly"));
    }
}
