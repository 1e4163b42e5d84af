//! How long everything is measured, and what a figure is: the median of rounds.

use std::time::Duration;

/// The lengths of one run of the bench.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    /// Rounds of every figure; odd, so that the median is one that was measured.
    pub(crate) rounds: usize,
    /// Load before a round counts.
    pub(crate) warm_up: Duration,
    /// A round of load.
    pub(crate) span: Duration,
    /// Deliveries of an end-to-end round.
    pub(crate) end_to_end: u64,
    /// Runs of a run-cost round.
    pub(crate) runs: u32,
    /// Deliveries queued over the restart.
    pub(crate) queued: u64,
}

impl Lengths {
    /// What is committed.
    pub(crate) const FULL: Self =
        Self { rounds: 5, warm_up: Duration::from_secs(2), span: Duration::from_secs(6), end_to_end: 50_000, runs: 5_000, queued: 500_000 };
    /// What tells in two minutes whether something broke.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        warm_up: Duration::from_millis(500),
        span: Duration::from_secs(2),
        end_to_end: 10_000,
        runs: 1_000,
        queued: 50_000,
    };
}

/// The middle value; the lower of two. Zero of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_a_value_that_was_measured() {
        assert_eq!([median([3.0, 1.0, 2.0]), median([4.0, 1.0]), median([])].map(f64::to_bits), [2.0, 1.0, 0.0].map(f64::to_bits));
    }
}
