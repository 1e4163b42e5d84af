//! Structured log lines, kept with the attempt and shown by `hookyard deliveries show`. Lines and bytes a run are capped by the host.

use crate::host;

pub use crate::bindings::hookyard::plugin::log::Level;

/// Writes one line with its fields.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    host::log::write(level, message, &fields);
}

macro_rules! at {
    ($($(#[$doc:meta])* $name:ident = $level:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(message: &str, fields: &[(&str, &str)]) {
                write(Level::$level, message, fields);
            }
        )*
    };
}

at! {
    /// A line for following one run step by step.
    trace = Trace;
    /// A line for the plugin's author.
    debug = Debug;
    /// A line for whoever reads what happened.
    info = Info;
    /// Something was not as it should be, and the run goes on.
    warn = Warn;
    /// Something failed.
    error = Error;
}
