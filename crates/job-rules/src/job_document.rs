//! The document of a job on the wire. Server and edge build it from the same row in the same way.

use edgeprove_protocol::{
    CircuitId, JobDocument, JobStage, JobStatus, Target,
    answer::{Cost, Timings},
    job::JobLinks,
};

use crate::{
    expiry::Retention,
    job::Job,
    job_view::JobView,
    outcome::DecodeError,
    queue_position::QueuePosition,
    stage_times::{UploadTimes, millis, stage_times},
    time::UnixMillis,
};

/// What the document of a proof job shows of its payload and its report.
#[derive(Debug, Clone)]
pub struct ProofFacts<'a> {
    /// The circuit that was asked for.
    pub circuit: &'a CircuitId,
    /// The verifier that the proof is for; `None` where it is not known yet.
    pub target: Option<Target>,
    /// The smaller circuit that was proved instead.
    pub fallback_circuit: Option<CircuitId>,
    /// The longest time for the proof, in milliseconds, where the caller lowered it.
    pub timeout_ms: Option<u64>,
    /// How long the request took to arrive.
    pub received: Option<UploadTimes>,
    /// The durations of a completed proof.
    pub timings: Option<&'a Timings>,
    /// What a completed proof has taken.
    pub cost: Option<Cost>,
}

/// The document of a proof job. Fails if its row is corrupt.
pub fn proof_document(view: &JobView, facts: ProofFacts<'_>) -> Result<JobDocument, DecodeError> {
    let job = &view.job;
    Ok(JobDocument {
        target: facts.target,
        fallback_circuit: facts.fallback_circuit,
        timeout_ms: facts.timeout_ms,
        cost: facts.cost,
        stages: stage_times(job, facts.received, facts.timings),
        ..common_document(view, facts.circuit.clone(), JobLinks::of(job.id))?
    })
}

/// The members that the documents of all kinds of jobs have. Fails if the row of the job is corrupt.
pub fn common_document(
    view: &JobView,
    circuit: CircuitId,
    links: JobLinks,
) -> Result<JobDocument, DecodeError> {
    let job = &view.job;
    // Only failed jobs, and queued ones that will be retried, show why an attempt failed.
    let has_error = matches!(job.status, JobStatus::Failed | JobStatus::Queued);
    Ok(JobDocument {
        id: job.id,
        kind: job.kind.clone(),
        owner: None,
        status: job.status,
        stage: stage(job),
        progress: view.percent,
        queue_position: view.position.as_ref().map(QueuePosition::number),
        estimated_remaining_ms: view.remaining.map(|left| millis(left.expected)),
        confidence: view.remaining.map(|left| (left.confidence * 100.0).round() / 100.0),
        circuit,
        target: None,
        fallback_circuit: None,
        priority: job.priority,
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        timeout_ms: None,
        error: if has_error { job.problem()? } else { None },
        created_at: job.enqueued_at.rfc3339(),
        started_at: job.started_at.map(UnixMillis::rfc3339),
        finished_at: job.finished_at.map(UnixMillis::rfc3339),
        expires_at: job.expires_at.map(UnixMillis::rfc3339),
        retry_until: None,
        receipt: None,
        cost: None,
        stages: Vec::new(),
        links,
    })
}

/// Adds what operators and observers see: whose job it is, and until when it can be queued again.
#[must_use]
pub fn for_observers(
    mut document: JobDocument,
    job: &Job,
    now: UnixMillis,
    retention: Retention,
) -> JobDocument {
    document.owner = Some(job.owner.clone());
    let until = job.finished_at.map(|at| at.after(retention.failed_inputs));
    document.retry_until = until.filter(|_| job.may_be_requeued(now, retention)).map(UnixMillis::rfc3339);
    document
}

/// The stage on the wire. An attempt that has not reported a stage is loading, and so is one that waits for a core.
fn stage(job: &Job) -> JobStage {
    match job.status {
        JobStatus::Queued => JobStage::Queued,
        JobStatus::Running => {
            job.stage.as_deref().and_then(|stage| stage.parse().ok()).unwrap_or(JobStage::Loading)
        }
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled | JobStatus::Expired => {
            JobStage::Done
        }
    }
}

/// The number of the stage of a proof job in the ids of its events: its index in [`JobStage::ALL`].
#[must_use]
pub fn stage_number(job: &Job) -> usize {
    let shown = stage(job);
    JobStage::ALL.iter().position(|stage| *stage == shown).unwrap_or(0)
}
