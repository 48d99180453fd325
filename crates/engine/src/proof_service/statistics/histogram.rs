//! A histogram of durations with buckets of fixed relative width, in constant memory.

use std::time::Duration;

use super::Durations;

/// Buckets of each power of two of microseconds.
const PER_OCTAVE: usize = 16;
const OCTAVE_BITS: u32 = PER_OCTAVE.trailing_zeros();
/// The longest duration is 2^36 microseconds, 19 hours. Longer ones count as this long.
const MAX_BITS: u32 = 36;
const BUCKETS: usize = (MAX_BITS - OCTAVE_BITS + 1) as usize * PER_OCTAVE;

/// Durations, counted by bucket. A bucket is at most one sixteenth as wide as its values.
#[derive(Debug, Clone)]
pub(super) struct Histogram(Box<[u32; BUCKETS]>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Histogram {
    pub(super) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min((1 << MAX_BITS) - 1);
        let count = &mut self.0[index(micros)];
        *count = count.saturating_add(1);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0.iter()) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// The quantiles; `None` without values.
    pub(super) fn durations(&self) -> Option<Durations> {
        let quantile = |share| self.quantile(share);
        Some(Durations { p50: quantile(0.5)?, p95: quantile(0.95)?, p99: quantile(0.99)? })
    }

    /// The duration that this share of the values does not exceed; `None` without values.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is at most the number of values"
    )]
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.0.iter().map(|&count| u64::from(count)).sum();
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut sum = 0;
        let bucket = self.0.iter().position(|&count| {
            sum += u64::from(count);
            sum >= rank
        })?;
        Some(Duration::from_micros(middle(bucket)))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an index is below the number of buckets")]
fn index(micros: u64) -> usize {
    match micros.checked_ilog2().and_then(|bits| bits.checked_sub(OCTAVE_BITS)) {
        None => micros as usize,
        Some(shift) => shift as usize * PER_OCTAVE + (micros >> shift) as usize,
    }
}

fn middle(bucket: usize) -> u64 {
    let Some(shift) = (bucket / PER_OCTAVE).checked_sub(1) else { return bucket as u64 };
    (((bucket % PER_OCTAVE + PER_OCTAVE) as u64) << shift) + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_close_to_its_values() {
        for micros in (0..100).chain([1_000, 83_417, 90_000_000, (1 << MAX_BITS) - 1]) {
            let error = middle(index(micros)).abs_diff(micros);
            assert!(error * 32 <= micros.max(1), "{micros}: {error}");
        }
        assert_eq!(index((1 << MAX_BITS) - 1), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for millis in 1..=100 {
            histogram.record(Duration::from_millis(millis));
        }
        histogram.record(Duration::MAX);
        for (share, wanted_ms) in [(0.5, 51), (0.95, 96), (0.99, 100)] {
            let found = histogram.quantile(share).unwrap().as_secs_f64() * 1000.0;
            assert!((found / f64::from(wanted_ms) - 1.0).abs() < 0.04, "{share}: {found} ms");
        }
        assert!(histogram.quantile(1.0).unwrap() > Duration::from_hours(18));
    }
}
