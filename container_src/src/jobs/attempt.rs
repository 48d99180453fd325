//! One try at a job: how far it is, and whether it is to be carried on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use edgeprove_job_rules::{
    job::Job,
    lease::{LeaseTerms, LeaseToken},
};
use edgeprove_protocol::{JobId, JobStage};
use tokio::{sync::broadcast, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::watchers::JobWatchers;
use edgeprove_job_queue::queue::{Change, JobQueue, LeaseStatus};

/// One try at a job.
pub struct Attempt {
    id: JobId,
    token: LeaseToken,
    queue: Arc<dyn JobQueue>,
    hub: Arc<JobWatchers>,
    given_up: CancellationToken,
    why: Mutex<Option<GivenUp>>,
}

/// Why an attempt is not carried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// Somebody called the job off.
    CancelRequested,
    /// The lease is lost.
    Lost,
    /// The server stops.
    Stopping,
}

impl Attempt {
    /// An attempt at a job that was claimed just now.
    #[must_use]
    pub fn new(job: &Job, queue: Arc<dyn JobQueue>, hub: Arc<JobWatchers>) -> Self {
        Self {
            id: job.id,
            token: job.lease_token,
            queue,
            hub,
            given_up: CancellationToken::new(),
            why: Mutex::new(None),
        }
    }

    /// The job's name.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Says how far the work is, to watchers at once and to the queue.
    pub async fn reached(&self, stage: JobStage) {
        self.hub.progress(self.id, stage, stage.percent());
        match self.queue.progress(self.id, self.token, stage.as_str(), stage.percent()).await {
            Ok(LeaseStatus::Yes) => {}
            Ok(LeaseStatus::CancelRequested) => self.give_up(GivenUp::CancelRequested),
            Ok(LeaseStatus::No) => self.give_up(GivenUp::Lost),
            // The heartbeat decides for how long that may go on.
            Err(error) => {
                tracing::warn!(job = %self.id, error = %edgeprove_telemetry::chain(&error), "progress was not noted");
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

    /// Has it given up.
    pub fn give_up(&self, why: GivenUp) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.given_up.cancel();
    }

    /// Why it is given up, if it is.
    pub fn why_given_up(&self) -> Option<GivenUp> {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease until the attempt is over: in time, and when something is told of the job, since that may be that
    /// it was called off.
    pub async fn keep_alive(&self, terms: LeaseTerms) {
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
                Ok(LeaseStatus::Yes) => renewed = asked,
                Ok(LeaseStatus::CancelRequested) => return self.give_up(GivenUp::CancelRequested),
                Ok(LeaseStatus::No) => return self.give_up(GivenUp::Lost),
                Err(error) => {
                    tracing::warn!(job = %self.id, error = %edgeprove_telemetry::chain(&error), "the lease could not be renewed");
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
