//! Where log lines go: one subscriber for the process, set up once. The law of the lines is in `docs/logging.md`.
//!
//! Lines go to standard error, so that standard output stays data. A person at a terminal gets readable lines, a collector gets one JSON
//! object a line. Fields may hold text from outside; what a terminal would obey in it leaves escaped, whichever format it is.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::{EnvFilter, fmt};

use crate::text::escaped;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Human,
    /// One JSON object a line, for a collector.
    Json,
}

/// Writes lines with escapes in place of what a terminal would obey. The subscriber gives each line whole.
struct Harmless<W>(W);

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

/// Starts logging for the whole process. `filter` is a list of directives such as `info` or `warn,hookyard::work=debug`.
///
/// # Errors
/// The filter cannot be read, or logging was started before.
pub fn start(format: Format, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow::anyhow!("the log filter `{filter}` cannot be read ({error}); expected for example `info`"))?;
    let lines = fmt().with_env_filter(filter).with_writer(|| Harmless(io::stderr()));
    let started = match format {
        Format::Human => lines.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
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
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_nothing_a_terminal_obeys_whatever_its_fields_hold_and_its_values_are_the_same() {
        const FOREIGN: &str = "a\u{9b}2J\u{202e}b\u{2028}c\x1b[31m\u{7f}";
        let lines = Lines::default();
        let kept = lines.clone();
        let json = fmt().with_writer(move || Harmless(kept.clone())).json().flatten_event(true).finish();
        tracing::subscriber::with_default(json, || tracing::warn!(reason = FOREIGN, "plugin_refused"));
        let kept = lines.clone();
        let human = fmt().with_writer(move || Harmless(kept.clone())).with_ansi(false).finish();
        tracing::subscriber::with_default(human, || tracing::warn!(reason = FOREIGN, "plugin_refused"));
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
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
    fn a_filter_that_cannot_be_read_is_refused_before_anything_starts() {
        assert!(start(Format::Json, "hookyard=loudly").unwrap_err().to_string().contains("hookyard=loudly"));
    }
}
