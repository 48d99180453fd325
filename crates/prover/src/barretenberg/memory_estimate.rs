//! bb's memory, estimated for circuits that no proof has measured. All figures were measured with bb 5.0.0.

use crate::{CircuitSize, MemoryEstimate};

/// The most memory of a bb that has done no work yet, in bytes.
pub const FRESH_BYTES: u64 = 8 << 20;

/// The memory that each thread adds to a proof at most, in bytes. Measured: 1.6 to 3.1 MiB.
const THREAD_BYTES: u64 = 3 << 20;

/// Estimates the memory of a proof by the size of its circuit. At dyadic sizes of 4,096 to 32,768 the estimate is 1.2
/// to 1.6 times the memory that a proof takes.
#[must_use]
pub fn by_size(size: CircuitSize) -> MemoryEstimate {
    let base_bytes = (16 << 20) + size.dyadic_size.saturating_mul(2304);
    MemoryEstimate { base_bytes, per_thread_bytes: THREAD_BYTES, measured_max_factor: None }
}

/// Estimates the memory of a proof by the peak memory of a bb that did nothing but make the circuit's key. A proof
/// takes 1.2 to 1.4 times that memory.
#[must_use]
pub fn by_key(peak_bytes: u64) -> MemoryEstimate {
    MemoryEstimate {
        base_bytes: peak_bytes / 4 * 5 + (8 << 20),
        per_thread_bytes: THREAD_BYTES,
        measured_max_factor: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_grows_with_the_circuit() {
        let base = |dyadic_size| by_size(CircuitSize { gates: 1, dyadic_size }).base_bytes >> 20;
        assert_eq!([4096, 16_384, 32_768].map(base), [25, 52, 88]);
        assert_eq!(by_key(40 << 20).base_bytes >> 20, 58);
    }
}
