//! Facts, metrics and logs.

pub mod facts;
mod readiness;

pub use readiness::Readiness;

/// Something that can be said once, as a metric and a log line.
pub trait Fact {
    /// Counts it.
    fn count(&self, metrics: &Metrics);
    /// Writes its line.
    fn log(&self);
}

/// The registered metrics; names are in `docs/metrics.md`.
#[derive(Debug, Default)]
pub struct Metrics {}

/// Takes facts; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Observer {}

impl Observer {
    /// Counts and logs a fact.
    pub fn record(&self, fact: &impl Fact) {
        fact.log();
    }
}
