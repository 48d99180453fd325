//! The wire's document of a job, and the ids of events of jobs.

use std::{fmt, num::ParseIntError, str::FromStr};

use edgeprove_job_queue::job_view::JobView;
use edgeprove_job_rules::{
    expiry::Retention, job::Job, outcome::DecodeError, queue_position::QueuePosition, time::UnixMillis,
};
use edgeprove_protocol::{CircuitId, JobDocument, JobStage, JobStatus, job::JobLinks};

use super::{
    job_kinds::{
        build, circuit_of,
        proof_payload::{self, Payload, ProofReport},
    },
    stage_times::stage_times,
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
    let timings = report.as_ref().map(|report| &report.timings);
    let circuit = payload.requested_circuit().clone();
    Ok(JobDocument {
        target: Some(payload.first.target),
        fallback_circuit: report.as_ref().and_then(|report| report.fallback_circuit(&payload)),
        timeout_ms: payload.timeout_ms,
        stages: stage_times(job, payload.received, timings),
        ..common_document(view, circuit, JobLinks::of(job.id))?
    })
}

/// The document of a job that makes no proof. Its links are those of its circuit.
fn other_document(view: &JobView) -> Result<JobDocument, DecodeError> {
    let job = &view.job;
    let circuit = circuit_of(job).ok_or(DecodeError::Contradiction)?;
    let this = format!("/v1/circuits/{circuit}");
    let links = JobLinks { proof: format!("{this}/vk"), events: format!("{this}/events"), this };
    Ok(JobDocument { stages: stage_times(job, None, None), ..common_document(view, circuit, links)? })
}

fn common_document(view: &JobView, circuit: CircuitId, links: JobLinks) -> Result<JobDocument, DecodeError> {
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
        estimated_remaining_ms: view.remaining.map(|left| edgeprove_telemetry::millis(left.expected)),
        confidence: view.remaining.map(|left| (left.confidence * 100.0).round() / 100.0),
        circuit,
        target: None,
        fallback_circuit: None,
        priority: job.priority,
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        timeout_ms: None,
        error: if has_error { job.problem()? } else { None },
        created_at: timestamp(job.enqueued_at),
        started_at: job.started_at.map(timestamp),
        finished_at: job.finished_at.map(timestamp),
        expires_at: job.expires_at.map(timestamp),
        retry_until: None,
        receipt: None,
        stages: Vec::new(),
        links,
    })
}

/// Adds the receipt of the proof of a completed job. It is for those who may have the proof: others could try guesses of its
/// public inputs.
pub fn with_receipt(mut document: JobDocument, job: &Job) -> Result<JobDocument, DecodeError> {
    if job.kind == proof_payload::KIND && job.status == JobStatus::Completed {
        document.receipt = ProofReport::of(job)?.receipt;
    }
    Ok(document)
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
    document.retry_until = until.filter(|_| job.may_be_requeued(now, retention)).map(timestamp);
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

fn timestamp(at: UnixMillis) -> String {
    edgeprove_telemetry::timestamp(at.0)
}

/// The id of an event of a job. It describes what the event shows, so that every server knows what a client that
/// reconnects with `Last-Event-ID` has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    /// The fencing token of the attempt: unlike the number of attempts, it never falls.
    attempt: i64,
    /// The number of the stage: 0 if the job is queued, else its index in [`JobStage::ALL`], or as [`build::stage_of`] has it.
    stage: usize,
    percent: u8,
    /// 0 if the job is not queued.
    position: u64,
}

impl EventId {
    /// The id of the event that shows this view.
    #[must_use]
    pub fn of(view: &JobView) -> Self {
        let shown = stage(&view.job);
        Self {
            attempt: view.job.lease_token.0,
            stage: match view.job.kind.as_str() {
                build::KIND => build::stage_of(&view.job).1,
                _ => JobStage::ALL.iter().position(|stage| *stage == shown).unwrap_or(0),
            },
            percent: view.percent,
            position: view.position.as_ref().map_or(0, QueuePosition::number),
        }
    }

    /// Whether this is the id of the last event of the finished job. Its percentage may differ: it is an estimate where the
    /// job did not complete.
    #[must_use]
    pub fn is_last_of(&self, view: &JobView) -> bool {
        let last = Self::of(view);
        view.job.status.is_finished() && (self.attempt, self.stage) == (last.attempt, last.stage)
    }

    /// Whether a client that has seen the event `last` must get this one. Within an attempt neither stage nor percentage may
    /// fall for a client, also where it reconnects to a server with other estimates.
    #[must_use]
    pub fn is_news_after(&self, last: &Self) -> bool {
        let is_queued = |id: &Self| id.stage == 0;
        if is_queued(self) || is_queued(last) || self.attempt != last.attempt {
            self != last
        } else {
            (self.stage, self.percent) > (last.stage, last.percent)
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, stage, percent, position } = self;
        write!(f, "{attempt}.{stage}.{percent}.{position}")
    }
}

/// A text that is no id of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventId {
    /// A part is not a number.
    #[error("a part of the event id is not a number")]
    Number(#[from] ParseIntError),
    /// It has not four parts.
    #[error("an event id has four numbers with dots between them")]
    Parts,
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('.').collect();
        let [attempt, stage, percent, position] = parts[..] else { return Err(InvalidEventId::Parts) };
        Ok(Self {
            attempt: attempt.parse()?,
            stage: stage.parse()?,
            percent: percent.parse()?,
            position: position.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EventId {
        text.parse().unwrap()
    }

    #[test]
    fn ids_survive_a_round_trip() {
        assert_eq!(id("3.2.45.0").to_string(), "3.2.45.0");
        assert!("3.2.45".parse::<EventId>().is_err() && "a.b.c.d".parse::<EventId>().is_err());
    }

    #[test]
    fn a_client_sees_no_percentage_fall_within_an_attempt() {
        let last = id("1.2.45.0");
        let news = |text: &str| id(text).is_news_after(&last);
        assert!(!news("1.2.45.0") && !news("1.2.40.0") && !news("1.1.2.0"));
        assert!(news("1.2.46.0") && news("1.3.90.0") && news("1.4.45.0"));
    }

    #[test]
    fn another_attempt_and_the_queue_are_news() {
        let last = id("1.2.45.0");
        assert!(id("1.0.0.3").is_news_after(&last), "queued again");
        assert!(id("2.1.2.0").is_news_after(&last), "another attempt");
        assert!(id("1.0.0.2").is_news_after(&id("1.0.0.3")), "another position");
        assert!(!id("1.0.0.3").is_news_after(&id("1.0.0.3")));
        assert!(id("2.1.2.0").is_news_after(&id("1.0.0.1")), "started");
    }
}
