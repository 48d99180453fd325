//! A job as its caller sees it.

use std::time::Instant;

use edgeprove_job_rules::{
    estimator::DurationEstimator, job::Job, prediction::Estimate, queue_position::QueuePosition,
    time::UnixMillis,
};
use edgeprove_protocol::{JobDocument, JobStage, JobStatus, Problem, Target, job::JobLinks};

use super::kinds::proof::{Outcome, Payload, problem};

/// What a caller is told of a job. `place` is where it stands in the queue, as far as it is known.
#[must_use]
pub fn of(
    job: &Job,
    place: Option<&QueuePosition>,
    estimator: &DurationEstimator,
    now: UnixMillis,
) -> Option<JobDocument> {
    let estimate = estimate(job, place, estimator, now);
    let payload = Payload::of(job);
    Some(JobDocument {
        id: job.id,
        status: job.status,
        stage: stage(job),
        progress: job.percent,
        queue_position: place.filter(|_| job.status == JobStatus::Queued).map(QueuePosition::number),
        estimated_remaining_ms: estimate.map(|left| edgeprove_telemetry::millis(left.expected)),
        confidence: estimate.map(|left| (left.confidence * 100.0).round() / 100.0),
        // A subject is a circuit's name: jobs of this kind alone are shown.
        circuit: job.subject.parse().ok()?,
        target: payload.map_or(Target::NoirRecursive, |payload| payload.first.target),
        fallback_circuit: Outcome::of(job).and_then(|outcome| Some(outcome.fallback?.circuit)),
        priority: job.priority,
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        error: error(job),
        created_at: time(job.enqueued_at),
        started_at: job.started_at.map(time),
        finished_at: job.finished_at.map(time),
        expires_at: job.expires_at.map(time),
        links: JobLinks::of(job.id),
    })
}

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

fn estimate(
    job: &Job,
    place: Option<&QueuePosition>,
    estimator: &DurationEstimator,
    now: UnixMillis,
) -> Option<Estimate> {
    match job.status {
        JobStatus::Queued => estimator.wait_and_work(place?, &job.kind, &job.subject, Instant::now()),
        JobStatus::Running => {
            let elapsed_ms = now.0.saturating_sub(job.started_at?.0);
            let elapsed = std::time::Duration::from_millis(u64::try_from(elapsed_ms).unwrap_or(0));
            estimator.remaining(&job.kind, &job.subject, elapsed)
        }
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled | JobStatus::Expired => None,
    }
}

/// Why it failed, or why its last attempt did.
fn error(job: &Job) -> Option<Problem> {
    let failed = matches!(job.status, JobStatus::Failed | JobStatus::Queued);
    problem(job.outcome.as_deref().filter(|_| failed)?)
}

/// This moment, as the database of one machine has it.
#[must_use]
pub fn now() -> UnixMillis {
    UnixMillis(jiff::Timestamp::now().as_millisecond())
}

/// A time as the wire tells it.
#[must_use]
pub fn time(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().to_string()
}

/// Names what an event tells: whoever has seen an event of this name has seen this. It is made of what can be seen, so
/// that any server knows the names that another gave.
#[must_use]
pub fn event_id(document: &JobDocument) -> String {
    let stage = JobStage::ALL.iter().position(|stage| *stage == document.stage).unwrap_or(0);
    let place = document.queue_position.unwrap_or(0);
    format!("{}.{stage}.{}.{place}", document.attempts, document.progress)
}
