//! How many provers the queue needs, measured from time to time.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use edgeprove_job_queue::{QueueError, SqlQueue, job_counts::JobCounter};
use edgeprove_job_rules::scale::{self, Demand, ScaleBounds};
use edgeprove_telemetry::metrics::jobs as metrics;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::job_kinds::proof_payload::KIND;

/// The most provers that may be asked for.
pub const PROVERS_MAX: u32 = 1_000_000;
/// The times in which a queue may be to be empty.
pub const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// How often it is measured for the metrics.
const EVERY: Duration = Duration::from_secs(5);
/// The jobs from which the time of a job is taken.
const WINDOW: u32 = 200;

/// Measures the demand for provers.
#[derive(Debug)]
pub struct ScaleMeter {
    queue: SqlQueue,
    bounds: ScaleBounds,
    /// The last time of a job.
    p95: Mutex<Option<Duration>>,
}

impl ScaleMeter {
    /// Measures this queue; the bounds are those of requests that name none.
    #[must_use]
    pub fn new(queue: SqlQueue, bounds: ScaleBounds) -> Self {
        Self { queue, bounds, p95: Mutex::new(None) }
    }

    /// The bounds of requests that name none.
    #[must_use]
    pub fn bounds(&self) -> ScaleBounds {
        self.bounds
    }

    /// Measures the demand now. Where no job has completed for a while, the last known time of one counts.
    pub async fn demand(&self, counter: &JobCounter) -> Result<Demand, QueueError> {
        let counts = counter.count().await?;
        let (running, busy) = self.queue.busy(KIND).await?;
        let measured = scale::p95(self.queue.run_times(KIND, WINDOW).await?);
        let p95 = {
            let mut last = self.p95.lock();
            *last = measured.or(*last);
            *last
        };
        Ok(Demand { queued: counts.queued_of(KIND).iter().sum(), running, busy, p95 })
    }

    /// Measures for the metrics until the server stops.
    pub async fn run(&self, counter: &Arc<JobCounter>, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.demand(counter).await {
                Ok(demand) => {
                    let desired = scale::desired(demand, self.bounds).into();
                    metrics::scale(desired, demand.busy, demand.p95.unwrap_or_default());
                }
                Err(error) => {
                    tracing::debug!(error = %edgeprove_telemetry::chain(&error), "the demand for provers is not known");
                }
            }
            let _ = tokio::time::timeout(EVERY, stop.cancelled()).await;
        }
    }
}
