//! Checks what provers that pull report. A prover may lie: it gets the witness of a job, and could return another proof.
//!
//! - A proof must verify with the key of the circuit that the server has loaded, and have the public inputs that the witness of
//!   the job determines. So a proof of other public inputs is refused, although it verifies.
//! - That a witness does not satisfy its circuit is believed only if the server finds the same.
//!
//! Both take milliseconds to a second, and a permit of the provers.

use std::{sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_artifacts::{ArtifactError, ArtifactKind};
use edgeprove_engine::{
    circuits::{Circuit, Key, circuit::LoadError},
    proof_systems::{PublicValues, Verdict},
    proving::{self, Proving, ProvingError},
    scheduler::AdmissionError,
    witness::{self, CheckError, from_artifacts::fetch_into},
};
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{
    HasProblemType, ProblemType, ProofSystem,
    answer::{Cost, Timings},
};
use edgeprove_prover::{FIELD_BYTES, ProofParts, ProverError, barretenberg::KeyFacts};
use edgeprove_spool::{Spool, SpoolFile};

use super::{
    Jobs,
    job_kinds::proof_payload::{Payload, ProofReport, WitnessDescriptor},
};
use crate::circuits::CircuitError;

/// Most bytes of a proof in base64.
const PROOF_MAX_BYTES: usize = 256 << 10;

/// What checks.
#[derive(Clone, Copy)]
pub struct ProofChecker<'a> {
    /// The jobs, with their circuits and witnesses.
    pub jobs: &'a Jobs,
    /// The provers, which also verify.
    pub proving: &'a Arc<Proving>,
    /// Where witnesses are while they are read.
    pub spool: &'a Spool,
}

/// A proof as its prover reports it.
#[derive(Debug)]
pub struct ReportedProof {
    /// The index of the witness that was proved.
    pub witness: usize,
    /// The proof in base64.
    pub proof: String,
    /// Its public inputs.
    pub public_inputs: Vec<String>,
    /// The durations of the stages.
    pub timings: Timings,
    /// What it has taken.
    pub cost: Cost,
}

/// Why a report is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is not true.
    #[error("{0}")]
    Untrue(&'static str),
    /// The circuit cannot be loaded.
    #[error(transparent)]
    Circuit(#[from] CircuitError),
    /// Its key cannot be made.
    #[error(transparent)]
    Key(#[from] LoadError),
    /// Nothing is free to verify.
    #[error(transparent)]
    Busy(#[from] AdmissionError),
    /// The verifier failed.
    #[error(transparent)]
    Verifier(#[from] ProverError),
    /// The witness of the job cannot be read from the artifacts.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The witness cannot be read from the spool.
    #[error(transparent)]
    Witness(#[from] CheckError),
    /// The witness cannot be judged.
    #[error(transparent)]
    Judge(#[from] ProvingError),
}

impl HasProblemType for ReportError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Untrue(_) => ProblemType::ProofRejected,
            Self::Circuit(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Busy(error) => error.kind(),
            Self::Verifier(error) => error.kind(),
            Self::Artifact(error) => error.kind(),
            Self::Witness(error) => error.kind(),
            Self::Judge(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Busy(error) => error.retry_after(),
            Self::Circuit(error) => error.retry_after(),
            _ => None,
        }
    }
}

impl ProofChecker<'_> {
    /// Verifies a proof. Returns its bytes, and the report of the job.
    pub async fn verify(
        self,
        job: &Job,
        payload: &Payload,
        reported: ReportedProof,
    ) -> Result<(Vec<u8>, ProofReport), ReportError> {
        let descriptor = payload.witnesses().nth(reported.witness);
        let descriptor = descriptor.ok_or(ReportError::Untrue("the job has no witness with this index"))?;
        let parts = parts(&reported)?;
        let circuit = self.circuit(descriptor).await?;
        let permit = self.proving.permit().await?;
        let key = match circuit.ready_key(descriptor.target) {
            Some(key) => key,
            None => circuit.key(descriptor.target, self.proving.keys(), permit.as_ref()).await?,
        };
        if !fits(&key, descriptor.target.proof_system(), &parts) {
            return Err(ReportError::Untrue("the proof does not have the length of one of the circuit"));
        }
        let deadline = Instant::now() + self.proving.options().timeout;
        match permit.verify(&key.circuit, &parts, deadline).await {
            Ok(true) => {}
            // A verifier that cannot read a proof does not accept it.
            Ok(false) | Err(ProverError::Refused { .. }) => {
                return Err(ReportError::Untrue("the proof does not verify"));
            }
            Err(error) => return Err(error.into()),
        }
        let witness = self.witness(job, payload, reported.witness).await?;
        let expected = witness::public_values(witness, &circuit).await?;
        if !has_values(&parts, &expected) {
            return Err(ReportError::Untrue("the proof is one of other public inputs than those of the job"));
        }
        let fallback = (reported.witness > 0).then(|| descriptor.clone());
        let public_inputs = parts.public_inputs.iter().map(|field| format!("0x{}", hex::encode(field)));
        let report = ProofReport {
            fallback,
            public_inputs: public_inputs.collect(),
            vk_hash: hex::encode(key.vk_hash),
            verified: true,
            cached: false,
            timings: reported.timings,
            cost: reported.cost,
            // This server has not observed that the witness was wiped.
            receipt: None,
        };
        Ok((parts.proof.as_flattened().to_vec(), report))
    }

    /// Whether the witness of the job violates the constraints of its circuit. Returns what is wrong, where that is known.
    pub async fn judge(self, job: &Job, payload: &Payload) -> Result<Option<String>, ReportError> {
        let circuit = self.circuit(&payload.first).await?;
        let witness = self.witness(job, payload, 0).await?;
        // One judgement for each prover at the same time.
        let _permit = self.proving.permit().await?;
        match proving::judge(&circuit, witness.source()).await? {
            Verdict::Unsatisfied { first } => Ok(Some(first)),
            Verdict::Undecided { .. } => Ok(None),
            Verdict::Satisfied => Err(ReportError::Untrue("the witness satisfies the circuit")),
        }
    }

    async fn circuit(self, descriptor: &WitnessDescriptor) -> Result<Arc<Circuit>, ReportError> {
        let circuit = self.jobs.circuits.find(Some(&descriptor.circuit)).await?;
        if circuit.version() == descriptor.version {
            Ok(circuit)
        } else {
            Err(ReportError::Untrue("the circuit was changed after the job was submitted"))
        }
    }

    /// The witness with this index, in the spool.
    async fn witness(self, job: &Job, payload: &Payload, index: usize) -> Result<SpoolFile, ReportError> {
        let name = job.input.as_deref().and_then(|name| name.parse().ok());
        let name = name.ok_or(ReportError::Untrue("the job has no witness"))?;
        let artifacts = &self.jobs.store.artifacts;
        let files = fetch_into(artifacts, &name, ArtifactKind::Witness, self.spool, &payload.cuts()).await?;
        files.into_iter().nth(index).ok_or(ReportError::Untrue("the job has no witness with this index"))
    }
}

fn parts(reported: &ReportedProof) -> Result<ProofParts, ReportError> {
    let malformed = || ReportError::Untrue("the proof or its public inputs are not in their form");
    if reported.proof.len() > PROOF_MAX_BYTES {
        return Err(malformed());
    }
    let bytes = STANDARD.decode(&reported.proof).map_err(|_| malformed())?;
    let (proof, rest) = bytes.as_chunks::<FIELD_BYTES>();
    let word = |text: &String| {
        let mut word = [0; FIELD_BYTES];
        hex::decode_to_slice(text.strip_prefix("0x")?, &mut word).ok()?;
        Some(word)
    };
    let public_inputs: Option<Vec<_>> = reported.public_inputs.iter().map(word).collect();
    match public_inputs {
        Some(public_inputs) if rest.is_empty() => Ok(ProofParts { proof: proof.to_vec(), public_inputs }),
        Some(_) | None => Err(malformed()),
    }
}

/// Whether a proof of bb has the length that its key states. bb need not see others.
fn fits(key: &Key, system: ProofSystem, parts: &ProofParts) -> bool {
    match system {
        ProofSystem::Groth16 => true,
        ProofSystem::UltraHonk => KeyFacts::read(&key.circuit.vk).is_ok_and(|facts| {
            facts.proof_fields() == parts.proof.len()
                && facts.public_inputs == parts.public_inputs.len() as u64
        }),
    }
}

fn has_values(parts: &ProofParts, expected: &PublicValues) -> bool {
    let same = |(found, wanted): (&[u8; FIELD_BYTES], &Option<[u8; FIELD_BYTES]>)| {
        wanted.as_ref().is_none_or(|wanted| found == wanted)
    };
    parts.public_inputs.len() == expected.len() && parts.public_inputs.iter().zip(expected).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(proof: &str, public_inputs: &[&str]) -> ReportedProof {
        let public_inputs = public_inputs.iter().map(|text| (*text).to_owned()).collect();
        let (timings, cost) = (Timings::default(), Cost::default());
        ReportedProof { witness: 0, proof: proof.to_owned(), public_inputs, timings, cost }
    }

    #[test]
    fn garbage_is_not_a_proof() {
        let word = format!("0x{}", "11".repeat(32));
        let whole = STANDARD.encode([7; 64]);
        let read = parts(&reported(&whole, &[&word])).unwrap();
        assert_eq!((read.proof.len(), read.public_inputs), (2, vec![[0x11; 32]]));
        let long = "A".repeat(PROOF_MAX_BYTES + 4);
        for (proof, inputs) in [
            ("not base64!", &[][..]),
            (&STANDARD.encode([7; 33]), &[]),
            (&long, &[]),
            (&whole, &["11"]),
            (&whole, &[&word[..40]]),
        ] {
            assert!(parts(&reported(proof, inputs)).is_err(), "{proof:.20} {inputs:?}");
        }
    }

    #[test]
    fn other_public_inputs_are_noticed() {
        let parts = ProofParts { proof: vec![], public_inputs: vec![[1; 32], [2; 32]] };
        assert!(has_values(&parts, &vec![Some([1; 32]), Some([2; 32])]));
        assert!(has_values(&parts, &vec![Some([1; 32]), None]), "the prover chooses it");
        assert!(!has_values(&parts, &vec![Some([1; 32]), Some([3; 32])]));
        assert!(!has_values(&parts, &vec![Some([1; 32])]));
    }
}
