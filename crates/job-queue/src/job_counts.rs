//! How full the queue is, looked at no more often than anybody needs to know.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use edgeprove_protocol::{JobStatus, Priority};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::queue::{JobCounts, JobQueue, QueueError};

/// How often the queue is counted while something happens.
const PAUSE: Duration = Duration::from_millis(500);
/// And while nothing is heard of: other servers may share the queue.
const FALLBACK: Duration = Duration::from_secs(5);

/// The last count.
#[derive(Debug, Default)]
pub struct Depth(Mutex<Arc<JobCounts>>);

impl Depth {
    /// The last count. Nothing, before the first.
    #[must_use]
    pub fn latest(&self) -> Arc<JobCounts> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts now.
    pub async fn count(&self, queue: &dyn JobQueue) -> Result<Arc<JobCounts>, QueueError> {
        let census = Arc::new(queue.census().await?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&census);
        Ok(census)
    }

    /// Counts whenever something happened, until the server stops.
    pub async fn follow(&self, queue: &dyn JobQueue, stop: &CancellationToken) {
        let mut changes = queue.changes();
        loop {
            if let Err(error) = self.count(queue).await {
                tracing::debug!(error = %edgeprove_telemetry::chain(&error), "jobs cannot be counted");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(FALLBACK) => {}
                change = changes.recv() => if change == Err(broadcast::error::RecvError::Closed) { return },
            }
            // All that happened since is in the next count.
            while !matches!(
                changes.try_recv(),
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed)
            ) {}
        }
    }
}

impl JobCounts {
    /// Queued jobs, by [`Priority::level`].
    #[must_use]
    pub fn queued(&self) -> [u64; Priority::ALL.len()] {
        let mut queued = [0; Priority::ALL.len()];
        for &(status, priority, jobs) in &self.jobs {
            if status == JobStatus::Queued
                && let Some(at) = Priority::ALL.iter().position(|&other| other == priority)
            {
                queued[at] += jobs;
            }
        }
        queued
    }

    /// Jobs of a status.
    #[must_use]
    pub fn of(&self, status: JobStatus) -> u64 {
        self.jobs.iter().filter(|(other, ..)| *other == status).map(|(_, _, jobs)| jobs).sum()
    }
}
