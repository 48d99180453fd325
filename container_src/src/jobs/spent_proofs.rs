//! Returns the proofs of failed jobs to the quotas of their callers.
//!
//! A job uses up a proof of the day when it is accepted. If it fails, or is cancelled before it starts, the proof returns, as
//! it does for a request that fails. The server that accepted the job does this, whichever server runs it. What is remembered
//! is lost with the process, as the counts themselves are.

use std::collections::HashMap;

use edgeprove_job_queue::{Change, QueueError, SqlQueue};
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{JobId, JobStatus};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::access::SpentProof;

/// The most jobs that are remembered. The proofs of further ones do not return.
const JOBS_MAX: usize = 16_384;

/// The spent proofs of unfinished jobs that this server accepted.
pub struct SpentProofs {
    queue: SqlQueue,
    of: Mutex<HashMap<JobId, SpentProof>>,
}

impl SpentProofs {
    /// No jobs of this queue.
    #[must_use]
    pub fn new(queue: SqlQueue) -> Self {
        Self { queue, of: Mutex::default() }
    }

    /// Remembers the proof that was spent on an accepted job.
    pub async fn remember(&self, id: JobId, spent: SpentProof) {
        {
            let mut of = self.of.lock();
            if of.len() >= JOBS_MAX {
                return;
            }
            of.insert(id, spent);
        }
        // The job may have finished already.
        self.settle_or_warn(id).await;
    }

    /// Returns proofs until the server stops.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut changes = self.queue.subscribe();
        let running = async {
            loop {
                match changes.recv().await {
                    Ok(Change::Job(id)) => self.settle_or_warn(id).await,
                    Ok(Change::Work) => {}
                    Ok(Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        let all: Vec<_> = self.of.lock().keys().copied().collect();
                        for id in all {
                            self.settle_or_warn(id).await;
                        }
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        };
        stop.run_until_cancelled(running).await;
    }

    async fn settle_or_warn(&self, id: JobId) {
        if let Err(error) = self.settle(id).await {
            tracing::warn!(job = %id, error = %edgeprove_telemetry::chain(&error), "the quota of a job could not be settled yet");
        }
    }

    /// Returns or forgets the proof of a job that has finished.
    async fn settle(&self, id: JobId) -> Result<(), QueueError> {
        if !self.of.lock().contains_key(&id) {
            return Ok(());
        }
        let job = self.queue.get(id).await?;
        if job.as_ref().is_some_and(|job| !job.status.is_finished()) {
            return Ok(());
        }
        let spent = self.of.lock().remove(&id);
        if let Some(spent) = spent
            && job.is_some_and(|job| returns(&job))
        {
            spent.return_to_quota();
        }
        Ok(())
    }
}

/// Whether the proof of a finished job returns to the quota.
fn returns(job: &Job) -> bool {
    match job.status {
        JobStatus::Failed => true,
        JobStatus::Cancelled => job.started_at.is_none(),
        JobStatus::Queued | JobStatus::Running | JobStatus::Completed | JobStatus::Expired => false,
    }
}
