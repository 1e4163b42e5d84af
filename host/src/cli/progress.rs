//! How far long work has come: a bar on a terminal, and nothing where standard error is none, so that logs and pipes stay as they are.

use std::{borrow::Cow, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// A bar; gone from the screen when it is dropped.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of work of which it is known how much there is.
    pub(super) fn of(total: u64, what: &'static str) -> Self {
        Self::styled(ProgressBar::new(total), "{msg} {wide_bar} {human_pos} of {human_len}, {eta} left", what.into())
    }

    /// Of work that is counted as it goes.
    pub(super) fn counting(what: &'static str) -> Self {
        Self::styled(ProgressBar::new_spinner(), "{spinner} {msg}: {human_pos} ({elapsed})", what.into())
    }

    /// Of work of which only is known that it goes on.
    pub(super) fn waiting(what: impl Into<Cow<'static, str>>) -> Self {
        Self::styled(ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})", what.into())
    }

    /// Hidden where lines come to the same screen: they show how far the work is, and the bar would stand between them.
    pub(super) fn unless_lines_show_it(self) -> Self {
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            self.0.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        self
    }

    /// So much more is done.
    pub(super) fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// Takes it off the screen.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }

    fn styled(bar: ProgressBar, template: &str, what: Cow<'static, str>) -> Self {
        // A template is a constant of this file; where one were wrong, the bar would look like any other.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bar.with_style(style).with_message(what);
        if !bar.is_hidden() {
            bar.enable_steady_tick(DRAWN_EVERY);
        }
        Self(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
