//! Workers: each claims the job whose turn it is, keeps its lease alive and ends it.
//!
//! The lease is renewed beside the work and not by it, also while the server drains: a worker that is busy or slow is not
//! taken for dead. A worker that could not renew for as long as the lease lasts gives the work up, because somebody else
//! may have it by then.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use edgeprove_pipeline::{
    job::Job,
    lease::{LeaseTerms, LeaseToken},
};
use edgeprove_protocol::{JobId, JobStage, JobStatus, Problem, ProblemType};
use futures_util::FutureExt as _;
use tokio::{sync::broadcast, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    hub::Hub,
    kinds::{self, Kind},
    queue::{Change, Ending, Held, JobQueue, QueueError},
    record::Recorder,
};
use crate::{supervisor::Supervisor, telemetry};

/// How long an idle worker sleeps at most: a wake-up may be lost on its way.
const FALLBACK: Duration = Duration::from_secs(1);
/// How long a worker waits after the database could not be asked.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);

/// What the workers work with.
pub struct Runner {
    /// Where jobs come from.
    pub queue: Arc<dyn JobQueue>,
    /// Who is told how far they are.
    pub hub: Arc<Hub>,
    /// Who is told what happens to them.
    pub recorder: Recorder,
    /// What can be done.
    pub kinds: Vec<Arc<dyn Kind>>,
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

/// One try at a job.
pub struct Attempt {
    id: JobId,
    token: LeaseToken,
    queue: Arc<dyn JobQueue>,
    hub: Arc<Hub>,
    given_up: CancellationToken,
    why: Mutex<Option<GivenUp>>,
}

/// Why an attempt is not carried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivenUp {
    /// Somebody called the job off.
    CalledOff,
    /// The lease is lost.
    Lost,
    /// The server stops.
    Stopping,
}

impl Attempt {
    /// The job's name.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Says how far the work is, to watchers at once and to the queue.
    pub async fn reached(&self, stage: JobStage) {
        self.hub.progress(self.id, stage, stage.percent());
        match self.queue.progress(self.id, self.token, stage.as_str(), stage.percent()).await {
            Ok(Held::Yes) => {}
            Ok(Held::CalledOff) => self.give_up(GivenUp::CalledOff),
            Ok(Held::No) => self.give_up(GivenUp::Lost),
            // The heartbeat decides for how long that may go on.
            Err(error) => {
                tracing::warn!(job = %self.id, error = %telemetry::chain(&error), "progress was not noted");
            }
        }
    }

    /// Says how far the work is within a stage: to watchers of this server alone, since others can do without.
    pub fn within(&self, stage: JobStage, percent: u8) {
        self.hub.progress(self.id, stage, percent);
    }

    /// Ends when the work is not to be carried on.
    pub async fn is_given_up(&self) {
        self.given_up.cancelled().await;
    }

    fn give_up(&self, why: GivenUp) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.given_up.cancel();
    }

    fn why_given_up(&self) -> Option<GivenUp> {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease until the attempt is over: in time, and when something is told of the job, since that may be that
    /// it was called off.
    async fn keep_alive(&self, terms: LeaseTerms) {
        let mut changes = self.queue.changes();
        let mut beats = tokio::time::interval(terms.heartbeat_every());
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.tick().await;
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                _ = beats.tick() => {}
                () = concerns(&mut changes, self.id) => {}
            }
            let asked = Instant::now();
            match self.queue.heartbeat(self.id, self.token).await {
                Ok(Held::Yes) => renewed = asked,
                Ok(Held::CalledOff) => return self.give_up(GivenUp::CalledOff),
                Ok(Held::No) => return self.give_up(GivenUp::Lost),
                Err(error) => {
                    tracing::warn!(job = %self.id, error = %telemetry::chain(&error), "the lease could not be renewed");
                }
            }
            if renewed.elapsed() >= terms.length {
                return self.give_up(GivenUp::Lost);
            }
        }
    }
}

/// Ends when something is told of a job, or may have been missed.
async fn concerns(changes: &mut broadcast::Receiver<Change>, id: JobId) {
    loop {
        match changes.recv().await {
            Ok(Change::Job(other)) if other != id => {}
            Ok(Change::Work) => {}
            Ok(Change::Job(_) | Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            // Nobody tells any more.
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
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
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        let mut changes = self.queue.changes();
        while !self.quiet.is_cancelled() {
            match self.queue.claim(&self.holder, &names).await {
                Ok(Some(job)) => {
                    let (_awaited, _counted) = (self.at_work.token(), self.recorder.at_work());
                    self.attempt(job, stop).await;
                }
                Ok(None) => self.rest(&mut changes).await,
                Err(error) => {
                    tracing::warn!(error = %telemetry::chain(&error), "no job could be claimed");
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
        let attempt = Arc::new(Attempt {
            id: job.id,
            token: job.lease_token,
            queue: Arc::clone(&self.queue),
            hub: Arc::clone(&self.hub),
            given_up: CancellationToken::new(),
            why: Mutex::new(None),
        });
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
            tracing::warn!(job = %job.id, error = %telemetry::chain(&error), "a job cannot be put on record, and is not begun");
            self.end(&job, Ending::HandedBack, stop).await;
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
            (None, Some(GivenUp::CalledOff | GivenUp::Stopping)) => Ending::HandedBack,
            (None, Some(GivenUp::Lost)) => {
                tracing::warn!(job = %job.id, "the lease was lost; what was done is thrown away");
                return;
            }
            (None, None) => {
                tracing::error!(job = %job.id, kind = job.kind, "a job panicked");
                Ending::Retry { outcome: kinds_panic() }
            }
        };
        let problem = problem(&ending);
        let status = self.end(&job, ending, stop).await;
        let (ran, code) = (began.elapsed(), problem.map(ProblemType::code));
        match status {
            Some(status) => {
                let took_ms = telemetry::millis(ran);
                tracing::info!(job = %job.id, kind = job.kind, attempt = job.attempts, %status, code, took_ms, "job let go");
                self.recorder.let_go(&job, kind.name(), status, problem, ran).await;
            }
            None => {
                tracing::warn!(job = %job.id, "the lease was lost at the end; what was done is thrown away");
            }
        }
    }

    /// Tells the queue, for as long as the lease may still be ours: what was made is worth some patience.
    async fn end(&self, job: &Job, ending: Ending, stop: &CancellationToken) -> Option<JobStatus> {
        let give_up = Instant::now() + self.lease.length;
        loop {
            let error: QueueError = match self.queue.end(job.id, job.lease_token, ending.clone()).await {
                Ok(status) => return status,
                Err(error) => error,
            };
            tracing::warn!(job = %job.id, error = %telemetry::chain(&error), "the end of a job could not be noted");
            if Instant::now() >= give_up || stop.is_cancelled() {
                return None;
            }
            tokio::time::sleep(DATABASE_PAUSE).await;
        }
    }
}

fn problem(ending: &Ending) -> Option<ProblemType> {
    match ending {
        Ending::Failed { outcome } | Ending::Retry { outcome } => {
            kinds::problem(outcome).map(|problem| problem.code)
        }
        Ending::Completed { .. } | Ending::HandedBack => None,
    }
}

fn kinds_panic() -> String {
    kinds::failure(&Problem::new(ProblemType::Internal, "the server failed at this job", None))
}
