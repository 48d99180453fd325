//! Reports what happens to jobs, so that a server can write an audit log and count.

use std::{error::Error, time::Duration};

use async_trait::async_trait;
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{JobId, JobStatus, Problem};

/// Receives what happens to jobs.
#[async_trait]
pub trait JobEvents: Send + Sync {
    /// A worker has claimed the job. The job starts only if this returns `Ok`; otherwise it is released.
    async fn started(&self, job: &Job) -> Result<(), NotRecorded>;

    /// A worker is about to end its attempt at the job. The value is dropped when the end is recorded, or did not happen.
    fn finishing(&self, _job: &Job) -> Box<dyn Send + Sync> {
        Box::new(())
    }

    /// A worker has ended its attempt at the job.
    async fn ended(&self, job: &Job, end: AttemptEnd<'_>);

    /// Upkeep has changed jobs.
    fn maintained(&self, event: UpkeepEvent);
}

/// The end of an attempt, as the worker reports it.
#[derive(Debug, Clone, Copy)]
pub struct AttemptEnd<'a> {
    /// The status of the job now: finished, or queued again.
    pub status: JobStatus,
    /// The problem, if the attempt failed.
    pub problem: Option<&'a Problem>,
    /// How long the attempt ran.
    pub ran: Duration,
}

/// A change of jobs by upkeep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpkeepEvent {
    /// The leases of these jobs expired. The jobs are as they are now.
    LeasesLost(Vec<Job>),
    /// These jobs failed, because no worker took them for too long.
    Abandoned(Vec<Job>),
    /// These jobs expired.
    Expired(Vec<ExpiredJob>),
}

/// A job that expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredJob {
    /// Its id.
    pub id: JobId,
    /// The name of its kind.
    pub kind: String,
}

/// An event could not be recorded.
#[derive(Debug, thiserror::Error)]
#[error("the event could not be recorded")]
pub struct NotRecorded(#[source] pub Box<dyn Error + Send + Sync>);

/// Ignores all events, for tests and examples.
#[derive(Debug, Clone, Copy, Default)]
pub struct IgnoreEvents;

#[async_trait]
impl JobEvents for IgnoreEvents {
    async fn started(&self, _: &Job) -> Result<(), NotRecorded> {
        Ok(())
    }

    async fn ended(&self, _: &Job, _: AttemptEnd<'_>) {}

    fn maintained(&self, _: UpkeepEvent) {}
}
