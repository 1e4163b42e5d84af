//! Latencies, counted in buckets whose width grows with the value.
//!
//! Every power of two is cut into 64 equal buckets, so that a percentile is at most 1.6 % above the truth whatever its size, in 16 KiB for
//! each histogram and without keeping a sample. Beyond 36 minutes everything falls into the last bucket; the largest value is kept exactly.

use std::time::Duration;

const SUB_BITS: u32 = 6;
const SUB_BUCKETS: u64 = 1 << SUB_BITS;
/// Values have at most so many bits, in microseconds.
const VALUE_BITS_MAX: u32 = 31;
const BUCKETS: usize = ((VALUE_BITS_MAX - SUB_BITS + 1) as usize) << SUB_BITS;

/// A distribution of durations, to the microsecond.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub(crate) fn record(&mut self, value: Duration) {
        let us = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds everything another one counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many values were counted.
    pub(crate) fn len(&self) -> u64 {
        self.total
    }

    /// The value that `share` (0 to 1) of all values do not exceed; zero where nothing was counted.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "counts are far below 2^52"
        )]
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper_us(index).min(self.max_us));
            }
        }
        Duration::from_micros(self.max_us)
    }

    /// The largest value.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }
}

/// Which bucket a value falls into.
fn bucket(us: u64) -> usize {
    let us = us.min((1 << VALUE_BITS_MAX) - 1);
    // The first two octaves are exact: their buckets are one microsecond wide.
    let shift = (us | SUB_BUCKETS).ilog2() - SUB_BITS;
    let index = (u64::from(shift) << SUB_BITS) + (us >> shift);
    usize::try_from(index).unwrap_or(BUCKETS - 1).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper_us(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index >> SUB_BITS).saturating_sub(1);
    let mantissa = index - (shift << SUB_BITS);
    ((mantissa + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(values_us: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        values_us.into_iter().for_each(|us| histogram.record(Duration::from_micros(us)));
        histogram
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_the_bucket_is_narrow() {
        for us in (0..4_000).chain((12..31).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1])) {
            let upper = upper_us(bucket(us));
            assert!(upper >= us, "{us} is above its bucket, which ends at {upper}");
            assert!(upper - us <= us / 64, "{us} is told as {upper}");
        }
    }

    #[test]
    fn a_larger_value_is_never_in_a_smaller_bucket() {
        assert!((0..100_000).all(|us| bucket(us) <= bucket(us + 1)));
    }

    #[test]
    fn percentiles_of_an_even_spread_are_where_they_belong() {
        let histogram = filled(1..=10_000);
        for (share, us) in [(0.5, 5_000), (0.99, 9_900), (1.0, 10_000)] {
            let found = u64::try_from(histogram.quantile(share).as_micros()).unwrap();
            assert!(found >= us && found <= us + us / 64, "{share}: {found} for {us}");
        }
    }

    #[test]
    fn one_slow_answer_in_a_hundred_shows_above_the_99th_percentile_and_not_in_it() {
        let histogram = filled((0..99).map(|_| 100).chain([50_000]));
        assert!(histogram.quantile(0.99) < Duration::from_micros(103));
        assert_eq!(histogram.quantile(0.995), Duration::from_millis(50));
    }

    #[test]
    fn merging_counts_everything_once() {
        let mut histogram = filled(0..500);
        histogram.merge(&filled(500..1_000));
        assert_eq!((histogram.len(), histogram.max()), (1_000, Duration::from_micros(999)));
        assert_eq!(histogram.quantile(0.5), filled(0..1_000).quantile(0.5));
    }

    #[test]
    fn nothing_counted_is_zero_and_a_value_beyond_the_range_is_kept_as_the_largest() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
        assert_eq!(filled([1 << 40]).max(), Duration::from_micros(1 << 40));
    }
}
