//! Why a request about jobs fails, and its response.

use std::time::Duration;

use edgeprove_job_rules::{
    outcome::{DecodeError, EncodeError},
    queue_bounds::Full,
    row::CorruptRow,
};
use edgeprove_protocol::{HasProblemType as _, JobStatus, Problem, ProblemType, problem};
use http::{HeaderValue, header};

use super::database::SqlError;
use crate::edge_response::EdgeResponse;

/// The database failed, or holds what this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// A statement failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The rows are not JSON.
    #[error("the rows cannot be read: {0}")]
    Row(#[from] serde_json::Error),
    /// A row has another form than this version reads.
    #[error("a row cannot be read, in column {0}")]
    Column(&'static str),
    /// A row that no statement writes.
    #[error("a row is corrupt: {0}")]
    Corrupt(#[from] CorruptRow),
    /// A text of a row cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A text of a row cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The audit log does not end where it did.
    #[error("the audit log was changed: its head does not fit")]
    AuditBroken,
    /// A later version of the Worker changed the tables.
    #[error(
        "the tables `{tables}` have version {found}; this Worker knows {known}: deploy the later one again"
    )]
    LaterTables {
        /// Which tables.
        tables: &'static str,
        /// Their version.
        found: i64,
        /// The version that this Worker knows.
        known: i64,
    },
}

/// Why a request about jobs fails.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The database failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// There are too many jobs.
    #[error("{full}")]
    Full {
        /// Which bound is reached.
        full: Full,
        /// The expected time until there is a place, where it is known.
        wait: Option<Duration>,
    },
    /// The database has as many bytes as it may.
    #[error("the object of the jobs stores {bytes} bytes, as many as it may")]
    StorageFull {
        /// The size of the database.
        bytes: u64,
    },
    /// Another request has the same idempotency key.
    #[error("another request has this idempotency key")]
    KeyConflict,
    /// The voucher of the page is used up.
    #[error("the voucher is used up: it is for {uses} jobs")]
    VoucherUsedUp {
        /// How many jobs it is for.
        uses: u32,
    },
    /// The job cannot finish in time.
    #[error(
        "the proof would take at least {} s and probably {} s; X-Deadline allows {} s",
        tenths(*low),
        tenths(*expected),
        tenths(*limit)
    )]
    Deadline {
        /// The least time until it finishes.
        low: Duration,
        /// The expected time.
        expected: Duration,
        /// The time that the request allows.
        limit: Duration,
    },
    /// There is no such job, or the caller may not see it.
    #[error("no job with this id for this API key")]
    NotFound,
    /// The job has expired.
    #[error("the job has expired: its proof was deleted")]
    Expired,
    /// The job was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// The job has no proof yet.
    #[error("the job is {status}")]
    NotReady {
        /// Its status.
        status: JobStatus,
        /// The expected time until it finishes.
        wait: Duration,
    },
    /// The job has failed, with this problem.
    #[error("the job has failed")]
    Failed(Box<Problem>),
    /// The job has finished, so it cannot be cancelled.
    #[error("the job is already {0}")]
    AlreadyFinished(JobStatus),
    /// Only a failed job whose witness is stored can be queued again.
    #[error("{0}")]
    NotRetryable(String),
    /// The request is for operators.
    #[error("this is for operators")]
    OperatorsOnly,
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// Too many clients follow jobs.
    #[error("too many clients follow jobs at the same time")]
    TooManyWatchers,
    /// The path is not one of the object's.
    #[error("the object of the jobs has no such path")]
    NoSuchPath,
}

/// A time in seconds, with one digit after the point.
fn tenths(time: Duration) -> String {
    let tenths = time.as_millis().saturating_add(50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

impl JobsError {
    /// The type of the problem.
    #[must_use]
    pub fn kind(&self) -> ProblemType {
        match self {
            Self::Queue(QueueError::Decode(error)) => error.kind(),
            Self::Queue(QueueError::AuditBroken) => ProblemType::AuditUnavailable,
            Self::Queue(_) | Self::StorageFull { .. } => ProblemType::JobStoreUnavailable,
            Self::Full { full: Full::Queue { .. }, .. } => ProblemType::QueueFull,
            Self::Full { full: Full::Account { .. } | Full::Share { .. }, .. } => ProblemType::TooManyJobs,
            Self::KeyConflict => ProblemType::IdempotencyKeyReused,
            Self::VoucherUsedUp { .. } => ProblemType::VoucherUsedUp,
            Self::Deadline { .. } => ProblemType::DeadlineCannotBeMet,
            Self::NotFound => ProblemType::JobNotFound,
            Self::Expired => ProblemType::JobExpired,
            Self::Cancelled => ProblemType::JobCancelled,
            Self::NotReady { .. } => ProblemType::ProofNotReady,
            Self::Failed(problem) => problem.code.known().unwrap_or(ProblemType::Internal),
            Self::AlreadyFinished(_) => ProblemType::JobAlreadyFinished,
            Self::NotRetryable(_) => ProblemType::JobNotRetryable,
            Self::OperatorsOnly => ProblemType::NotAllowed,
            Self::Invalid(_) => ProblemType::InvalidRequest,
            Self::TooManyWatchers => ProblemType::TooManyWatchers,
            Self::NoSuchPath => ProblemType::NotFound,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full { wait: Some(wait), .. } | Self::NotReady { wait, .. } => Some(*wait),
            Self::Failed(_) => None,
            Self::Deadline { expected, limit, .. } => {
                Some(expected.saturating_sub(*limit).max(Duration::from_secs(1)))
            }
            other => other.kind().retry_after(),
        }
    }

    /// The problem document.
    #[must_use]
    pub fn response(&self, request_id: &str) -> EdgeResponse {
        let problem = match self {
            // The same request always gets it again, so it is not retryable.
            Self::Failed(problem) => {
                let mut problem = (**problem).clone();
                problem.retryable = false;
                problem
            }
            other => {
                let kind = other.kind();
                let detail = kind.hidden_detail().map_or_else(|| other.to_string(), str::to_owned);
                Problem::new(kind, detail, Some(request_id.to_owned()))
            }
        };
        let mut response = EdgeResponse::json(problem.status, &problem);
        response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
        if let Some(time) = self.retry_after() {
            let seconds = u64::try_from(time.as_millis().div_ceil(1000).max(1)).unwrap_or(u64::MAX);
            response.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
