//! Writes what happens to jobs to the audit log and the metrics.

use std::time::Duration;

use async_trait::async_trait;
use edgeprove_audit::{Audit, AuditError};
use edgeprove_job_queue::events::{AttemptEnd, ExpiredJob, JobEvents, NotRecorded, UpkeepEvent};
use edgeprove_job_rules::{
    audit::{Action, Actor, Entry, Outcome},
    job::Job,
};
use edgeprove_protocol::{JobStatus, ProblemType};
use edgeprove_telemetry::metrics::jobs::{self as metrics, JobEnd};

use super::job_kinds::circuit_of;
use crate::access;

/// Writes what happens to jobs to the audit log and the metrics. Clones share the log.
#[derive(Debug, Clone)]
pub struct JobRecorder {
    audit: Audit,
}

impl JobRecorder {
    /// A recorder that writes to this log.
    #[must_use]
    pub fn new(audit: Audit) -> Self {
        Self { audit }
    }

    /// Whether the audit log can be written, as far as is known. A server does nothing that it cannot record.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.audit.is_ready()
    }

    fn entry(&self, job: &Job, action: Action) -> Entry {
        Entry {
            job_id: Some(job.id),
            job_kind: Some(job.kind.clone()),
            circuit: circuit_of(job),
            ..self.audit.entry(access::actor(&job.owner), action)
        }
    }

    fn attempt_entry(&self, job: &Job, action: Action) -> Entry {
        Entry { attempt: Some(job.attempts), lease_token: Some(job.lease_token), ..self.entry(job, action) }
    }

    /// Records that a job was accepted.
    pub async fn accepted(&self, job: &Job, request_id: String) -> Result<(), AuditError> {
        metrics::submitted(&job.kind, job.priority);
        self.audit
            .record(Entry { request_id: Some(request_id), ..self.entry(job, Action::JobSubmitted) })
            .await
    }

    /// Records that this caller cancelled a job that no worker had.
    pub async fn cancelled(&self, job: &Job, by: Actor) {
        metrics::ended(&job.kind, JobEnd::Cancelled, None);
        let entry = self.entry(job, Action::JobCancelled);
        // The audit log itself logs a failure to write.
        let _ = self.audit.record(Entry { actor: by, outcome: Some(Outcome::Ok), ..entry }).await;
    }

    /// Records that the result of a job is about to be returned to this caller.
    pub async fn fetched(&self, job: &Job, by: Actor, request_id: String) -> Result<(), AuditError> {
        let entry = self.entry(job, Action::JobFetched);
        self.audit.record(Entry { actor: by, request_id: Some(request_id), ..entry }).await
    }
}

#[async_trait]
impl JobEvents for JobRecorder {
    async fn started(&self, job: &Job) -> Result<(), NotRecorded> {
        if let Some(started_at) = job.started_at {
            metrics::started(&job.kind, job.priority, started_at.since(job.run_at));
        }
        let entry = self.attempt_entry(job, Action::JobStarted);
        self.audit.record(entry).await.map_err(|error| NotRecorded(error.into()))
    }

    async fn ended(&self, job: &Job, end: AttemptEnd<'_>) {
        let AttemptEnd { status, problem, ran } = end;
        // A code that this version does not know cannot come from its own workers.
        let problem = problem.map(|problem| problem.code.known().unwrap_or(ProblemType::Internal));
        let Some((action, outcome)) = Self::count_end(job, status, problem, ran) else { return };
        // The audit log itself logs a failure to write. A result is not returned without an entry of its own.
        let entry = self.attempt_entry(job, action);
        let _ = self.audit.record(Entry { outcome: Some(outcome), ..entry }).await;
    }

    fn maintained(&self, event: UpkeepEvent) {
        match event {
            UpkeepEvent::LeasesLost(jobs) => {
                for job in jobs {
                    self.lease_lost(&job);
                }
            }
            UpkeepEvent::Abandoned(jobs) => {
                let problem = ProblemType::CircuitUnavailable;
                for job in jobs {
                    metrics::ended(&job.kind, JobEnd::Failed(problem), None);
                    let entry = Entry { actor: Actor::Server, ..self.attempt_entry(&job, Action::JobFailed) };
                    self.audit.note(Entry { outcome: Some(Outcome::Failed(problem)), ..entry });
                }
            }
            UpkeepEvent::Expired(jobs) => {
                for ExpiredJob { id, kind } in jobs {
                    let entry = self.audit.entry(Actor::Server, Action::JobExpired);
                    self.audit.note(Entry { job_id: Some(id), job_kind: Some(kind), ..entry });
                }
            }
        }
    }
}

impl JobRecorder {
    /// Counts the end of an attempt; `None` for a status in which no attempt ends.
    fn count_end(
        job: &Job,
        status: JobStatus,
        problem: Option<ProblemType>,
        ran: Duration,
    ) -> Option<(Action, Outcome)> {
        let cause = problem.unwrap_or(ProblemType::Internal);
        match status {
            JobStatus::Completed => {
                metrics::ended(&job.kind, JobEnd::Completed, Some(ran));
                Some((Action::JobCompleted, Outcome::Ok))
            }
            JobStatus::Cancelled => {
                metrics::ended(&job.kind, JobEnd::Cancelled, Some(ran));
                Some((Action::JobCancelled, Outcome::Ok))
            }
            JobStatus::Failed => {
                metrics::ended(&job.kind, JobEnd::Failed(cause), Some(ran));
                Some((Action::JobFailed, Outcome::Failed(cause)))
            }
            // It will be retried, or it was released because the server stops.
            JobStatus::Queued => {
                if let Some(problem) = problem {
                    metrics::retried(&job.kind, problem);
                }
                Some((Action::JobRetried, problem.map_or(Outcome::Abandoned, Outcome::Failed)))
            }
            JobStatus::Running | JobStatus::Expired => None,
        }
    }

    fn lease_lost(&self, job: &Job) {
        metrics::lease_lost(&job.kind);
        let problem = ProblemType::WorkerLost;
        let action = match job.status {
            JobStatus::Cancelled => {
                metrics::ended(&job.kind, JobEnd::Cancelled, None);
                Action::JobCancelled
            }
            JobStatus::Failed => {
                metrics::ended(&job.kind, JobEnd::Failed(problem), None);
                Action::JobFailed
            }
            JobStatus::Queued | JobStatus::Running | JobStatus::Completed | JobStatus::Expired => {
                metrics::retried(&job.kind, problem);
                Action::JobRetried
            }
        };
        let entry = self.attempt_entry(job, action);
        self.audit.note(Entry { outcome: Some(Outcome::Failed(problem)), actor: Actor::Server, ..entry });
    }
}
