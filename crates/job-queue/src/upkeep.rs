//! Upkeep: ends expired leases, expires jobs, removes superfluous artifacts and deletes old rows.
//!
//! Every server does all of it. Several servers may do each step at the same time, and repeat it after a crash. There are two
//! tasks: leases are checked several times within the length of a lease, whatever else is slow, such as an artifact store that
//! does not answer.

use std::{
    collections::HashSet,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_job_rules::{
    capability::Capability,
    lease::{ClockWatch, Upkeep as LeaseStep},
    outcome::EncodeError,
    transition::Rules,
};
use edgeprove_protocol::{JobId, Problem};
use edgeprove_telemetry::supervisor::Supervisor;
use futures_util::{StreamExt as _, stream};

use crate::{
    events::{JobEvents, UpkeepEvent},
    queue_types::encode_problem,
    sql_queue::{DoomedArtifact, SqlQueue},
    store::StoreError,
};

/// The number of jobs that one statement expires or deletes, and of artifacts that are removed in one go: enough to be fast, and
/// few enough that no writer waits long.
const BATCH: u32 = 200;
/// The number of artifacts that are removed at the same time: a bucket takes long to answer.
const REMOVED_AT_A_TIME: usize = 8;

/// Removes artifacts from their store.
#[async_trait]
pub trait ArtifactRemover: Send + Sync {
    /// Removes an artifact. It succeeds if there is no such artifact.
    async fn remove(&self, name: &str) -> Result<(), RemoveError>;

    /// Removes the artifacts that are older than this and not in `named`, and returns their number.
    async fn remove_others(
        &self,
        named: &HashSet<String>,
        older_than: Duration,
    ) -> Result<usize, RemoveError>;
}

/// An artifact could not be removed. Upkeep tries again.
#[derive(Debug, thiserror::Error)]
#[error("an artifact could not be removed")]
pub struct RemoveError(#[source] pub Box<dyn Error + Send + Sync>);

/// The intervals of upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Between two checks of leases.
    pub leases: Duration,
    /// Between two removals of expired jobs, artifacts and rows.
    pub tidy: Duration,
    /// Between two removals of artifacts that no job names.
    pub orphans: Duration,
    /// The minimum age of an artifact that no job names. An upload that is not yet a job is younger.
    pub orphan_age: Duration,
}

impl Intervals {
    /// The intervals for these rules. Leases are checked six times in their length, so that a lost one is noticed soon, and twice
    /// in the third that [`ClockWatch`] ignores.
    #[must_use]
    pub fn of(rules: &Rules) -> Self {
        let often = Duration::from_millis(50);
        Self {
            leases: (rules.lease.length / 6).clamp(often, Duration::from_secs(1)),
            tidy: (rules.retention.results / 10).clamp(often, Duration::from_secs(10)),
            orphans: Duration::from_mins(10),
            orphan_age: Duration::from_hours(1),
        }
    }
}

/// The upkeep of a queue.
#[derive(Clone)]
pub struct Upkeep {
    queue: SqlQueue,
    artifacts: Arc<dyn ArtifactRemover>,
    intervals: Intervals,
    /// The outcome of a job whose worker was lost.
    worker_lost: String,
    events: Arc<dyn JobEvents>,
    unclaimable: Option<Unclaimable>,
}

/// Returns what the workers of this server take at the moment.
pub type CurrentCapabilities = Arc<dyn Fn() -> Vec<Capability> + Send + Sync>;

/// What happens to queued jobs that no worker of this server takes.
#[derive(Clone)]
struct Unclaimable {
    capabilities: CurrentCapabilities,
    wait_max: Duration,
    outcome: String,
}

impl Upkeep {
    /// Upkeep of this queue. `worker_lost` is the problem of a job whose worker died or fell silent.
    pub fn new(
        queue: SqlQueue,
        artifacts: Arc<dyn ArtifactRemover>,
        intervals: Intervals,
        worker_lost: &Problem,
        events: Arc<dyn JobEvents>,
    ) -> Result<Self, EncodeError> {
        let worker_lost = encode_problem(worker_lost)?;
        Ok(Self { queue, artifacts, intervals, worker_lost, events, unclaimable: None })
    }

    /// Fails queued jobs with this problem that have waited this long, and that none of these capabilities takes. Where
    /// servers differ, one that takes them does so earlier.
    pub fn with_longest_wait(
        self,
        capabilities: CurrentCapabilities,
        wait_max: Duration,
        problem: &Problem,
    ) -> Result<Self, EncodeError> {
        let unclaimable = Unclaimable { capabilities, wait_max, outcome: encode_problem(problem)? };
        Ok(Self { unclaimable: Some(unclaimable), ..self })
    }

    /// Queues the jobs again that a dead process left running, and returns their ids. Call it before any worker starts. It has an
    /// effect only where this process alone uses the database: then no holder of a lease can be alive, except provers that pull.
    pub async fn recover(&self) -> Result<Vec<JobId>, StoreError> {
        if self.queue.database().is_shared() {
            return Ok(Vec::new());
        }
        let jobs = self.queue.recover(&self.worker_lost).await?;
        let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
        if !jobs.is_empty() {
            tracing::warn!(
                jobs = jobs.len(),
                "jobs that the previous process left running were queued again, or failed"
            );
            self.events.maintained(UpkeepEvent::LeasesLost(jobs));
        }
        Ok(ids)
    }

    /// Starts the upkeep, until the supervisor stops.
    pub fn start(self, supervisor: &Supervisor) {
        let stop = supervisor.stop_token();
        let (leases, until) = (self.clone(), stop.clone());
        supervisor.spawn("check leases", async move {
            until.run_until_cancelled(leases.check_leases()).await;
        });
        let until = stop.clone();
        supervisor.spawn("tidy up", async move {
            until.run_until_cancelled(self.tidy_up()).await;
        });
    }

    async fn check_leases(&self) {
        let start = Instant::now();
        let mut watch = ClockWatch::new(self.queue.rules().lease);
        let mut trouble = Trouble::default();
        loop {
            trouble.note("check leases", &self.leases(&mut watch, start).await);
            tokio::time::sleep(self.intervals.leases).await;
        }
    }

    async fn leases(&self, watch: &mut ClockWatch, start: Instant) -> Result<(), StoreError> {
        let now = self.queue.now().await?;
        match watch.look(now, start.elapsed()) {
            LeaseStep::Wait => {}
            LeaseStep::Settle => {
                let settled = self.queue.settle().await?.len();
                if settled > 0 {
                    tracing::warn!(
                        jobs = settled,
                        "the clock was set back; the times of jobs were corrected"
                    );
                }
            }
            LeaseStep::Reap => {
                // Not those that expire from here on: this process may be paused now, and its workers with it.
                let jobs = self.queue.reap(now, &self.worker_lost).await?;
                for job in &jobs {
                    tracing::warn!(job = %job.id, attempts = job.attempts, status = %job.status, "a lease expired: its worker is silent");
                }
                if !jobs.is_empty() {
                    self.events.maintained(UpkeepEvent::LeasesLost(jobs));
                }
            }
        }
        Ok(())
    }

    async fn tidy_up(&self) {
        let mut trouble = Trouble::default();
        let mut orphans_last = None;
        loop {
            trouble.note("tidy up", &self.tidy().await);
            if orphans_last.is_none_or(|last: Instant| last.elapsed() >= self.intervals.orphans) {
                orphans_last = Some(Instant::now());
                trouble.note("remove orphans", &self.remove_orphans().await);
            }
            tokio::time::sleep(self.intervals.tidy).await;
        }
    }

    async fn abandon(&self) -> Result<(), StoreError> {
        let Some(Unclaimable { capabilities, wait_max, outcome }) = &self.unclaimable else { return Ok(()) };
        let jobs = self.queue.abandon(*wait_max, &capabilities(), outcome).await?;
        for job in &jobs {
            tracing::warn!(job = %job.id, kind = job.kind, subject = job.subject, "a job failed: no worker took it for too long");
        }
        if !jobs.is_empty() {
            self.events.maintained(UpkeepEvent::Abandoned(jobs));
        }
        Ok(())
    }

    /// Fails jobs that waited too long, expires jobs, removes artifacts and deletes rows until none is left.
    pub async fn tidy(&self) -> Result<(), TidyError> {
        self.abandon().await?;
        loop {
            let expired = self.queue.expire(BATCH).await?;
            if expired.is_empty() {
                break;
            }
            tracing::debug!(jobs = expired.len(), "jobs expired");
            self.events.maintained(UpkeepEvent::Expired(expired));
        }
        loop {
            let doomed = self.queue.doomed(BATCH).await?;
            if doomed.is_empty() {
                break;
            }
            let removing = doomed.into_iter().map(|doomed| self.remove(doomed));
            // An artifact that cannot be removed does not prevent the removal of the others.
            let outcomes: Vec<_> = stream::iter(removing).buffer_unordered(REMOVED_AT_A_TIME).collect().await;
            outcomes.into_iter().collect::<Result<(), TidyError>>()?;
        }
        while self.queue.delete(BATCH).await? > 0 {}
        self.queue.add_up().await?;
        Ok(())
    }

    async fn remove(&self, doomed: DoomedArtifact) -> Result<(), TidyError> {
        self.artifacts.remove(&doomed.artifact).await?;
        Ok(self.queue.forget(&doomed).await?)
    }

    /// Removes artifacts that a crash left behind: those whose job was never accepted, and those of a worker that had lost its
    /// lease. The names are read before the store, so that an artifact that is stored and named in between is young.
    pub async fn remove_orphans(&self) -> Result<(), TidyError> {
        let named = self.queue.named_artifacts().await?.into_iter().collect();
        let removed = self.artifacts.remove_others(&named, self.intervals.orphan_age).await?;
        if removed > 0 {
            tracing::warn!(artifacts = removed, "artifacts that no job names were removed");
        }
        Ok(())
    }
}

/// Why a round of upkeep ended early. The next round does the rest.
#[derive(Debug, thiserror::Error)]
pub enum TidyError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An artifact could not be removed.
    #[error(transparent)]
    Remove(#[from] RemoveError),
}

/// Logs once that a task fails, and once that it works again, however often it is repeated in between.
#[derive(Debug, Default)]
struct Trouble {
    with: HashSet<&'static str>,
}

impl Trouble {
    fn note<E: Error>(&mut self, task: &'static str, outcome: &Result<(), E>) {
        match outcome {
            Ok(()) if self.with.remove(task) => tracing::info!(task, "upkeep works again"),
            Ok(()) => {}
            Err(error) if self.with.insert(task) => {
                tracing::error!(task, error = %edgeprove_telemetry::chain(error), "upkeep fails");
            }
            Err(error) => {
                tracing::debug!(task, error = %edgeprove_telemetry::chain(error), "upkeep still fails");
            }
        }
    }
}
