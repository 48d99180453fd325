//! What the row of a job has in its columns `payload` and `outcome`. No part is private.

use edgeprove_job_rules::{
    job::Job,
    job_document::{self, ProofFacts},
    job_view::JobView,
    outcome::DecodeError,
    stage_times::UploadTimes,
};
use edgeprove_protocol::{
    CircuitId, JobDocument, JobStatus, Target, TraceContext,
    answer::{Cost, Timings},
};
use serde::{Deserialize, Serialize};

use super::protocol::{JobVoucher, StoredBody, Submission};

/// The payload of a job: what to prove, and how its body is sent to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The circuit.
    pub circuit: CircuitId,
    /// The verifier that the proof is for; `None` is the circuit's default.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<Target>,
    /// The stored body.
    pub body: StoredBody,
    /// The value of the request's header `cache-control`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cache_control: Option<String>,
    /// The longest time for the proof, in milliseconds, where the caller lowered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
    /// How long the request took to arrive.
    pub received: UploadTimes,
    /// The id of the request that submitted the job.
    pub request_id: String,
    /// The trace of that request, for the log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace: Option<TraceContext>,
    /// The voucher of the page that submitted the job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub voucher: Option<JobVoucher>,
}

/// The report of a completed job: what belongs to the stored proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProofReport {
    /// The circuit that was proved.
    pub circuit: CircuitId,
    /// The verifier that the proof is for.
    pub target: Target,
    /// The length of the stored answer, in bytes.
    pub bytes: u64,
    /// Whether the server verified the proof.
    pub verified: bool,
    /// Whether it came from the proof cache.
    pub cached: bool,
    /// The durations of the stages. The total is that of the attempt.
    pub timings: Timings,
    /// What it has taken.
    #[serde(default)]
    pub cost: Cost,
}

impl Payload {
    /// The payload of a submission.
    #[must_use]
    pub fn of_submission(submission: &Submission) -> Self {
        Self {
            circuit: submission.circuit.clone(),
            target: submission.target,
            body: submission.body.clone(),
            cache_control: submission.cache_control.clone(),
            timeout_ms: submission.timeout_ms,
            received: UploadTimes { upload_ms: submission.upload_ms, witness_ms: None },
            request_id: submission.request_id.clone(),
            trace: submission.trace.clone(),
            voucher: submission.voucher.clone(),
        }
    }

    /// The payload of a job.
    pub fn of(job: &Job) -> Result<Self, DecodeError> {
        job.read_payload()
    }
}

/// The document of a job. Fails if its row is corrupt.
pub fn document(view: &JobView) -> Result<JobDocument, DecodeError> {
    let payload = Payload::of(&view.job)?;
    let report: Option<ProofReport> = match view.job.status {
        JobStatus::Completed => Some(view.job.completion()?),
        _ => None,
    };
    let fallback = report.as_ref().map(|report| report.circuit.clone());
    let facts = ProofFacts {
        circuit: &payload.circuit,
        target: report.as_ref().map(|report| report.target).or(payload.target),
        fallback_circuit: fallback.filter(|proved| *proved != payload.circuit),
        timeout_ms: payload.timeout_ms,
        received: Some(payload.received),
        timings: report.as_ref().map(|report| &report.timings),
        cost: report.as_ref().map(|report| report.cost),
    };
    job_document::proof_document(view, facts)
}
