//! Proof jobs as the database stores them: the payload, the report of a result, and the stages. No part is private.

use std::time::Duration;

use edgeprove_engine::{proof_cache::CachePolicy, proving::ProofResult};
use edgeprove_job_queue::kind::Work;
use edgeprove_job_rules::{job::Job, outcome::DecodeError};
pub use edgeprove_job_rules::{
    proof_job::{KIND, STAGES, WAITING},
    stage_times::UploadTimes,
};
use edgeprove_protocol::{
    CircuitId, Problem, ProblemType, Target, TraceContext,
    answer::{Cost, Timings},
};
use serde::{Deserialize, Serialize};

/// The payload of a proof job: what to prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The witness of the requested circuit.
    pub first: WitnessDescriptor,
    /// The witnesses of ever smaller circuits of its family, to prove instead where the machine has too little for the first.
    /// In the artifact they follow the first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub smaller: Vec<WitnessDescriptor>,
    /// The circuit that was asked for, if it could not be loaded when the job was submitted: `first` is a smaller one of
    /// its family.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requested: Option<CircuitId>,
    /// How the proof cache may be used.
    pub cache: CachePolicy,
    /// The longest time for the proof, in milliseconds, where the caller lowered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
    /// Whether the witness or the inputs came sealed for the server.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub sealed: bool,
    /// How long the request took to arrive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub received: Option<UploadTimes>,
    /// The id of the request that submitted the job.
    pub request_id: String,
    /// The trace of that request, for the log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace: Option<TraceContext>,
    /// The voucher of the page that submitted the job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub voucher: Option<JobVoucher>,
}

/// The voucher with which a page submitted a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobVoucher {
    /// Its id, for the audit log.
    pub id: String,
    /// Whose jobs it sees: [`edgeprove_protocol::Voucher::scope`].
    pub scope: String,
}

/// A circuit and a witness of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessDescriptor {
    /// The circuit.
    pub circuit: CircuitId,
    /// The version of the circuit that the witness was checked against.
    pub version: String,
    /// The verifier that the proof is for.
    pub target: Target,
    /// The size of the witness as it was sent, in bytes.
    pub compressed_bytes: u64,
    /// Its decompressed size, in bytes.
    pub decompressed_bytes: u64,
}

/// The report of a completed proof job: what belongs to the stored proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProofReport {
    /// The smaller circuit that was proved instead of the requested one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback: Option<WitnessDescriptor>,
    /// The public inputs: 32-byte big-endian fields with `0x`, in the circuit's order.
    pub public_inputs: Vec<String>,
    /// The prover's hash of the verification key, 64 hexadecimal digits.
    pub vk_hash: String,
    /// Whether the proof was verified.
    pub verified: bool,
    /// Whether it came from the proof cache.
    pub cached: bool,
    /// The durations of the stages, the wait in the queue included.
    pub timings: Timings,
    /// What it has taken. Jobs of an earlier version have none.
    #[serde(default)]
    pub cost: Cost,
    /// The receipt of the proof.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<String>,
}

impl Payload {
    /// The payload of a proof job.
    pub fn of(job: &Job) -> Result<Self, DecodeError> {
        job.read_payload()
    }

    /// The witnesses in the order in which they are tried.
    pub fn witnesses(&self) -> impl Iterator<Item = &WitnessDescriptor> {
        std::iter::once(&self.first).chain(&self.smaller)
    }

    /// The offsets in the artifact at which the witnesses but the first begin.
    #[must_use]
    pub fn cuts(&self) -> Vec<u64> {
        let ends = self.witnesses().scan(0_u64, |end, witness| {
            *end = end.saturating_add(witness.compressed_bytes);
            Some(*end)
        });
        ends.take(self.smaller.len()).collect()
    }

    /// The circuit that was asked for.
    #[must_use]
    pub fn requested_circuit(&self) -> &CircuitId {
        self.requested.as_ref().unwrap_or(&self.first.circuit)
    }

    /// A problem of this job.
    #[must_use]
    pub fn problem(&self, kind: ProblemType, detail: &str) -> Problem {
        Problem::new(kind, detail, Some(self.request_id.clone()))
    }
}

impl ProofReport {
    /// The report of this result without a receipt, with the smaller circuit that was proved instead, if any.
    #[must_use]
    pub fn new(result: &ProofResult, fallback: Option<WitnessDescriptor>) -> Self {
        Self {
            fallback,
            public_inputs: result.public_inputs(),
            vk_hash: result.vk_hash(),
            verified: result.verified,
            cached: result.cached,
            timings: result.timings,
            cost: result.cost,
            receipt: None,
        }
    }

    /// The report of a completed proof job.
    pub fn of(job: &Job) -> Result<Self, DecodeError> {
        job.completion()
    }

    /// The smaller circuit that was proved instead of the requested one.
    #[must_use]
    pub fn fallback_circuit(&self, payload: &Payload) -> Option<CircuitId> {
        let proved = self.fallback.as_ref().unwrap_or(&payload.first);
        (proved.circuit != *payload.requested_circuit()).then(|| proved.circuit.clone())
    }

    /// The work behind it: proving and verifying, on the circuit that was proved; `None` for a cached proof.
    #[must_use]
    pub fn work(&self, requested: &str) -> Option<Work> {
        if self.cached {
            return None;
        }
        let subject = self.fallback.as_ref().map_or(requested, |fallback| fallback.circuit.as_str());
        let took_ms = self.timings.prove_ms + self.timings.verify_ms;
        let took = Duration::try_from_secs_f64(took_ms / 1000.0).ok()?;
        Some(Work { subject: subject.to_owned(), took })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cached: bool, fallback: Option<&str>) -> ProofReport {
        let descriptor = |circuit: &str| WitnessDescriptor {
            circuit: circuit.parse().unwrap(),
            version: "1".to_owned(),
            target: Target::Evm,
            compressed_bytes: 1,
            decompressed_bytes: 2,
        };
        let timings = Timings { prove_ms: 1500.0, verify_ms: 500.0, total_ms: 9000.0, ..Timings::default() };
        ProofReport {
            fallback: fallback.map(descriptor),
            public_inputs: vec![],
            vk_hash: "00".repeat(32),
            verified: true,
            cached,
            timings,
            cost: Cost::default(),
            receipt: None,
        }
    }

    #[test]
    fn only_real_proofs_count_as_work() {
        let took = Duration::from_secs(2);
        let work = |subject: &str| Some(Work { subject: subject.to_owned(), took });
        assert_eq!(report(false, None).work("maze_large"), work("maze_large"));
        assert_eq!(report(false, Some("maze")).work("maze_large"), work("maze"));
        assert_eq!(report(true, None).work("maze_large"), None);
    }
}
