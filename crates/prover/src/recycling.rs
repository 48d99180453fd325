//! Why a prover process is replaced by another one, and when a healthy one is.

/// Why a process was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartReason {
    /// It died, did not start, or sent a response that is not valid.
    Failed,
    /// Its work was stopped: the deadline passed, or the caller left.
    Stopped,
    /// It made a proof that does not verify.
    InvalidProof,
    /// It has made as many proofs as the policy allows.
    ProofLimit,
    /// Its memory has grown by more than the policy allows.
    MemoryGrowth,
    /// Another proof needed its memory.
    MemoryReclaim,
}

/// Numbers of restarts, in the order of [`RestartReason::ALL`].
pub type RestartCounts = [u64; RestartReason::ALL.len()];

impl RestartReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Failed,
        Self::Stopped,
        Self::InvalidProof,
        Self::ProofLimit,
        Self::MemoryGrowth,
        Self::MemoryReclaim,
    ];

    /// Returns the name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::InvalidProof => "invalid_proof",
            Self::ProofLimit => "proof_limit",
            Self::MemoryGrowth => "memory_growth",
            Self::MemoryReclaim => "memory_reclaim",
        }
    }
}

/// When a healthy process is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecyclePolicy {
    /// Proofs after which a process is replaced.
    pub proofs: u64,
    /// Growth since the first proof at which a process is replaced, in bytes.
    pub growth_bytes: u64,
    /// Thousandths of the memory that its circuits need, beyond which a process is replaced.
    pub drift_permille: u64,
}

/// The state of a process that [`RecyclePolicy::reason`] judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessAge {
    /// Proofs it has made.
    pub proofs: u64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Growth since the first proof, in bytes.
    pub growth_bytes: u64,
    /// The memory that the circuits it has proved are expected to need, in bytes.
    pub expected_bytes: u64,
}

impl RecyclePolicy {
    /// Never replaces a process. For a process that answers one request.
    pub const NEVER: Self = Self { proofs: u64::MAX, growth_bytes: u64::MAX, drift_permille: u64::MAX };

    /// Returns why a process is to be replaced; `None` if it stays.
    #[must_use]
    pub fn reason(self, age: ProcessAge) -> Option<RestartReason> {
        if age.proofs >= self.proofs {
            return Some(RestartReason::ProofLimit);
        }
        let has_drifted = age.proofs > 0 && self.has_drifted(age);
        (age.growth_bytes > self.growth_bytes || has_drifted).then_some(RestartReason::MemoryGrowth)
    }

    /// Whether a process takes far more memory than its circuits need.
    fn has_drifted(self, age: ProcessAge) -> bool {
        u128::from(age.resident_bytes) * 1000
            > u128::from(age.expected_bytes) * u128::from(self.drift_permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multiple_of_the_expected_memory_is_drift() {
        let policy = RecyclePolicy { drift_permille: 2000, ..RecyclePolicy::NEVER };
        let reason = |proofs, resident_bytes, expected_bytes| {
            policy.reason(ProcessAge { proofs, resident_bytes, growth_bytes: 0, expected_bytes })
        };
        assert_eq!(reason(1, 40 << 20, 20 << 20), None);
        assert_eq!(reason(1, (40 << 20) + 1, 20 << 20), Some(RestartReason::MemoryGrowth));
        assert_eq!(reason(0, 50 << 20, 20 << 20), None, "only proofs make a process drift");
        assert_eq!(reason(1, u64::MAX, u64::MAX / 4), Some(RestartReason::MemoryGrowth));
    }

    #[test]
    fn proofs_and_growth_are_limited() {
        let policy = RecyclePolicy { proofs: 3, growth_bytes: 10, drift_permille: u64::MAX };
        let reason = |proofs, growth_bytes| {
            policy.reason(ProcessAge { proofs, resident_bytes: 100, growth_bytes, expected_bytes: 100 })
        };
        assert_eq!(reason(2, 10), None);
        assert_eq!(reason(2, 11), Some(RestartReason::MemoryGrowth));
        assert_eq!(reason(3, 0), Some(RestartReason::ProofLimit));
    }
}
