//! Work that outlives the request that asked for it: kept in a queue, done by workers, followed by watchers.
//!
//! - [`submission`]: from a checked upload to a job that is kept. Start here.
//! - [`runner`]: workers, each of which claims a job and ends it; [`attempt`]: one try, whose lease is kept alive.
//! - [`suspects`]: jobs that may have killed the server before, and are worked on alone.
//! - [`kinds`]: what there is to do, a file each. Nothing else here knows of proving.
//! - [`hub`]: tells watchers what happens, looking at a job once however many watch it.
//! - [`crew`]: all of it put together, started and stopped.
//! - [`record`]: what the audit log and the metrics are told of jobs.
//! - [`document`], [`estimate`], [`depth`]: what a caller is told of a job, how long it will take, how many there are.
//! - [`queue`]: the queue as the others use it; [`sql_queue`]: in a database; [`wake`]: how changes are heard of;
//!   [`upkeep`]: leases, expiry and artefacts.

pub mod attempt;
pub mod document;
pub mod kinds;
pub mod record;
pub mod runner;
pub mod submission;
pub mod system;
pub mod watchers;

use std::{path::PathBuf, sync::Arc, time::Instant};

use edgeprove_job_rules::{
    estimator::DurationEstimator,
    prediction::{Estimate, WINDOW},
    queue_position::{JobGroup, QueuePosition},
};
use edgeprove_protocol::{HasProblemType, Priority, ProblemType};

use self::{record::JobRecorder, watchers::JobWatchers};
use edgeprove_artifacts::ArtifactStore;
use edgeprove_engine::{circuits::Registry, proof_service::ProofService};
use edgeprove_job_queue::{
    job_counts::Depth,
    queue::{JobQueue, QueueError},
};
use edgeprove_spool::Spool;

/// What jobs are taken in, done and followed with.
pub struct JobContext {
    /// What can be proved.
    pub circuits: Arc<Registry>,
    /// The one way to prove.
    pub proofs: ProofService,
    /// Where witnesses are while they are worked on.
    pub spool: Spool,
    /// Where witnesses and proofs are kept.
    pub artifacts: Arc<ArtifactStore>,
    /// Where jobs are kept.
    pub queue: Arc<dyn JobQueue>,
    /// Who tells watchers.
    pub hub: Arc<JobWatchers>,
    /// Who knows how long jobs take.
    pub estimator: Arc<DurationEstimator>,
    /// How full the queue is.
    pub depth: Depth,
    /// Who is told what happens to jobs.
    pub recorder: JobRecorder,
    /// The folder that all of it is kept in, if it is one.
    pub folder: Option<PathBuf>,
    /// The number of this container, where it alone keeps its jobs.
    pub home: Option<u16>,
    /// How often a job may be tried.
    pub max_attempts: u32,
}

impl JobContext {
    /// How long work would take from now until it is over, if it came now; `None` where nothing is known.
    pub async fn foresee(
        &self,
        kind: &str,
        subject: &str,
        priority: Priority,
    ) -> Result<Option<Estimate>, QueueError> {
        load_durations(&self.estimator, self.queue.as_ref(), kind, subject).await?;
        let queued = Priority::ALL.into_iter().zip(self.depth.latest().queued());
        let jobs = queued.filter(|&(other, _)| other >= priority).map(|(_, jobs)| jobs).sum();
        // What they are is not looked at: it is assumed that they take as long.
        let ahead = JobGroup { kind: kind.to_owned(), subject: subject.to_owned(), jobs };
        let position = QueuePosition { ahead: vec![ahead] };
        Ok(self.estimator.wait_and_work(&position, kind, subject, Instant::now()))
    }
}

/// Loads the durations of earlier jobs of a subject from the queue, once.
async fn load_durations(
    estimator: &DurationEstimator,
    queue: &dyn JobQueue,
    kind: &str,
    subject: &str,
) -> Result<(), QueueError> {
    if !estimator.has_history(kind, subject) {
        let limit = u32::try_from(WINDOW).unwrap_or(u32::MAX);
        estimator.load(kind, subject, queue.durations(kind, subject, limit).await?);
    }
    Ok(())
}

/// Why this server takes no work that outlives its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JobsDisabled {
    /// It was given no place to keep it in.
    #[error(
        "this server keeps nothing, so it takes no work that outlives its request: start it with --data DIR \
         (EDGEPROVE_DATA) on a volume, or with DATABASE_URL, or accept the loss with --ephemeral-jobs"
    )]
    NoPlace,
    /// Its place would go with its container.
    #[error(
        "the data folder is part of this container and would go with it, so no work is taken that outlives its \
         request: mount a volume there, set DATABASE_URL, or accept the loss with --ephemeral-jobs"
    )]
    InContainer,
}

impl HasProblemType for JobsDisabled {
    fn kind(&self) -> ProblemType {
        ProblemType::JobsDisabled
    }
}
