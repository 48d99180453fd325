//! The memory that proofs of a circuit take, learned from the processes themselves.
//!
//! A fresh process takes little memory, and each proof adds as much as its circuit needs. The process retains most of
//! that memory, so a process that has proved a large circuit shows little about a small circuit that it proves
//! afterwards. The small circuit's need lies between the growth during the proof and the whole memory of the process.
//! [`MemoryPeaks`] narrows this range with every proof.
//!
//! ```
//! use edgeprove_prover::{MemoryEstimate, MemoryPeaks, memory_peaks::Observation};
//!
//! let peaks = MemoryPeaks::default();
//! peaks.set_estimate(MemoryEstimate { base_bytes: 50 << 20, per_thread_bytes: 3 << 20, ..MemoryEstimate::default() });
//! assert_eq!(peaks.expected(2), 56 << 20);
//! peaks.observe(2, Observation { before_bytes: 5 << 20, peak_bytes: 34 << 20, is_alone: true });
//! assert_eq!(peaks.expected(2), 34 << 20);
//! ```

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// An estimate of the memory that a proof takes, for as long as no proof was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEstimate {
    /// The memory of a proof without its threads, in bytes.
    pub base_bytes: u64,
    /// The memory that each thread adds at most, in bytes. It also extends a measurement to more threads.
    pub per_thread_bytes: u64,
    /// How many times the estimate a measurement can be; `None` if measurements are exact. What is measured in a process
    /// that does other work as well may be the memory of the other work.
    pub measured_max_factor: Option<u64>,
}

/// The memory of a process around one proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Resident memory before the proof, in bytes.
    pub before_bytes: u64,
    /// Peak memory during the proof, in bytes.
    pub peak_bytes: u64,
    /// Whether the process has proved no other circuit, so that all its memory belongs to this one.
    pub is_alone: bool,
}

/// The peak memory of one process that proves one circuit, by the number of threads.
#[derive(Debug, Default)]
pub struct MemoryPeaks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    estimate: MemoryEstimate,
    measured: BTreeMap<usize, u64>,
    /// The measurements when they were last stored.
    stored: BTreeMap<usize, u64>,
}

impl MemoryPeaks {
    /// Creates peaks from measurements of an earlier run of the server: bytes by number of threads.
    #[must_use]
    pub fn stored(measured: BTreeMap<usize, u64>) -> Self {
        let estimate = MemoryEstimate::default();
        Self(Mutex::new(State { estimate, stored: measured.clone(), measured }))
    }

    /// Sets the estimate.
    pub fn set_estimate(&self, estimate: MemoryEstimate) {
        self.0.lock().estimate = estimate;
    }

    /// Adds the measurement of a proof. A higher peak counts at once. A lower one counts gradually, because the first
    /// proof of a process takes less memory than later ones.
    pub fn observe(&self, threads: usize, observation: Observation) {
        let Observation { before_bytes, peak_bytes: at_most, is_alone } = observation;
        let at_least = if is_alone { at_most } else { at_most.saturating_sub(before_bytes) };
        let mut state = self.0.lock();
        let peak = match state.measured.get(&threads) {
            Some(&known) if known > at_most => known - (known - at_most) / 8,
            Some(&known) => known.max(at_least),
            None => state.expected(threads).clamp(at_least, at_most),
        };
        let peak = state.capped(threads, peak);
        state.measured.insert(threads, peak);
    }

    /// Returns the most memory that a proof is expected to take, in bytes.
    #[must_use]
    pub fn expected(&self, threads: usize) -> u64 {
        self.0.lock().expected(threads)
    }

    /// Whether a proof was measured.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        !self.0.lock().measured.is_empty()
    }

    /// Returns the measurements: bytes by number of threads.
    #[must_use]
    pub fn measured(&self) -> BTreeMap<usize, u64> {
        self.0.lock().measured.clone()
    }

    /// Returns the measurements if they differ by more than 1/16 from those returned last.
    #[must_use]
    pub fn take_changed(&self) -> Option<BTreeMap<usize, u64>> {
        let mut state = self.0.lock();
        let has_changed = |(threads, &now): (&usize, &u64)| {
            state.stored.get(threads).is_none_or(|&then| now.abs_diff(then) > then / 16)
        };
        if !state.measured.iter().any(has_changed) {
            return None;
        }
        let now = state.measured.clone();
        state.stored.clone_from(&now);
        Some(now)
    }
}

impl State {
    fn expected(&self, threads: usize) -> u64 {
        let of_threads = |more: usize| self.estimate.per_thread_bytes.saturating_mul(more as u64);
        let narrower = self.measured.range(..=threads).next_back();
        let by_narrower = narrower.map(|(&measured, &bytes)| bytes + of_threads(threads - measured));
        let wider = || self.measured.range(threads..).next().map(|(_, &bytes)| bytes);
        match by_narrower.or_else(wider) {
            Some(measured) => self.capped(threads, measured),
            None => self.estimated(threads),
        }
    }

    fn estimated(&self, threads: usize) -> u64 {
        let MemoryEstimate { base_bytes, per_thread_bytes, .. } = self.estimate;
        base_bytes.saturating_add(per_thread_bytes.saturating_mul(threads as u64))
    }

    /// A measurement, as far as the estimate allows it. The limit must not follow from other measurements: each could be
    /// a multiple of the one before.
    fn capped(&self, threads: usize, measured: u64) -> u64 {
        let max =
            self.estimate.measured_max_factor.map(|factor| self.estimated(threads).saturating_mul(factor));
        max.map_or(measured, |max| measured.min(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn observed(before: u64, peak: u64, is_alone: bool) -> Observation {
        Observation { before_bytes: before * MIB, peak_bytes: peak * MIB, is_alone }
    }

    fn estimated(base: u64) -> MemoryPeaks {
        let peaks = MemoryPeaks::default();
        peaks.set_estimate(MemoryEstimate {
            base_bytes: base * MIB,
            per_thread_bytes: 3 * MIB,
            ..Default::default()
        });
        peaks
    }

    #[test]
    fn the_estimate_bounds_every_measurement() {
        let estimate =
            MemoryEstimate { base_bytes: 7 * MIB, per_thread_bytes: 3 * MIB, measured_max_factor: Some(4) };
        let peaks = MemoryPeaks::default();
        peaks.set_estimate(estimate);
        for _ in 0..10 {
            peaks.observe(1, observed(100, 10_000, false));
            assert_eq!(peaks.expected(1), 40 * MIB, "a measurement does not raise the limit of the next");
        }
        assert_eq!(peaks.measured(), [(1, 40 * MIB)].into());
        // Of an earlier start, with a measurement from which that of more threads follows.
        let stored = MemoryPeaks::stored([(1, 10_000 * MIB)].into());
        assert_eq!(stored.expected(1), 10_000 * MIB);
        stored.set_estimate(estimate);
        assert_eq!([1, 2].map(|threads| stored.expected(threads)), [40 * MIB, 52 * MIB]);
        stored.observe(1, observed(100, 101, false));
        assert_eq!(stored.measured(), [(1, 40 * MIB)].into());
        peaks.observe(2, observed(100, 120, false));
        assert_eq!(peaks.expected(2), 43 * MIB, "what one thread took counts for two");
    }

    #[test]
    fn an_estimate_counts_until_a_proof_is_measured() {
        let peaks = estimated(52);
        assert_eq!(peaks.expected(1), 55 * MIB);
        assert_eq!(peaks.expected(4), 64 * MIB);
        assert!(!peaks.is_measured());
        peaks.observe(2, observed(5, 34, true));
        assert_eq!(peaks.expected(2), 34 * MIB);
        assert_eq!(peaks.expected(4), 40 * MIB, "each further thread adds to it");
        assert_eq!(peaks.expected(1), 34 * MIB, "one thread less takes no more");
    }

    #[test]
    fn a_larger_circuit_before_does_not_enlarge_a_circuit() {
        let peaks = estimated(25);
        let estimate = peaks.expected(1);
        peaks.observe(1, observed(76, 76, false));
        assert_eq!(peaks.expected(1), estimate, "anything up to 76 MiB fits the observation");
        peaks.observe(1, observed(5, 19, false));
        assert!(peaks.expected(1) < estimate);
        for _ in 0..100 {
            peaks.observe(1, observed(5, 19, false));
        }
        assert_eq!(peaks.expected(1) / MIB, 19);
        peaks.observe(1, observed(70, 76, false));
        assert_eq!(peaks.expected(1) / MIB, 19);
        peaks.observe(1, observed(50, 76, false));
        assert_eq!(peaks.expected(1) / MIB, 26, "the process grew by that much");
    }

    #[test]
    fn a_higher_peak_counts_at_once_a_lower_one_gradually() {
        let peaks = MemoryPeaks::default();
        peaks.observe(1, observed(5, 60, true));
        peaks.observe(1, observed(60, 76, true));
        assert_eq!(peaks.expected(1), 76 * MIB);
        peaks.observe(1, observed(5, 60, true));
        assert_eq!(peaks.expected(1), 74 * MIB);
    }

    #[test]
    fn only_a_considerable_change_is_stored() {
        let peaks = MemoryPeaks::default();
        assert_eq!(peaks.take_changed(), None);
        peaks.observe(1, observed(5, 32, true));
        assert_eq!(peaks.take_changed(), Some([(1, 32 * MIB)].into()));
        assert_eq!(peaks.take_changed(), None);
        peaks.observe(1, observed(32, 33, true));
        assert_eq!(peaks.take_changed(), None);
        peaks.observe(2, observed(5, 33, true));
        assert!(peaks.take_changed().is_some());
        let restored = MemoryPeaks::stored(peaks.measured());
        assert_eq!((restored.expected(2), restored.take_changed()), (33 * MIB, None));
    }
}
