//! Makes views of jobs ([`JobView`]) from their rows, the queue and the estimator.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

pub use edgeprove_job_rules::job_view::JobView;
use edgeprove_job_rules::{
    estimator::{DurationEstimator, RunningJob},
    job::Job,
    prediction::{Estimate, WINDOW},
    progress::Stage,
    queue_position::{self, QueuePosition, QueuedJob},
};
use edgeprove_protocol::{JobId, JobStatus, Priority};

use crate::{kind::JobKinds, queue_types::QueueError, sql_queue::SqlQueue};

/// Makes views of jobs.
pub struct JobViews {
    queue: SqlQueue,
    kinds: JobKinds,
    estimator: Arc<DurationEstimator>,
}

impl JobViews {
    /// Views of the jobs of this queue.
    #[must_use]
    pub fn new(queue: SqlQueue, kinds: JobKinds, estimator: Arc<DurationEstimator>) -> Self {
        Self { queue, kinds, estimator }
    }

    /// The view of the job with this id; `None` if there is no such job.
    pub async fn find(&self, id: JobId) -> Result<Option<JobView>, QueueError> {
        match self.queue.get(id).await? {
            Some(job) => self.view(job).await.map(Some),
            None => Ok(None),
        }
    }

    /// The view of a job that was read just now.
    pub async fn view(&self, job: Job) -> Result<JobView, QueueError> {
        let is_queued = job.status == JobStatus::Queued;
        let position = if is_queued { self.queue.position(job.id, &self.kinds.known()).await? } else { None };
        self.load_history(&job.kind, &job.subject).await?;
        Ok(self.compute(job, position))
    }

    /// The views of several jobs that were read just now. The queue is read once for all of them.
    pub async fn views(&self, jobs: Vec<Job>) -> Result<Vec<JobView>, QueueError> {
        let waiting: HashSet<JobId> =
            jobs.iter().filter(|job| job.status == JobStatus::Queued).map(|job| job.id).collect();
        let queue = if waiting.is_empty() { Vec::new() } else { self.queue.queued(u32::MAX).await? };
        let mut positions: HashMap<JobId, QueuePosition> = self.positions(&queue, &waiting).collect();
        let view = |job: Job| {
            let position = positions.remove(&job.id);
            self.compute(job, position)
        };
        Ok(jobs.into_iter().map(view).collect())
    }

    /// The views of several jobs that were read just now, without positions and what depends on them.
    #[must_use]
    pub fn without_positions(&self, jobs: Vec<Job>) -> Vec<JobView> {
        jobs.into_iter().map(|job| self.compute(job, None)).collect()
    }

    /// The time that a new job of this account and priority would take until it finishes; `None` where nothing is known of such
    /// jobs.
    pub async fn forecast(
        &self,
        kind: &str,
        subject: &str,
        account: &str,
        priority: Priority,
    ) -> Result<Option<Estimate>, QueueError> {
        self.load_history(kind, subject).await?;
        let capabilities = self.kinds.known();
        let position = self.queue.position_of_next(account, priority, &capabilities).await?;
        Ok(self.estimator.wait_and_work(&position, kind, subject, Instant::now()))
    }

    /// The time that work of this kind and subject takes once it has started; `None` where nothing was learnt in this process.
    #[must_use]
    pub fn expected(&self, kind: &str, subject: &str) -> Option<Estimate> {
        self.estimator.expected(kind, subject)
    }

    /// The time that the work of this job takes once it has started; `None` where nothing is known of such jobs.
    pub async fn estimate(&self, job: &Job) -> Option<Estimate> {
        if let Err(error) = self.load_history(&job.kind, &job.subject).await {
            tracing::debug!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "earlier jobs could not be read");
        }
        self.expected(&job.kind, &job.subject)
    }

    /// Records how long work took that was done elsewhere.
    pub fn record(&self, kind: &str, subject: &str, took: Duration) {
        self.estimator.record(kind, subject, took, Instant::now());
    }

    /// Loads what earlier servers learnt of a subject, once.
    async fn load_history(&self, kind: &str, subject: &str) -> Result<(), QueueError> {
        if self.estimator.has_history(kind, subject) {
            return Ok(());
        }
        let limit = u32::try_from(WINDOW).unwrap_or(u32::MAX);
        let completed = self.queue.completed(kind, subject, limit).await?;
        let work = completed.iter().rev().filter_map(|job| self.kinds.find(kind)?.work_of(job));
        let durations = work.filter(|work| work.subject == subject).map(|work| work.took);
        self.estimator.load(kind, subject, durations);
        Ok(())
    }

    /// The view of a job at this position, as of now.
    pub(crate) fn compute(&self, job: Job, position: Option<QueuePosition>) -> JobView {
        // Of a stage that was reported, the row has the estimate: it is the same on every server, and does not change while the
        // stage lasts.
        let expected = || self.estimator.expected(&job.kind, &job.subject);
        let remaining = position.as_ref().and_then(|position| self.wait(position, &job));
        let work = if job.stage.is_none() { expected() } else { None };
        let stages = self.stages(&job);
        JobView::new(job, position, remaining, stages, work, self.queue.approximate_now())
    }

    /// The time until a queued job finishes; `None` for a job that no worker of this server takes.
    fn wait(&self, position: &QueuePosition, job: &Job) -> Option<Estimate> {
        if !self.kinds.known().iter().any(|capability| capability.takes(job)) {
            return None;
        }
        self.estimator.wait_and_work(position, &job.kind, &job.subject, Instant::now())
    }

    /// The queue as far as this number of jobs, in the order of work.
    pub(crate) async fn queued(&self, limit: u32) -> Result<Vec<QueuedJob>, QueueError> {
        self.queue.queued(limit).await
    }

    /// The positions of the wanted jobs in this queue, among the jobs that workers of this server take.
    pub(crate) fn positions<'q>(
        &self,
        queue: &'q [QueuedJob],
        wanted: &'q HashSet<JobId>,
    ) -> impl Iterator<Item = (JobId, QueuePosition)> + use<'q> {
        let capabilities = self.kinds.known();
        let counts = move |job: &QueuedJob| {
            capabilities.iter().any(|capability| capability.covers(&job.kind, &job.subject, &job.version))
        };
        let found = queue_position::positions(queue, counts, |id| wanted.contains(&id));
        found.map(|(job, position)| (job.id, position))
    }

    /// Counts a job as running for the estimates of other jobs, until the returned value is dropped.
    pub(crate) fn started(&self, job: &Job) -> RunningJob<'_> {
        self.estimator.started(job.id, &job.kind, &job.subject, Instant::now())
    }

    /// The stages of the job's kind.
    pub(crate) fn stages(&self, job: &Job) -> &'static [Stage] {
        self.kinds.find(&job.kind).map_or(&[], |kind| kind.stages())
    }
}
