//! Attempts at jobs: claimed, held by a lease, and ended with its fencing token.

use edgeprove_job_rules::{
    audit::{Action, Outcome},
    capability::{self, Capability},
    job::Job,
    outcome::StoredOutcome,
    progress::{Stage, StageEstimate},
    sql::work,
    time::UnixMillis,
};
use edgeprove_protocol::{JobStatus, Problem, ProblemType};
use uuid::Uuid;

use super::{KIND, Queue, QueueError, audit::Acting};
use crate::jobs_do::{database::values, payload::ProofReport, row::Row};

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptEnd {
    /// The proof is stored.
    Completed {
        /// The name of its artifact.
        result: String,
        /// What belongs to it.
        report: Box<ProofReport>,
    },
    /// It failed, and another attempt would fail as well.
    Failed(Box<Problem>),
    /// It failed, and another attempt may succeed.
    Retry(Box<Problem>),
    /// It was not really made: no container could take the job, or a caller cancelled it.
    Released,
}

/// Whether an attempt still has its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStatus {
    /// It has the lease.
    Held,
    /// It has the lease, and a caller cancelled the job.
    CancelRequested,
    /// The lease ended, and another attempt may run.
    Lost,
}

impl AttemptEnd {
    fn problem(&self) -> Option<ProblemType> {
        match self {
            Self::Failed(problem) | Self::Retry(problem) => {
                Some(problem.code.known().unwrap_or(ProblemType::Internal))
            }
            Self::Completed { .. } | Self::Released => None,
        }
    }

    fn encode(&self) -> Result<Option<String>, QueueError> {
        Ok(match self {
            Self::Completed { report, .. } => Some(StoredOutcome::Completed(report).encode()?),
            Self::Failed(problem) | Self::Retry(problem) => {
                Some(StoredOutcome::<()>::Failed(problem.clone()).encode()?)
            }
            Self::Released => None,
        })
    }
}

impl Queue {
    /// Claims the next job that is due. Its start is in the audit log when this returns.
    pub fn claim(&self, now: UnixMillis) -> Result<Option<Job>, QueueError> {
        let capabilities = capability::json(&[Capability::all_of(KIND)]);
        self.atomically(|| {
            let until = self.rules.rules.lease.until(now);
            let values = values![now, until, capabilities.as_str(), &*self.holder];
            let Some(job) = self.job(work::CLAIM, values)? else { return Ok(None) };
            self.record(&job, Acting::owner(&job).in_attempt(), Action::JobStarted, now)?;
            Ok(Some(job))
        })
    }

    /// Renews the lease of an attempt.
    pub fn heartbeat(&self, job: &Job, now: UnixMillis) -> Result<LeaseStatus, QueueError> {
        let until = self.rules.rules.lease.until(now);
        let rows = self.rows(work::HEARTBEAT, values![job.id.to_string(), job.lease_token.0, until])?;
        lease_status(rows)
    }

    /// Writes the stage of an attempt, with the estimate of its work.
    pub fn report_stage(&self, job: &Job, stage: Stage, now: UnixMillis) -> Result<LeaseStatus, QueueError> {
        let estimate = self.expected_work(&job.subject)?.map(StageEstimate::from);
        let estimate = estimate.map(|estimate| estimate.encode());
        let values = values![job.id.to_string(), job.lease_token.0, stage.name, now, estimate];
        lease_status(self.rows(work::REPORT_STAGE, values)?)
    }

    /// Ends an attempt. Returns the status of the job now; `None` if the lease was lost, in which case the result must be
    /// discarded.
    pub fn finish(
        &self,
        job: &Job,
        end: &AttemptEnd,
        now: UnixMillis,
    ) -> Result<Option<JobStatus>, QueueError> {
        let (text, id) = (end.encode()?, job.id.to_string());
        let (token, expires_at) = (job.lease_token.0, self.rules.rules.retention.expires_at(now));
        let status = self.atomically(|| {
            let status = match end {
                AttemptEnd::Completed { result, .. } => {
                    let values = values![id, token, now, "completed", text, result.as_str(), expires_at];
                    self.status(work::FINISH, values)?
                }
                AttemptEnd::Failed(_) => {
                    let values = values![id, token, now, "failed", text, None::<&str>, expires_at];
                    self.status(work::FINISH, values)?
                }
                AttemptEnd::Retry(_) => {
                    let run_at = self.retry_at(job.attempts, now);
                    self.status(work::RETRY, values![now, run_at, text, expires_at, id, token])?
                }
                AttemptEnd::Released => self.status(work::RELEASE, values![id, token, now, expires_at])?,
            };
            if let Some(status) = status {
                self.record_end(job, status, end.problem(), now)?;
            }
            Ok::<_, QueueError>(status)
        })?;
        if let (Some(JobStatus::Completed), AttemptEnd::Completed { report, .. }) = (status, end) {
            self.learn(report);
        }
        Ok(status)
    }

    /// The earliest start of the next attempt at a job that fails now.
    pub(super) fn retry_at(&self, attempts: u32, now: UnixMillis) -> UnixMillis {
        let (random, _) = Uuid::new_v4().as_u64_pair();
        now.after(self.rules.rules.backoff.delay(attempts, random))
    }

    fn record_end(
        &self,
        job: &Job,
        status: JobStatus,
        problem: Option<ProblemType>,
        now: UnixMillis,
    ) -> Result<(), QueueError> {
        let cancelled_by = self.take_cancel(job)?;
        let cause = problem.unwrap_or(ProblemType::Internal);
        let owner = Acting::owner(job).in_attempt();
        let (acting, action) = match status {
            JobStatus::Completed => (owner.ended(), Action::JobCompleted),
            JobStatus::Cancelled => {
                let by = cancelled_by.map_or_else(Acting::server, Acting::by);
                (by.in_attempt().ended(), Action::JobCancelled)
            }
            JobStatus::Failed => (owner.with(Outcome::Failed(cause)), Action::JobFailed),
            JobStatus::Queued | JobStatus::Running | JobStatus::Expired => {
                let outcome = problem.map_or(Outcome::Abandoned, Outcome::Failed);
                (owner.with(outcome), Action::JobRetried)
            }
        };
        self.record(job, acting, action, now)?;
        if status.is_finished() {
            self.count_ended(job, status, Some(cause))
        } else {
            self.count_retried(problem)
        }
    }
}

fn lease_status(mut rows: Vec<Row>) -> Result<LeaseStatus, QueueError> {
    let Some(row) = rows.pop() else { return Ok(LeaseStatus::Lost) };
    let requested = row.maybe_number("cancel_requested_at")?;
    Ok(if requested.is_some() { LeaseStatus::CancelRequested } else { LeaseStatus::Held })
}
