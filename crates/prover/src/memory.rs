//! How much memory bb takes for a circuit, learnt from the processes themselves.
//!
//! A fresh bb takes about 5 MiB, and with each proof as much more as the circuit asks for. It keeps most of that, so a
//! process that has proved a large circuit says little about a small one proved after it: what it took lies somewhere
//! between what it grew by and all it had. [`MemoryPeaks`] narrows that down, proof by proof.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What a bb that has done nothing yet may hold, in bytes.
pub const FRESH_BYTES: u64 = 8 << 20;

/// What each further thread adds to a proof, at most. Measured with bb 5.0.0: 1.6 to 3.1 MiB.
const THREAD_BYTES: u64 = 3 << 20;

/// The memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// What it has resident, in bytes.
    pub resident_bytes: u64,
    /// The most it had resident since its peak was last forgotten, in bytes.
    pub peak_bytes: u64,
}

impl MemoryUse {
    /// From /proc; `None` where there is none, and once the process is gone.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::read(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn read(status: &str) -> Option<Self> {
        let kibibytes = |name| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        };
        let resident_bytes = kibibytes("VmRSS:")? << 10;
        // The kernel brings the peak up to date now and then only.
        let peak_bytes = (kibibytes("VmHWM:")? << 10).max(resident_bytes);
        Some(Self { resident_bytes, peak_bytes })
    }
}

/// Has the kernel count a process's peak from now on; whether it does. It takes some 10 µs.
#[must_use]
pub fn forget_peak(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

/// What a process had when it had made a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// What it held before the proof, in bytes.
    pub before_bytes: u64,
    /// The most it held during the proof, in bytes.
    pub peak_bytes: u64,
    /// Whether it has never proved another circuit, so that all it holds is this one's.
    pub alone: bool,
}

/// The most memory that one bb takes for proofs of one circuit, by the number of its threads.
#[derive(Debug, Default)]
pub struct MemoryPeaks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What one thread would take, for as long as no proof has told.
    estimate_bytes: u64,
    measured: BTreeMap<usize, u64>,
    /// What was measured when it was last kept.
    kept: BTreeMap<usize, u64>,
}

impl MemoryPeaks {
    /// Peaks that an earlier process measured.
    #[must_use]
    pub fn kept(measured: BTreeMap<usize, u64>) -> Self {
        Self(Mutex::new(State { estimate_bytes: 0, kept: measured.clone(), measured }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers are written whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Estimates by the rows of the circuit's trace. Measured with bb 5.0.0 at 4,096 to 32,768 rows, the estimate is
    /// 1.2 to 1.6 times what a proof takes.
    pub fn estimate_by_rows(&self, rows: u64) {
        self.lock().estimate_bytes = (16 << 20) + rows.saturating_mul(2304);
    }

    /// Estimates by what a bb took that did nothing but make the circuit's key: a proof takes 1.2 to 1.4 times that.
    pub fn estimate_by_key(&self, peak_bytes: u64) {
        self.lock().estimate_bytes = peak_bytes / 4 * 5 + (8 << 20);
    }

    /// Takes in what a proof took. A higher peak counts at once; a lower one little by little, for the first proof of a
    /// process takes less than later ones.
    pub fn observe(&self, threads: usize, seen: Observation) {
        let at_most = seen.peak_bytes;
        let at_least =
            if seen.alone { seen.peak_bytes } else { seen.peak_bytes.saturating_sub(seen.before_bytes) };
        let mut state = self.lock();
        let known = match state.measured.get(&threads) {
            Some(&known) if known > at_most => known - (known - at_most) / 8,
            Some(&known) => known.max(at_least),
            None => state.expected(threads).clamp(at_least, at_most),
        };
        state.measured.insert(threads, known);
    }

    /// The most a proof is expected to take, in bytes.
    #[must_use]
    pub fn expected(&self, threads: usize) -> u64 {
        self.lock().expected(threads)
    }

    /// Whether any of it is measured and not estimated.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        !self.lock().measured.is_empty()
    }

    /// What was measured, by the number of threads.
    #[must_use]
    pub fn measured(&self) -> BTreeMap<usize, u64> {
        self.lock().measured.clone()
    }

    /// What was measured, if it differs from what was taken here before by so much that it is worth keeping.
    #[must_use]
    pub fn take_changed(&self) -> Option<BTreeMap<usize, u64>> {
        let mut state = self.lock();
        let is_news = |(threads, &now): (&usize, &u64)| {
            state.kept.get(threads).is_none_or(|&then| now.abs_diff(then) > then / 16)
        };
        if !state.measured.iter().any(is_news) {
            return None;
        }
        let now = state.measured.clone();
        state.kept.clone_from(&now);
        Some(now)
    }
}

impl State {
    fn expected(&self, threads: usize) -> u64 {
        let further = |more: usize| THREAD_BYTES.saturating_mul(more as u64);
        let narrower = self.measured.range(..=threads).next_back();
        let by_narrower = narrower.map(|(&measured, &bytes)| bytes + further(threads - measured));
        let wider = || self.measured.range(threads..).next().map(|(_, &bytes)| bytes);
        by_narrower.or_else(wider).unwrap_or_else(|| self.estimate_bytes.saturating_add(further(threads)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn seen(before: u64, peak: u64, alone: bool) -> Observation {
        Observation { before_bytes: before * MIB, peak_bytes: peak * MIB, alone }
    }

    #[test]
    fn an_estimate_stands_until_a_proof_tells() {
        let peaks = MemoryPeaks::default();
        peaks.estimate_by_rows(16_384);
        assert_eq!(peaks.expected(1), (16 + 36 + 3) * MIB);
        assert_eq!(peaks.expected(4), (16 + 36 + 12) * MIB);
        assert!(!peaks.is_measured());
        peaks.observe(2, seen(5, 34, true));
        assert_eq!(peaks.expected(2), 34 * MIB);
        assert_eq!(peaks.expected(4), 40 * MIB, "each thread more adds to it");
        assert_eq!(peaks.expected(1), 34 * MIB, "one thread less takes no more");
    }

    #[test]
    fn a_process_that_proved_something_larger_before_does_not_make_a_circuit_larger() {
        let peaks = MemoryPeaks::default();
        peaks.estimate_by_rows(4096);
        let estimate = peaks.expected(1);
        peaks.observe(1, seen(76, 76, false));
        assert_eq!(peaks.expected(1), estimate, "anything up to 76 MiB would fit what was seen");
        peaks.observe(1, seen(5, 19, false));
        assert!(peaks.expected(1) < estimate);
        for _ in 0..100 {
            peaks.observe(1, seen(5, 19, false));
        }
        assert_eq!(peaks.expected(1) / MIB, 19);
        peaks.observe(1, seen(70, 76, false));
        assert_eq!(peaks.expected(1) / MIB, 19);
        peaks.observe(1, seen(50, 76, false));
        assert_eq!(peaks.expected(1) / MIB, 26, "it grew by that much, so it takes that much");
    }

    #[test]
    fn a_higher_peak_counts_at_once_and_a_lower_one_little_by_little() {
        let peaks = MemoryPeaks::default();
        peaks.observe(1, seen(5, 60, true));
        peaks.observe(1, seen(60, 76, true));
        assert_eq!(peaks.expected(1), 76 * MIB);
        peaks.observe(1, seen(5, 60, true));
        assert_eq!(peaks.expected(1), 74 * MIB);
    }

    #[test]
    fn only_what_changed_much_is_worth_keeping() {
        let peaks = MemoryPeaks::default();
        assert_eq!(peaks.take_changed(), None);
        peaks.observe(1, seen(5, 32, true));
        assert_eq!(peaks.take_changed(), Some([(1, 32 * MIB)].into()));
        assert_eq!(peaks.take_changed(), None);
        peaks.observe(1, seen(32, 33, true));
        assert_eq!(peaks.take_changed(), None);
        peaks.observe(2, seen(5, 33, true));
        assert!(peaks.take_changed().is_some());
        let again = MemoryPeaks::kept(peaks.measured());
        assert_eq!((again.expected(2), again.take_changed()), (33 * MIB, None));
    }

    #[test]
    fn a_processs_memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tbb\nVmPeak:\t  200 kB\nVmHWM:\t      64 kB\nVmRSS:\t      48 kB\nThreads:\t3\n";
        let memory = MemoryUse { resident_bytes: 48 << 10, peak_bytes: 64 << 10 };
        assert_eq!(MemoryUse::read(status), Some(memory));
        assert_eq!(MemoryUse::read("Name:\tbb\nState:\tZ (zombie)\n"), None);
    }
}
