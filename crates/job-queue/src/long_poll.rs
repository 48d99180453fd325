//! Claims of provers elsewhere, which wait until there is a job.
//!
//! Those that take the same jobs wait in one line, and only the first of a line asks the queue. So a new job costs one claim for
//! each sort of provers, and not one for each prover that waits.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use edgeprove_job_rules::{
    capability::{self, Capability},
    job::Job,
};
use parking_lot::Mutex;
use tokio::{
    sync::{self, broadcast},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    queue_types::{Change, QueueError},
    sql_queue::SqlQueue,
};

/// The longest pause between two claims of the first in a line. A notification may be lost.
const FALLBACK: Duration = Duration::from_secs(1);
/// The shortest pause, for a job that is due at once and that this prover does not take.
const SHORTEST: Duration = Duration::from_millis(10);

/// Claims that wait.
#[derive(Debug)]
pub struct LongPolls {
    queue: SqlQueue,
    /// The turn of each line, by the capabilities of those who wait in it.
    lines: Mutex<HashMap<String, Weak<sync::Mutex<()>>>>,
}

/// A claim that may wait.
#[derive(Debug, Clone, Copy)]
pub struct WaitingClaim<'a> {
    /// Who claims.
    pub holder: &'a str,
    /// What is claimed.
    pub capabilities: &'a [Capability],
    /// The most jobs.
    pub max: u32,
    /// Until when the claim waits.
    pub until: Instant,
}

impl LongPolls {
    /// Claims of this queue.
    #[must_use]
    pub fn new(queue: SqlQueue) -> Self {
        Self { queue, lines: Mutex::default() }
    }

    /// Claims jobs as soon as there is at least one; none if there is none in time, or when `stop` is cancelled. Where the future
    /// is dropped, jobs that it has claimed have leases that expire.
    pub async fn claim(
        &self,
        claim: WaitingClaim<'_>,
        stop: &CancellationToken,
    ) -> Result<Vec<Job>, QueueError> {
        let line = self.line(claim.capabilities);
        let turn = tokio::select! {
            turn = tokio::time::timeout_at(claim.until, line.lock()) => turn,
            () = stop.cancelled() => return Ok(Vec::new()),
        };
        // Another one was the first of the line until now.
        let Ok(_turn) = turn else { return Ok(Vec::new()) };
        let mut changes = self.queue.subscribe();
        loop {
            let jobs = self.claim_now(claim).await?;
            if !jobs.is_empty() || Instant::now() >= claim.until || stop.is_cancelled() {
                return Ok(jobs);
            }
            let pause = self.queue.next_due().await?.unwrap_or(FALLBACK).clamp(SHORTEST, FALLBACK);
            let next = claim.until.min(Instant::now() + pause);
            tokio::select! {
                () = work(&mut changes) => {}
                () = tokio::time::sleep_until(next) => {}
                () = stop.cancelled() => return Ok(Vec::new()),
            }
        }
    }

    async fn claim_now(&self, claim: WaitingClaim<'_>) -> Result<Vec<Job>, QueueError> {
        let mut jobs = Vec::new();
        while jobs.len() < claim.max as usize {
            match self.queue.claim(claim.holder, claim.capabilities).await {
                Ok(Some(job)) => jobs.push(job),
                Ok(None) => break,
                // Those that were claimed are run.
                Err(_) if !jobs.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(jobs)
    }

    fn line(&self, capabilities: &[Capability]) -> Arc<sync::Mutex<()>> {
        let mut lines = self.lines.lock();
        lines.retain(|_, line| line.strong_count() > 0);
        let entry = lines.entry(capability::json(capabilities)).or_default();
        entry.upgrade().unwrap_or_else(|| {
            let line = Arc::default();
            *entry = Arc::downgrade(&line);
            line
        })
    }
}

/// Waits until there may be a job.
async fn work(changes: &mut broadcast::Receiver<Change>) {
    // Missed changes may include new work.
    while !matches!(changes.recv().await, Ok(Change::Work | Change::Unknown) | Err(_)) {}
}
