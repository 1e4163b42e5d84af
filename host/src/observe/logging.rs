//! Where log lines go: one subscriber for the process, set up once. The law of the lines is in `docs/logging.md`.
//!
//! Lines go to standard error, so that standard output stays data. A person at a terminal gets readable lines, a collector gets one JSON
//! object a line.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Human,
    /// One JSON object a line, for a collector.
    Json,
}

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
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        Format::Human => lines.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
