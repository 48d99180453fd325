//! Why a proof service returned no proof.

use std::time::Duration;

use edgeprove_audit::AuditError;
use edgeprove_protocol::{CircuitId, HasProblemType, ProblemType};

use crate::proving::ProvingError;

/// A proof failed.
#[derive(Debug, thiserror::Error)]
#[error("no proof of {circuit}")]
pub struct ProofFailure {
    /// Why.
    #[source]
    pub error: ProofError,
    /// The circuit of the last attempt.
    pub circuit: CircuitId,
    /// The next smaller circuit of the family, if it may do instead.
    pub fallback_circuit: Option<CircuitId>,
}

/// Why a proof failed.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// There is no proof.
    #[error(transparent)]
    Proving(#[from] ProvingError),
    /// There is a proof, but its audit entry could not be written, so it was discarded.
    #[error("the audit entry of the proof could not be written")]
    Audit(#[from] AuditError),
}

impl HasProblemType for ProofFailure {
    fn kind(&self) -> ProblemType {
        self.error.kind()
    }

    fn detail(&self) -> String {
        self.error.to_string()
    }

    fn retry_after(&self) -> Option<Duration> {
        match &self.error {
            ProofError::Proving(error) => error.retry_after(),
            ProofError::Audit(_) => None,
        }
    }

    fn fallback_circuit(&self) -> Option<&CircuitId> {
        self.fallback_circuit.as_ref()
    }
}

impl HasProblemType for ProofError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Proving(error) => error.kind(),
            Self::Audit(_) => ProblemType::AuditUnavailable,
        }
    }
}
