//! Workers: each claims the job whose turn it is, keeps its lease alive and ends it.
//!
//! The lease is renewed beside the work and not by it, also while the server drains: a worker that is busy or slow is not
//! taken for dead. A worker that could not renew for as long as the lease lasts gives the work up, because somebody else
//! may have it by then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use edgeprove_job_rules::{job::Job, lease::LeaseTerms};
use edgeprove_protocol::{JobStatus, Problem, ProblemType};
use futures_util::FutureExt as _;
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    attempt::{Attempt, GivenUp},
    kinds::{JobKind, proof},
    record::JobRecorder,
    watchers::JobWatchers,
};
use edgeprove_job_queue::{
    crash_quarantine::CrashQuarantine,
    queue::{Change, JobOutcome, JobQueue, QueueError},
};
use edgeprove_telemetry::supervisor::Supervisor;

/// How long an idle worker sleeps at most: a wake-up may be lost on its way.
const FALLBACK: Duration = Duration::from_secs(1);
/// How long a worker waits after the database could not be asked.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);

/// What the workers work with.
pub struct Runner {
    /// Where jobs come from.
    pub queue: Arc<dyn JobQueue>,
    /// Who is told how far they are.
    pub hub: Arc<JobWatchers>,
    /// Who is told what happens to them.
    pub recorder: JobRecorder,
    /// Which jobs are to be worked on alone.
    pub suspects: CrashQuarantine,
    /// What can be done.
    pub kinds: Vec<Arc<dyn JobKind>>,
    /// What this process is called in leases; new with each start.
    pub holder: String,
    /// How long leases are.
    pub lease: LeaseTerms,
    /// Nothing more is claimed once this is cancelled.
    pub quiet: CancellationToken,
    /// The shutdown waits for what is in here.
    pub at_work: TaskTracker,
    /// Who owns the workers.
    pub supervisor: Supervisor,
}

impl Runner {
    /// Starts so many workers on the supervisor.
    pub fn start(self, workers: usize) {
        let runner = Arc::new(self);
        for _ in 0..workers {
            let runner = Arc::clone(&runner);
            let supervisor = runner.supervisor.clone();
            supervisor.spawn("job worker", async move {
                let stop = runner.supervisor.stop_token();
                runner.work(stop).await;
            });
        }
    }

    async fn work(&self, stop: &CancellationToken) {
        let mut changes = self.queue.changes();
        while !self.quiet.is_cancelled() {
            let capabilities: Vec<_> = self.kinds.iter().map(|kind| kind.capability()).collect();
            let turn = tokio::select! {
                turn = self.suspects.turn(self.queue.as_ref(), &capabilities) => turn,
                () = self.quiet.cancelled() => return,
            };
            match self.queue.claim(&self.holder, &capabilities).await {
                Ok(Some(job)) => {
                    let (_awaited, _counted) = (self.at_work.token(), self.recorder.at_work());
                    let id = job.id;
                    self.attempt(job, stop).await;
                    self.suspects.clear(id);
                }
                Ok(None) => {
                    drop(turn);
                    self.rest(&mut changes).await;
                }
                Err(error) => {
                    tracing::warn!(error = %edgeprove_telemetry::chain(&error), "no job could be claimed");
                    tokio::select! {
                        () = tokio::time::sleep(DATABASE_PAUSE) => {}
                        () = self.quiet.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Waits until there may be something to do.
    async fn rest(&self, changes: &mut broadcast::Receiver<Change>) {
        let due = match self.queue.next_due().await {
            Ok(due) => due.unwrap_or(FALLBACK).min(FALLBACK),
            Err(_) => DATABASE_PAUSE,
        };
        let woken = async {
            // What was missed may have been a wake-up as well.
            while !matches!(changes.recv().await, Ok(Change::Work | Change::Unknown) | Err(_)) {}
        };
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep(due) => {}
            () = self.quiet.cancelled() => {}
        }
    }

    async fn attempt(&self, job: Job, stop: &CancellationToken) {
        let attempt = Arc::new(Attempt::new(&job, Arc::clone(&self.queue), Arc::clone(&self.hub)));
        let Some(kind) = self.kinds.iter().find(|kind| kind.name() == job.kind) else {
            // It was claimed by the kinds' names.
            return;
        };
        // Beside the work, which may keep its thread busy.
        let (alive, terms, over) = (Arc::clone(&attempt), self.lease, CancellationToken::new());
        let _over = over.clone().drop_guard();
        self.supervisor.spawn("keep a lease", async move {
            over.run_until_cancelled(alive.keep_alive(terms)).await;
        });
        if let Err(error) = self.recorder.started(&job).await {
            tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "a job cannot be put on record, and is not begun");
            self.end(&job, JobOutcome::Released, stop).await;
            return tokio::time::sleep(DATABASE_PAUSE).await;
        }
        tracing::info!(job = %job.id, kind = job.kind, subject = job.subject, attempt = job.attempts, "job begun");
        let began = Instant::now();
        let ending = {
            let working = std::panic::AssertUnwindSafe(kind.run(&job, &attempt)).catch_unwind();
            tokio::select! {
                ending = working => ending.ok(),
                () = attempt.is_given_up() => None,
                () = stop.cancelled() => {
                    attempt.give_up(GivenUp::Stopping);
                    None
                }
            }
        };
        let ending = match (ending, attempt.why_given_up()) {
            (Some(ending), _) => ending,
            (None, Some(GivenUp::CancelRequested | GivenUp::Stopping)) => JobOutcome::Released,
            (None, Some(GivenUp::Lost)) => {
                tracing::warn!(job = %job.id, "the lease was lost; what was done is thrown away");
                return;
            }
            (None, None) => {
                tracing::error!(job = %job.id, kind = job.kind, "a job panicked");
                JobOutcome::Retry { outcome: kinds_panic() }
            }
        };
        let problem = problem(&ending);
        let status = self.end(&job, ending, stop).await;
        let (ran, code) = (began.elapsed(), problem.map(ProblemType::code));
        match status {
            Some(status) => {
                let took_ms = edgeprove_telemetry::millis(ran);
                tracing::info!(job = %job.id, kind = job.kind, attempt = job.attempts, %status, code, took_ms, "job let go");
                self.recorder.let_go(&job, kind.name(), status, problem, ran).await;
            }
            None => {
                tracing::warn!(job = %job.id, "the lease was lost at the end; what was done is thrown away");
            }
        }
    }

    /// Tells the queue, for as long as the lease may still be ours: what was made is worth some patience.
    async fn end(&self, job: &Job, ending: JobOutcome, stop: &CancellationToken) -> Option<JobStatus> {
        let give_up = Instant::now() + self.lease.length;
        loop {
            let error: QueueError = match self.queue.end(job.id, job.lease_token, ending.clone()).await {
                Ok(status) => return status,
                Err(error) => error,
            };
            tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "the end of a job could not be noted");
            if Instant::now() >= give_up || stop.is_cancelled() {
                return None;
            }
            tokio::time::sleep(DATABASE_PAUSE).await;
        }
    }
}

fn problem(ending: &JobOutcome) -> Option<ProblemType> {
    match ending {
        JobOutcome::Failed { outcome } | JobOutcome::Retry { outcome } => {
            proof::problem(outcome).and_then(|problem| problem.code.known())
        }
        JobOutcome::Completed { .. } | JobOutcome::Released => None,
    }
}

fn kinds_panic() -> String {
    proof::failure(&Problem::new(ProblemType::Internal, "the server failed at this job", None))
}
