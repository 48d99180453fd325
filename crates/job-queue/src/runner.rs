//! Workers: each claims the next job, runs it by its kind while a separate task renews the lease, and ends it.
//!
//! The lease is also renewed while the server drains, so that a busy or slow worker does not look dead. A worker that could
//! not renew for the length of the lease stops its attempt, because another worker may have the job by then.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use edgeprove_job_rules::{job::Job, lease::LeaseTerms};
use edgeprove_protocol::JobStatus;
use edgeprove_telemetry::supervisor::Supervisor;
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::{
    activity::Activity,
    attempt::{Attempt, Renewal},
    crash_quarantine::CrashQuarantine,
    events::{AttemptEnd, JobEvents},
    kind::{JobKind, JobKinds},
    lease::QueueLease,
    queue_types::{Change, JobOutcome, QueueError},
    sql_queue::SqlQueue,
    unclaimable_warning::warn_unclaimable_jobs,
    watchers::JobWatchers,
};

/// The longest pause of an idle worker. A notification may be lost.
const FALLBACK: Duration = Duration::from_secs(1);
/// The pause after the database failed.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);

/// The settings of a server's workers.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The name of this process in leases; new with each start.
    pub holder: String,
    /// The length of leases.
    pub lease: LeaseTerms,
    /// The number of workers, which is the number of jobs that run at the same time.
    pub workers: NonZeroUsize,
}

/// How the workers stop when the server drains.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Cancelled when no further job may be claimed.
    pub no_more_jobs: CancellationToken,
    /// Holds a token for each running job. The shutdown waits for them.
    pub running: TaskTracker,
}

/// The workers of a server.
pub struct Runner {
    queue: SqlQueue,
    kinds: JobKinds,
    watchers: Arc<JobWatchers>,
    events: Arc<dyn JobEvents>,
    quarantine: CrashQuarantine,
    activity: Activity,
    settings: WorkerSettings,
}

/// Running workers.
struct Workers {
    runner: Runner,
    drain: Drain,
    supervisor: Supervisor,
}

impl Runner {
    /// Workers that run jobs of these kinds.
    #[must_use]
    pub fn new(
        queue: SqlQueue,
        kinds: JobKinds,
        watchers: Arc<JobWatchers>,
        events: Arc<dyn JobEvents>,
        settings: WorkerSettings,
    ) -> Self {
        let (quarantine, activity) = (CrashQuarantine::default(), Activity::default());
        Self { queue, kinds, watchers, events, quarantine, activity, settings }
    }

    /// With jobs in quarantine after a crash.
    #[must_use]
    pub fn with_quarantine(self, quarantine: CrashQuarantine) -> Self {
        Self { quarantine, ..self }
    }

    /// With a count of running jobs that others read.
    #[must_use]
    pub fn with_activity(self, activity: Activity) -> Self {
        Self { activity, ..self }
    }

    /// Starts the workers on the supervisor. They claim jobs until the drain begins, and are cut off when the supervisor
    /// stops.
    pub fn start(self, drain: Drain, supervisor: &Supervisor) {
        let count = self.settings.workers.get();
        let (stop, no_more_jobs) = (supervisor.stop_token().clone(), drain.no_more_jobs.clone());
        supervisor.spawn("stop claiming jobs", async move {
            stop.cancelled().await;
            no_more_jobs.cancel();
        });
        let workers = Arc::new(Workers { runner: self, drain, supervisor: supervisor.clone() });
        let (checked, stop) = (Arc::clone(&workers), supervisor.stop_token().clone());
        supervisor.spawn("check queued jobs", async move {
            let Runner { queue, kinds, .. } = &checked.runner;
            let capabilities = kinds.capabilities();
            let check = warn_unclaimable_jobs(queue, &capabilities);
            if let Some(Err(error)) = stop.run_until_cancelled(check).await {
                tracing::warn!(error = %edgeprove_telemetry::chain(&error), "the queue could not be read");
            }
        });
        for _ in 0..count {
            let workers = Arc::clone(&workers);
            supervisor.spawn("job worker", async move { workers.work().await });
        }
    }
}

impl Workers {
    /// Claims and runs jobs until the drain begins.
    async fn work(&self) {
        let Runner { queue, kinds, quarantine, activity, settings, .. } = &self.runner;
        let drain = &self.drain.no_more_jobs;
        let mut changes = queue.subscribe();
        while !drain.is_cancelled() {
            let capabilities = kinds.capabilities();
            let turn = tokio::select! {
                turn = quarantine.turn(queue, &capabilities) => turn,
                () = drain.cancelled() => return,
            };
            match queue.claim(&settings.holder, &capabilities).await {
                Ok(Some(job)) => {
                    let (_drain, _running) = (self.drain.running.token(), activity.start(&job.kind));
                    let id = job.id;
                    self.attempt(job).await;
                    quarantine.clear(id);
                }
                Ok(None) => {
                    drop(turn);
                    self.wait_for_work(&mut changes).await;
                }
                Err(error) => {
                    tracing::warn!(error = %edgeprove_telemetry::chain(&error), "claiming a job failed");
                    drain.run_until_cancelled(tokio::time::sleep(DATABASE_PAUSE)).await;
                }
            }
        }
    }

    /// Waits until there may be a job to claim.
    async fn wait_for_work(&self, changes: &mut broadcast::Receiver<Change>) {
        let pause = match self.runner.queue.next_due().await {
            Ok(due) => due.unwrap_or(FALLBACK).min(FALLBACK),
            Err(_) => DATABASE_PAUSE,
        };
        let woken = async {
            // Missed changes may include new work.
            while !matches!(changes.recv().await, Ok(Change::Work | Change::Unknown) | Err(_)) {}
        };
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep(pause) => {}
            () = self.drain.no_more_jobs.cancelled() => {}
        }
    }

    /// Runs one attempt at a job, from its record to its end.
    async fn attempt(&self, job: Job) {
        let Some(kind) = self.runner.kinds.find(&job.kind) else {
            // Jobs are claimed by the names of the kinds, so that this cannot happen. The lease expires.
            tracing::error!(job = %job.id, kind = job.kind, "a job of an unknown kind was claimed");
            return;
        };
        let span = kind.span(&job);
        self.attempt_by(kind.as_ref(), job).instrument(span).await;
    }

    async fn attempt_by(&self, kind: &dyn JobKind, job: Job) {
        let Runner { queue, watchers, events, settings, .. } = &self.runner;
        let notified = Arc::clone(watchers);
        let (id, token) = (job.id, job.lease_token);
        let on_stage = move |stage| notified.stage_reported(id, token, stage);
        let estimate = watchers.views().estimate(&job).await;
        let clock = queue.clone();
        let now = Box::new(move || clock.approximate_now());
        let attempt = Arc::new(Attempt::new(id, estimate, now, Box::new(on_stage)));
        // The task is separate because the job may keep its thread busy.
        let lease = QueueLease { queue: queue.clone(), id, token };
        let LeaseTerms { length: give_up_after } = settings.lease;
        let renewal = Renewal { every: settings.lease.heartbeat_every(), give_up_after };
        let (renewed, ended) = (Arc::clone(&attempt), CancellationToken::new());
        let _ended = ended.clone().drop_guard();
        self.supervisor.spawn("renew a lease", async move {
            ended.run_until_cancelled(renewed.keep_lease(&lease, renewal)).await;
        });
        if let Err(error) = events.started(&job).await {
            tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "job released: its start could not be recorded");
            self.end(&job, &JobOutcome::Released).await;
            return tokio::time::sleep(DATABASE_PAUSE).await;
        }
        tracing::info!(job = %job.id, kind = job.kind, subject = job.subject, attempt = job.attempts, "job started");
        let (started, _running) = (Instant::now(), watchers.views().started(&job));
        let stop = self.supervisor.stop_token();
        let Some(outcome) = attempt.run(kind.run(&job, &attempt), stop).await else {
            tracing::warn!(job = %job.id, "the lease was lost; the result is discarded");
            return;
        };
        let _finishing = events.finishing(&job);
        let Some(status) = self.end(&job, &outcome).await else {
            tracing::warn!(job = %job.id, "the lease was lost at the end; the result is discarded");
            return;
        };
        let ran = started.elapsed();
        let code = outcome.problem().map(|problem| problem.code.as_str());
        let took_ms = edgeprove_telemetry::millis(ran);
        let message = if status.is_finished() { "job finished" } else { "job queued again" };
        tracing::info!(job = %job.id, kind = job.kind, attempt = job.attempts, %status, code, took_ms, "{message}");
        events.ended(&job, AttemptEnd { status, problem: outcome.problem(), ran }).await;
    }

    /// Writes the outcome, and tries again for as long as the lease may last; `None` if the lease is lost.
    async fn end(&self, job: &Job, outcome: &JobOutcome) -> Option<JobStatus> {
        let lease_ends = Instant::now() + self.runner.settings.lease.length;
        loop {
            let error: QueueError = match self.runner.queue.finish(job.id, job.lease_token, outcome).await {
                Ok(status) => return status,
                Err(error) => error,
            };
            tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "the outcome of a job could not be written");
            if Instant::now() >= lease_ends || self.supervisor.stop_token().is_cancelled() {
                return None;
            }
            tokio::time::sleep(DATABASE_PAUSE).await;
        }
    }
}
