//! What happens to jobs, as the audit log and the metrics tell it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use edgeprove_job_rules::{
    audit::{Action, Actor, Entry, Outcome},
    job::Job,
};
use edgeprove_protocol::{JobStatus, ProblemType};

use crate::access;
use edgeprove_audit::{Audit, AuditError};
use edgeprove_job_queue::upkeep::Kept;
use edgeprove_telemetry::metrics::jobs::{self as metrics, JobEnd};

/// Who is told of it. Clones share the log.
#[derive(Debug, Clone)]
pub struct JobRecorder {
    audit: Audit,
    work: Arc<Work>,
}

/// What this server does for jobs.
#[derive(Debug, Default)]
struct Work(Mutex<Doings>);

#[derive(Debug, Default)]
struct Doings {
    /// Jobs that it works on.
    running: usize,
    /// When it last let go of one.
    rested_at: Option<Instant>,
}

impl Work {
    fn doings(&self) -> MutexGuard<'_, Doings> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that is worked on.
#[derive(Debug)]
pub struct AtWork(Arc<Work>);

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut doings = self.0.doings();
        doings.running -= 1;
        doings.rested_at = Some(Instant::now());
    }
}

impl JobRecorder {
    /// One that writes into this log.
    #[must_use]
    pub fn new(audit: Audit) -> Self {
        Self { audit, work: Arc::default() }
    }

    /// Whether anything can be put on record, as far as is known. What cannot be is not begun.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.audit.ready()
    }

    /// How many jobs this server works on.
    #[must_use]
    pub fn running(&self) -> usize {
        self.work.doings().running
    }

    /// How long ago this server let go of a job; `None` if it never did.
    #[must_use]
    pub fn rested_for(&self) -> Option<Duration> {
        self.work.doings().rested_at.map(|at| at.elapsed())
    }

    /// A worker works on a job until the guard is dropped.
    #[must_use]
    pub fn at_work(&self) -> AtWork {
        self.work.doings().running += 1;
        AtWork(Arc::clone(&self.work))
    }

    fn entry(&self, job: &Job, action: Action) -> Entry {
        Entry {
            job_id: Some(job.id),
            circuit: job.subject.parse().ok(),
            ..self.audit.entry(access::actor(&job.owner), action)
        }
    }

    fn of_attempt(&self, job: &Job, action: Action) -> Entry {
        Entry { attempt: Some(job.attempts), lease_token: Some(job.lease_token), ..self.entry(job, action) }
    }

    /// It was taken in.
    pub async fn submitted(
        &self,
        job: &Job,
        kind: &'static str,
        request_id: String,
    ) -> Result<(), AuditError> {
        metrics::submitted(kind, job.priority);
        self.audit
            .record(Entry { request_id: Some(request_id), ..self.entry(job, Action::JobSubmitted) })
            .await
    }

    /// A worker has it. The work begins when this is kept.
    pub async fn started(&self, job: &Job) -> Result<(), AuditError> {
        if let Some(started_at) = job.started_at {
            let waited = u64::try_from(started_at.0.saturating_sub(job.run_at.0)).unwrap_or(0);
            metrics::started(job.priority, Duration::from_millis(waited));
        }
        self.audit.record(self.of_attempt(job, Action::JobStarted)).await
    }

    /// Its worker let it go. `problem` is what went wrong, if anything did.
    pub async fn let_go(
        &self,
        job: &Job,
        kind: &'static str,
        status: JobStatus,
        problem: Option<ProblemType>,
        ran: Duration,
    ) {
        let problem_or_unknown = problem.unwrap_or(ProblemType::Internal);
        let (action, outcome) = match status {
            JobStatus::Completed => {
                metrics::ended(kind, JobEnd::Completed, Some(ran));
                (Action::JobCompleted, Outcome::Ok)
            }
            JobStatus::Cancelled => {
                metrics::ended(kind, JobEnd::Cancelled, Some(ran));
                (Action::JobCancelled, Outcome::Ok)
            }
            JobStatus::Failed => {
                metrics::ended(kind, JobEnd::Failed(problem_or_unknown), Some(ran));
                (Action::JobFailed, Outcome::Failed(problem_or_unknown))
            }
            // Back in the queue: to be tried again, or because the server stops.
            JobStatus::Queued => {
                if let Some(problem) = problem {
                    metrics::retried(kind, problem);
                }
                (Action::JobRetried, problem.map_or(Outcome::Abandoned, Outcome::Failed))
            }
            // What a worker lets go is neither of these.
            JobStatus::Running | JobStatus::Expired => return,
        };
        // That it cannot be kept is logged; the proof is not handed out without a record of its own.
        let _ = self.audit.record(Entry { outcome: Some(outcome), ..self.of_attempt(job, action) }).await;
    }

    /// Somebody called it off before a worker had it.
    pub async fn cancel_requested(&self, job: &Job, kind: &'static str, by: Actor) {
        metrics::ended(kind, JobEnd::Cancelled, None);
        let entry = self.entry(job, Action::JobCancelled);
        // That it cannot be kept is logged.
        let _ = self.audit.record(Entry { actor: by, outcome: Some(Outcome::Ok), ..entry }).await;
    }

    /// Its proof is about to be handed out.
    pub async fn fetched(&self, job: &Job, by: Actor, request_id: String) -> Result<(), AuditError> {
        let entry = self.entry(job, Action::JobFetched);
        self.audit.record(Entry { actor: by, request_id: Some(request_id), ..entry }).await
    }

    /// What was done to jobs by whoever keeps house.
    pub fn kept(&self, kept: Kept) {
        match kept {
            Kept::LeasesLost(jobs) => {
                for job in jobs {
                    metrics::lease_lost(&job.kind);
                    let problem = ProblemType::WorkerLost;
                    let action = match job.status {
                        JobStatus::Cancelled => {
                            metrics::ended(&job.kind, JobEnd::Cancelled, None);
                            Action::JobCancelled
                        }
                        JobStatus::Failed => {
                            metrics::ended(&job.kind, JobEnd::Failed(problem), None);
                            Action::JobFailed
                        }
                        _ => {
                            metrics::retried(&job.kind, problem);
                            Action::JobRetried
                        }
                    };
                    let outcome = Some(Outcome::Failed(problem));
                    self.audit.note(Entry { outcome, actor: Actor::Server, ..self.of_attempt(&job, action) });
                }
            }
            Kept::Expired(ids) => {
                for id in ids {
                    let entry = self.audit.entry(Actor::Server, Action::JobExpired);
                    self.audit.note(Entry { job_id: Some(id), ..entry });
                }
            }
        }
    }
}
