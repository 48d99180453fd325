//! How full the queue is. The count is repeated while jobs change, but at a limited rate.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    queue_types::{JobCounts, QueueError},
    sql_queue::SqlQueue,
};

/// The pause between two counts while jobs change.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause while no change is reported. Other servers may share the queue, and a notification may be lost.
const FALLBACK: Duration = Duration::from_secs(5);

/// Counts the jobs of a queue and holds the last count.
#[derive(Debug)]
pub struct JobCounter {
    queue: SqlQueue,
    latest: Mutex<Arc<JobCounts>>,
}

impl JobCounter {
    /// A counter of this queue, with an empty count.
    #[must_use]
    pub fn new(queue: SqlQueue) -> Self {
        Self { queue, latest: Mutex::default() }
    }

    /// The last count; empty before the first.
    #[must_use]
    pub fn latest(&self) -> Arc<JobCounts> {
        Arc::clone(&self.latest.lock())
    }

    /// Counts now.
    pub async fn count(&self) -> Result<Arc<JobCounts>, QueueError> {
        let counts = Arc::new(self.queue.count().await?);
        *self.latest.lock() = Arc::clone(&counts);
        Ok(counts)
    }

    /// Counts after each change until the server stops.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut changes = self.queue.subscribe();
        loop {
            if let Err(error) = self.count().await {
                tracing::debug!(error = %edgeprove_telemetry::chain(&error), "counting jobs failed");
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
            // The next count includes all changes until now.
            while !matches!(
                changes.try_recv(),
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed)
            ) {}
        }
    }
}
