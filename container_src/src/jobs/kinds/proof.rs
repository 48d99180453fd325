//! What a job of proving says of itself: what is to be proved, what came of it, or why nothing did. No part of it is
//! private.

use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{CircuitId, Problem, ProblemType, Target, answer::Timings};
use serde::{Deserialize, Serialize};

use edgeprove_engine::proof_cache::CachePolicy;

/// Its name in the queue.
pub const KIND: &str = "prove";

/// What is to be proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// What was asked for.
    #[serde(flatten)]
    pub first: WitnessDescriptor,
    /// What is to be proved instead where the machine has too little for it: each of a smaller circuit than the one
    /// before. Their witnesses follow the first in the artefact.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub smaller: Vec<WitnessDescriptor>,
    /// What may be done with the cache of proofs.
    pub cache: CachePolicy,
    /// The request that handed it in.
    pub request_id: String,
}

/// A circuit and a witness of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessDescriptor {
    /// The circuit.
    pub circuit: CircuitId,
    /// Which one of that name: the one that the witness was held against.
    pub version: String,
    /// Who is to verify the proof.
    pub target: Target,
    /// Bytes of the witness as it was sent.
    pub compressed_bytes: u64,
    /// Its bytes once inflated.
    pub inflated_bytes: u64,
}

/// What belongs to a proof that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The smaller circuit that was proved instead of the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback: Option<WitnessDescriptor>,
    /// What it shows, `0x`-prefixed 32-byte big-endian fields, in the circuit's order.
    pub public_inputs: Vec<String>,
    /// bb's hash of the verification key, 64 hexadecimal digits.
    pub vk_hash: String,
    /// Whether it was verified.
    pub verified: bool,
    /// Whether it had been made before.
    pub cached: bool,
    /// Where the time went, the wait in the queue included.
    pub timings: Timings,
}

impl Payload {
    /// What is to be proved, one after the other until one succeeds.
    #[must_use]
    pub fn targets(&self) -> Vec<WitnessDescriptor> {
        [&self.first].into_iter().chain(&self.smaller).cloned().collect()
    }

    /// A failure at it.
    #[must_use]
    pub fn broken(&self, kind: ProblemType, detail: &str) -> Problem {
        Problem::new(kind, detail, Some(self.request_id.clone()))
    }

    /// What a job of this kind is to prove; `None` once that is forgotten.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        serde_json::from_str(job.payload.as_deref()?).ok()
    }
}

impl Outcome {
    /// What belongs to a job's proof; `None` where there is none.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        serde_json::from_str(job.outcome.as_deref()?).ok()
    }
}

/// A failure as an outcome.
#[must_use]
pub fn failure(problem: &Problem) -> String {
    // It has text keys and no failing serialiser of its own.
    serde_json::to_string(problem).unwrap_or_default()
}

/// The failure that an outcome tells.
#[must_use]
pub fn problem(outcome: &str) -> Option<Problem> {
    serde_json::from_str(outcome).ok()
}
