//! Proves the sample that is uploaded with a circuit, and verifies the proof.

use std::{sync::Arc, time::Instant};

use edgeprove_engine::{
    circuits::Circuit,
    proof_systems::inputs::InputDocument,
    proving::{Proving, ProvingError, Urgency},
    scheduler::AdmissionError,
    witness::{
        self, CheckError,
        computation::{self, ComputeError},
    },
};
use edgeprove_protocol::{HasProblemType, Priority, ProblemType};
use edgeprove_prover::ProverError;
use edgeprove_spool::Spool;

/// Why a sample has no proof that verifies.
#[derive(Debug, thiserror::Error)]
pub enum SampleProofError {
    /// There is no witness for its inputs.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// The computed witness was refused.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// It was not proved.
    #[error(transparent)]
    Proving(#[from] ProvingError),
    /// No prover was free to verify it.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The proof could not be verified.
    #[error("the proof could not be verified")]
    Verifier(#[source] ProverError),
    /// The proof does not verify.
    #[error("the proof does not verify: the key is not one of this circuit")]
    Invalid,
}

impl HasProblemType for SampleProofError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Compute(error) => error.kind(),
            Self::Check(error) => error.kind(),
            Self::Proving(error) => error.kind(),
            Self::Admission(error) => error.kind(),
            Self::Verifier(error) => error.kind(),
            Self::Invalid => ProblemType::CircuitInvalid,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Compute(error) => error.field(),
            Self::Check(_) | Self::Proving(_) | Self::Admission(_) | Self::Verifier(_) | Self::Invalid => {
                None
            }
        }
    }
}

/// Computes the witness of inputs, proves it, and verifies the proof, whatever the server does with other proofs.
pub(super) async fn prove_sample(
    proving: &Proving,
    spool: &Spool,
    circuit: &Arc<Circuit>,
    inputs: InputDocument,
    account: &str,
) -> Result<(), SampleProofError> {
    let timeout = proving.options().timeout;
    let witness = computation::compute(inputs, circuit, account, spool, timeout).await?;
    let (witness, _) = witness::check(witness, circuit).await?;
    let urgency = Urgency { account: Some(account), priority: Priority::Normal, since: None };
    let proved = proving.prove(circuit, circuit.target, &witness, urgency, None, &|_| {}).await;
    let proved = proved.map_err(|error| match error {
        // The witness satisfies the constraints.
        ProvingError::Invalid => SampleProofError::Invalid,
        error => error.into(),
    })?;
    if proved.verified {
        return Ok(());
    }
    let permit = proving.permit().await?;
    match permit.verify(&proved.key.circuit, &proved.parts, Instant::now() + timeout).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(ProverError::Refused { .. }) => Err(SampleProofError::Invalid),
        Err(error) => Err(SampleProofError::Verifier(error)),
    }
}
