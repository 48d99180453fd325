//! The wire's document of a job, and the ids of events of jobs.

use edgeprove_job_queue::job_view::JobView;
pub use edgeprove_job_rules::{event_id::EventId, job_document::for_observers};
use edgeprove_job_rules::{
    job::Job,
    job_document::{self, ProofFacts, common_document},
    outcome::DecodeError,
    stage_times::stage_times,
};
use edgeprove_protocol::{JobDocument, JobStatus, job::JobLinks};

use super::job_kinds::{
    build, circuit_of,
    proof_payload::{self, Payload, ProofReport},
};

/// The document of a job. Fails if its row is corrupt.
pub fn document(view: &JobView) -> Result<JobDocument, DecodeError> {
    match view.job.kind.as_str() {
        proof_payload::KIND => proof_document(view),
        _ => other_document(view),
    }
}

fn proof_document(view: &JobView) -> Result<JobDocument, DecodeError> {
    let job = &view.job;
    let payload = Payload::of(job)?;
    let report = match job.status {
        JobStatus::Completed => Some(ProofReport::of(job)?),
        _ => None,
    };
    let facts = ProofFacts {
        circuit: payload.requested_circuit(),
        target: Some(payload.first.target),
        fallback_circuit: report.as_ref().and_then(|report| report.fallback_circuit(&payload)),
        timeout_ms: payload.timeout_ms,
        received: payload.received,
        timings: report.as_ref().map(|report| &report.timings),
        cost: report.as_ref().map(|report| report.cost),
    };
    job_document::proof_document(view, facts)
}

/// The document of a job that makes no proof. Its links are those of its circuit.
fn other_document(view: &JobView) -> Result<JobDocument, DecodeError> {
    let job = &view.job;
    let circuit = circuit_of(job).ok_or(DecodeError::Contradiction)?;
    let this = format!("/v1/circuits/{circuit}");
    let links = JobLinks { proof: format!("{this}/vk"), events: format!("{this}/events"), this };
    Ok(JobDocument { stages: stage_times(job, None, None), ..common_document(view, circuit, links)? })
}

/// Adds the receipt of the proof of a completed job. It is for those who may have the proof: others could try guesses of its
/// public inputs.
pub fn with_receipt(mut document: JobDocument, job: &Job) -> Result<JobDocument, DecodeError> {
    if job.kind == proof_payload::KIND && job.status == JobStatus::Completed {
        document.receipt = ProofReport::of(job)?.receipt;
    }
    Ok(document)
}

/// The id of the event that shows this view.
#[must_use]
pub fn event_id(view: &JobView) -> EventId {
    let stage = match view.job.kind.as_str() {
        build::KIND => build::stage_of(&view.job).1,
        _ => job_document::stage_number(&view.job),
    };
    EventId::new(view, stage)
}
