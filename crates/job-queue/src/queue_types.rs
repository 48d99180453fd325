//! Arguments and results of the queue.

use std::time::Duration;

pub use edgeprove_job_rules::listing::{IdPrefix, InvalidIdPrefix, ListOrder, Listing};
use edgeprove_job_rules::{
    job::Job,
    outcome::{EncodeError, StoredOutcome},
    progress::StageEstimate,
    queue_bounds::Full,
    time::UnixMillis,
};
use edgeprove_protocol::{HasProblemType, JobId, JobStatus, Priority, Problem, ProblemType};
use serde::Serialize;

use crate::store::StoreError;

/// The result of enqueueing a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// The job was accepted. It is durable: it outlives this process if the database does.
    Accepted(Box<Job>),
    /// The same request was accepted before, under the same idempotency key. This is its job.
    Known(Box<Job>),
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// There are too many jobs.
    #[error(transparent)]
    Full(#[from] Full),
    /// Another request has the same idempotency key.
    #[error("another request has this idempotency key")]
    KeyConflict,
    /// The database failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// The database failed, or a row of it is corrupt.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the job store failed")]
pub struct QueueError(#[from] pub StoreError);

impl HasProblemType for QueueError {
    fn kind(&self) -> ProblemType {
        ProblemType::JobStoreUnavailable
    }
}

impl HasProblemType for EnqueueError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Full(Full::Queue { .. }) => ProblemType::QueueFull,
            Self::Full(Full::Account { .. } | Full::Share { .. }) => ProblemType::TooManyJobs,
            Self::KeyConflict => ProblemType::IdempotencyKeyReused,
            Self::Queue(error) => error.kind(),
        }
    }
}

/// Whether a worker still holds its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStatus {
    /// It holds the lease.
    Held,
    /// It holds the lease, and a caller cancelled the job.
    CancelRequested,
    /// The lease expired, and another worker may have the job.
    Lost,
}

/// The start of a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageReport {
    /// The name of the stage.
    pub name: &'static str,
    /// The time when it began.
    pub at: UnixMillis,
    /// The estimate of the work, as it was known when the attempt began, and of the wait before it.
    pub estimate: Option<StageEstimate>,
}

/// The outcome of an attempt at a job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutcome {
    /// The job is completed.
    Completed {
        /// The name of the result artifact.
        result: Option<String>,
        /// What the kind reports of the result. [`Job::completion`] reads it back.
        report: serde_json::Value,
    },
    /// The attempt failed, and another attempt would fail as well.
    Failed(Box<Problem>),
    /// The attempt failed, and another attempt may succeed.
    Retry(Box<Problem>),
    /// The attempt was stopped without having failed: the server shuts down, or a caller cancelled the job.
    Released,
}

impl JobOutcome {
    /// A completed job, with the name of its result artifact and what its kind reports of it.
    pub fn completed<T: Serialize>(result: Option<String>, report: T) -> Result<Self, EncodeError> {
        Ok(Self::Completed { result, report: edgeprove_job_rules::outcome::report(report)? })
    }

    /// The problem, if the attempt failed.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Failed(problem) | Self::Retry(problem) => Some(problem),
            Self::Completed { .. } | Self::Released => None,
        }
    }

    /// The text for the row of the job; `None` for a released job, which gets none.
    pub(crate) fn encode(&self) -> Result<Option<String>, EncodeError> {
        match self {
            Self::Completed { report, .. } => StoredOutcome::Completed(report).encode().map(Some),
            Self::Failed(problem) | Self::Retry(problem) => encode_problem(problem).map(Some),
            Self::Released => Ok(None),
        }
    }
}

/// The text for the row of a job whose attempt failed with this problem.
pub(crate) fn encode_problem(problem: &Problem) -> Result<String, EncodeError> {
    StoredOutcome::<()>::Failed(Box::new(problem.clone())).encode()
}

/// Whether a failed job was queued again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeued {
    /// It is queued, with all its attempts.
    Queued,
    /// The queue is full.
    Full {
        /// The number of queued jobs.
        queued: u32,
    },
    /// Its input was removed, or it never had one.
    WithoutInput,
    /// It has not failed.
    NotFailed(JobStatus),
    /// There is no such job.
    Unknown,
}

/// A number of jobs that have the same kind, status and priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobCount {
    /// The name of their kind.
    pub kind: String,
    /// Their status.
    pub status: JobStatus,
    /// Their priority.
    pub priority: Priority,
    /// The number of jobs.
    pub jobs: u64,
}

/// The numbers of jobs in the queue, and how long they wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// The numbers of jobs. Combinations without jobs are left out.
    pub jobs: Vec<JobCount>,
    /// How long the longest waiting job of a priority has waited. Priorities without queued jobs are left out.
    pub oldest_queued: Vec<(Priority, Duration)>,
    /// The time of the count, by the database's clock; `None` before the first.
    pub counted_at: Option<UnixMillis>,
}

impl JobCounts {
    /// The number of queued jobs of each priority, by [`Priority::level`].
    #[must_use]
    pub fn queued(&self) -> [u64; Priority::ALL.len()] {
        self.queued_where(|_| true)
    }

    /// The number of queued jobs of a kind of each priority, by [`Priority::level`].
    #[must_use]
    pub fn queued_of(&self, kind: &str) -> [u64; Priority::ALL.len()] {
        self.queued_where(|count| count.kind == kind)
    }

    fn queued_where(&self, is_wanted: impl Fn(&JobCount) -> bool) -> [u64; Priority::ALL.len()] {
        Priority::ALL.map(|priority| {
            let queued = self.jobs.iter().filter(|count| count.status == JobStatus::Queued);
            queued
                .filter(|count| count.priority == priority && is_wanted(count))
                .map(|count| count.jobs)
                .sum()
        })
    }

    /// The number of jobs of a status.
    #[must_use]
    pub fn of(&self, status: JobStatus) -> u64 {
        self.jobs.iter().filter(|count| count.status == status).map(|count| count.jobs).sum()
    }
}

/// A change of a job, in this process or on another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A job became ready: idle workers should try to claim one.
    Work,
    /// The status or stage of this job changed.
    Job(JobId),
    /// Changes may have been missed: watchers should read their jobs again.
    Unknown,
}
