//! Keeps house: ends leases that ran out, expires what is over, removes artefacts that nobody needs, deletes old rows.
//!
//! Each server does all of it, at any time; every step may be done by several at once, and again after a crash. There are
//! two tasks, because leases are looked after many times within one lease whatever else is slow, such as a store of
//! artefacts that does not answer.

use std::{
    collections::HashSet,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_job_rules::{
    job::Job,
    lease::{ClockWatch, Upkeep as Word},
    time::UnixMillis,
    transition::Rules,
};
use edgeprove_protocol::JobId;
use futures_util::{StreamExt as _, stream};

use super::sql_queue::{Doomed, SqlQueue};
use crate::store::StoreError;
use edgeprove_telemetry::supervisor::Supervisor;

/// How many jobs are expired or deleted by one statement, and how many artefacts are removed between two looks at the
/// others: so many that a full house is cleaned in a moment, and so few that no writer waits long.
const BATCH: u32 = 200;
/// A bucket takes longer to answer than to remove.
const REMOVED_AT_A_TIME: usize = 8;

/// Where artefacts are removed from.
#[async_trait]
pub trait ArtifactRemover: Send + Sync {
    /// Removes an artefact. One that is not there is removed.
    async fn remove(&self, name: &str) -> Result<(), RemoveError>;

    /// Removes those that are older than this and not named, and returns how many they were.
    async fn remove_others(
        &self,
        named: &HashSet<String>,
        older_than: Duration,
    ) -> Result<usize, RemoveError>;
}

/// Why an artefact could not be removed. It is tried again.
#[derive(Debug, thiserror::Error)]
#[error("an artefact could not be removed")]
pub struct RemoveError(#[source] pub Box<dyn Error + Send + Sync>);

/// What was done to jobs, for whoever keeps a record of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Their workers are gone. They are as they are now.
    LeasesLost(Vec<Job>),
    /// Their time is over.
    Expired(Vec<JobId>),
}

/// How often it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Leases.
    pub leases: Duration,
    /// Expiry, artefacts and rows.
    pub tidy: Duration,
    /// Artefacts that no job names.
    pub orphans: Duration,
    /// How old those must be: older than any upload that is not yet a job can be.
    pub orphan_age: Duration,
}

impl Intervals {
    /// Those that fit these rules. A lease is looked at six times in its length, so that it is taken up soon, and twice
    /// in the third of it that [`ClockWatch`] lets pass unnoticed.
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

/// Who keeps house.
#[derive(Clone)]
pub struct Upkeep {
    queue: SqlQueue,
    artifacts: Arc<dyn ArtifactRemover>,
    intervals: Intervals,
    /// What is told of a job whose worker was gone at its last attempt.
    lost: String,
    record: Arc<dyn Fn(Kept) + Send + Sync>,
}

impl Upkeep {
    /// `lost` is the outcome of a job whose workers died or fell silent too often, written as the kinds write theirs.
    /// `record` is told what was done to jobs.
    pub fn new(
        queue: SqlQueue,
        artifacts: Arc<dyn ArtifactRemover>,
        intervals: Intervals,
        lost: String,
        record: impl Fn(Kept) + Send + Sync + 'static,
    ) -> Self {
        Self { queue, artifacts, intervals, lost, record: Arc::new(record) }
    }

    /// Takes up the jobs that a dead process left behind. To be called before any worker starts, and of use only where
    /// this process alone uses the database: then nobody who had a lease can be alive.
    pub async fn recover(&self) -> Result<Vec<JobId>, StoreError> {
        if self.queue.database.is_shared() {
            return Ok(Vec::new());
        }
        let jobs = self.queue.reap(Some(UnixMillis::MAX), &self.lost).await?;
        let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
        if !jobs.is_empty() {
            tracing::warn!(
                jobs = jobs.len(),
                "jobs that a dead server had begun are queued again, or failed"
            );
            (self.record)(Kept::LeasesLost(jobs));
        }
        Ok(ids)
    }

    /// Keeps house until the supervisor stops.
    pub fn start(self, supervisor: &Supervisor) {
        let stop = supervisor.stop_token();
        let (leases, until) = (self.clone(), stop.clone());
        supervisor.spawn("look after leases", async move {
            until.run_until_cancelled(leases.look_after_leases()).await;
        });
        let until = stop.clone();
        supervisor.spawn("tidy up", async move {
            until.run_until_cancelled(self.tidy_up()).await;
        });
    }

    async fn look_after_leases(&self) {
        let start = Instant::now();
        let mut watch = ClockWatch::new(self.queue.rules.lease);
        let mut trouble = Trouble::default();
        loop {
            trouble.note("look after leases", &self.leases(&mut watch, start).await);
            tokio::time::sleep(self.intervals.leases).await;
        }
    }

    async fn leases(&self, watch: &mut ClockWatch, start: Instant) -> Result<(), StoreError> {
        let now = self.queue.now().await?;
        match watch.look(now, start.elapsed()) {
            Word::Wait => {}
            Word::Settle => {
                let settled = self.queue.settle().await?.len();
                if settled > 0 {
                    tracing::warn!(jobs = settled, "the clock went back: times of jobs were moved along");
                }
            }
            Word::Reap => {
                let jobs = self.queue.reap(None, &self.lost).await?;
                for job in &jobs {
                    tracing::warn!(job = %job.id, attempts = job.attempts, status = %job.status, "a worker fell silent");
                }
                if !jobs.is_empty() {
                    (self.record)(Kept::LeasesLost(jobs));
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

    /// Expires, removes and deletes until nothing is left to be.
    pub async fn tidy(&self) -> Result<(), TidyError> {
        loop {
            let expired = self.queue.expire(BATCH).await?;
            if expired.is_empty() {
                break;
            }
            tracing::debug!(jobs = expired.len(), "expired");
            (self.record)(Kept::Expired(expired));
        }
        loop {
            let doomed = self.queue.doomed(BATCH).await?;
            if doomed.is_empty() {
                break;
            }
            let removing = doomed.into_iter().map(|doomed| self.remove(doomed));
            // One that cannot be removed does not keep the others.
            let outcomes: Vec<_> = stream::iter(removing).buffer_unordered(REMOVED_AT_A_TIME).collect().await;
            outcomes.into_iter().collect::<Result<(), TidyError>>()?;
        }
        while self.queue.delete(BATCH).await? > 0 {}
        Ok(())
    }

    async fn remove(&self, doomed: Doomed) -> Result<(), TidyError> {
        self.artifacts.remove(&doomed.artifact).await?;
        Ok(self.queue.forget(&doomed).await?)
    }

    /// Removes what a crash left behind: artefacts whose job was never taken in, and those of a worker that had lost its
    /// lease. Names are looked at before the store is, so that whatever is stored and named meanwhile is young.
    pub async fn remove_orphans(&self) -> Result<(), TidyError> {
        let named = self.queue.named_artifacts().await?.into_iter().collect();
        let removed = self.artifacts.remove_others(&named, self.intervals.orphan_age).await?;
        if removed > 0 {
            tracing::warn!(artifacts = removed, "removed artefacts that no job names");
        }
        Ok(())
    }
}

/// Why not everything was tidied up. The rest is left for the next time.
#[derive(Debug, thiserror::Error)]
pub enum TidyError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An artefact is left.
    #[error(transparent)]
    Remove(#[from] RemoveError),
}

/// Tells once that something does not work, and once that it works again, however often it is tried in between.
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
                tracing::error!(task, error = %edgeprove_telemetry::chain(error), "upkeep does not work at the moment");
            }
            Err(error) => {
                tracing::debug!(task, error = %edgeprove_telemetry::chain(error), "upkeep does not work yet")
            }
        }
    }
}
