//! The queue as the rest of the server uses it: typed questions, typed answers, each one step that happens or does not.
//!
//! It knows nothing of proving. What a job needs and what came of it are texts and names of artefacts to it.

use std::time::Duration;

use async_trait::async_trait;
use edgeprove_job_rules::{
    bounds::Full,
    capability::Capability,
    job::{Job, NewJob},
    lease::LeaseToken,
    queue_position::{QueuePosition, QueuedJob},
};
use edgeprove_protocol::{HasProblemType, JobId, JobStatus, Priority, ProblemType};
use tokio::sync::broadcast;

/// What came of handing a job in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is in the queue, and stays there whatever happens to this process.
    Taken(Box<Job>),
    /// The same request was taken in before; this is its job.
    Known(Box<Job>),
}

/// Why a job was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There are too many already.
    #[error(transparent)]
    Full(#[from] Full),
    /// The caller's own name for the request is that of another request.
    #[error("another request bears this idempotency key")]
    KeyConflict,
    /// The database failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// The database could not be asked, or holds what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("the job store failed")]
pub struct QueueError(#[from] pub crate::store::StoreError);

/// Whether a worker still has its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStatus {
    /// It has.
    Yes,
    /// It has, but somebody called the job off.
    CancelRequested,
    /// It has not: the lease ran out, and somebody else may have it.
    No,
}

/// How a worker lets go of its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// It is done.
    Completed {
        /// The artefact that was made.
        result: Option<String>,
        /// What is to be told of it.
        outcome: String,
    },
    /// It failed, and would again.
    Failed {
        /// Why.
        outcome: String,
    },
    /// It failed, and may succeed the next time, after the pause that the rules give.
    Retry {
        /// Why.
        outcome: String,
    },
    /// It was not really tried: the worker stops, or heard that the job was called off.
    Released,
}

/// Which of an owner's jobs are listed, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Whose.
    pub owner: String,
    /// Of this status only.
    pub status: Option<JobStatus>,
    /// Of this subject only.
    pub subject: Option<String>,
    /// Those before this place in the order of arrival: the last of the page before.
    pub before: Option<i64>,
    /// How many at most.
    pub limit: u32,
}

/// How many jobs there are, and how long they wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// How many of each status and priority, as far as there are any.
    pub jobs: Vec<(JobStatus, Priority, u64)>,
    /// For how long the longest waiting job of a priority has waited.
    pub oldest_queued: Vec<(Priority, Duration)>,
}

/// Something happened to a job, in this process or in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A job is to be begun: workers that wait should look.
    Work,
    /// Something about this job changed: status, stage or percent.
    Job(JobId),
    /// Changes may have been missed: whoever follows a job should look at it.
    Unknown,
}

/// See the module.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Takes a job in, unless the bounds are reached, or this bound of its owner's own. When this returns, it is kept.
    async fn submit(&self, job: NewJob, unfinished_max: Option<u32>) -> Result<Submitted, SubmitError>;

    /// A job.
    async fn get(&self, id: JobId) -> Result<Option<Job>, QueueError>;

    /// Jobs of an owner.
    async fn list(&self, listing: &Listing) -> Result<Vec<Job>, QueueError>;

    /// Where a job stands; `None` if it is not queued.
    async fn place(&self, id: JobId) -> Result<Option<QueuePosition>, QueueError>;

    /// The first of the queue in the order of work.
    async fn order(&self, limit: u32) -> Result<Vec<QueuedJob>, QueueError>;

    /// How many there are.
    async fn census(&self) -> Result<JobCounts, QueueError>;

    /// How long the latest jobs of a subject took, the oldest first.
    async fn durations(&self, kind: &str, subject: &str, limit: u32) -> Result<Vec<Duration>, QueueError>;

    /// Calls a job off; `owner` is who asks, `None` one who may call any off. `None`: there is no such job, or it is over.
    async fn cancel(&self, id: JobId, owner: Option<&str>) -> Result<Option<JobStatus>, QueueError>;

    /// Takes the job whose turn it is of those that a worker can do, if one is due.
    async fn claim(&self, holder: &str, capabilities: &[Capability]) -> Result<Option<Job>, QueueError>;

    /// When the next of those that wait for their time is due.
    async fn next_due(&self) -> Result<Option<Duration>, QueueError>;

    /// Says that the worker lives.
    async fn heartbeat(&self, id: JobId, token: LeaseToken) -> Result<LeaseStatus, QueueError>;

    /// Says how far the work is.
    async fn progress(
        &self,
        id: JobId,
        token: LeaseToken,
        stage: &str,
        percent: u8,
    ) -> Result<LeaseStatus, QueueError>;

    /// Lets go of a job. `None`: the lease was lost, and what was made is to be thrown away.
    async fn end(
        &self,
        id: JobId,
        token: LeaseToken,
        ending: JobOutcome,
    ) -> Result<Option<JobStatus>, QueueError>;

    /// What happens from now on. One stream serves any number of watchers; nobody asks the database for it.
    fn changes(&self) -> broadcast::Receiver<Change>;
}

impl HasProblemType for QueueError {
    fn kind(&self) -> ProblemType {
        ProblemType::JobStoreUnavailable
    }
}

impl HasProblemType for SubmitError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Full(Full::Queue { .. }) => ProblemType::QueueFull,
            Self::Full(Full::Owner { .. }) => ProblemType::TooManyJobs,
            Self::KeyConflict => ProblemType::IdempotencyKeyReused,
            Self::Queue(error) => error.kind(),
        }
    }
}
