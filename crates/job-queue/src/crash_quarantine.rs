//! The crash quarantine: finds the job that killed the previous process of this server.
//!
//! A crash counts as a failed attempt of every job that was running. A job that kills its server each time would therefore
//! use up the attempts of the jobs that run beside it. After a crash, jobs start one at a time until each job that was running has
//! run again without a crash. If the server crashes again, only one job was running.

use std::collections::HashSet;

use edgeprove_job_rules::{capability::Capability, job::Job};
use edgeprove_protocol::{JobId, JobStatus};
use parking_lot::Mutex;
use tokio::sync;

use crate::sql_queue::SqlQueue;

/// The jobs in quarantine.
#[derive(Debug, Default)]
pub struct CrashQuarantine {
    jobs: Mutex<HashSet<JobId>>,
    alone: sync::Mutex<()>,
}

impl CrashQuarantine {
    /// A quarantine of the jobs that were running when the previous process ended.
    #[must_use]
    pub fn new(jobs: impl IntoIterator<Item = JobId>) -> Self {
        Self { jobs: Mutex::new(jobs.into_iter().collect()), alone: sync::Mutex::default() }
    }

    /// Waits until a worker of these capabilities may start a job. While jobs are in quarantine, it returns a guard, and no
    /// other worker starts a job until the guard is dropped. `None`: no job is in quarantine.
    pub async fn turn(
        &self,
        queue: &SqlQueue,
        capabilities: &[Capability],
    ) -> Option<sync::MutexGuard<'_, ()>> {
        if self.jobs.lock().is_empty() {
            return None;
        }
        let turn = self.alone.lock().await;
        let quarantined: Vec<JobId> = self.jobs.lock().iter().copied().collect();
        for id in quarantined {
            // A job that was cancelled meanwhile will not run, nor one that no worker of this server takes.
            let will_run = |job: Job| {
                job.status == JobStatus::Queued
                    && capabilities.iter().any(|capability| capability.takes(&job))
            };
            if let Ok(job) = queue.get(id).await
                && !job.is_some_and(will_run)
            {
                self.clear(id);
            }
        }
        (!self.jobs.lock().is_empty()).then_some(turn)
    }

    /// Takes a job out of quarantine: it ran, and the server did not crash.
    pub fn clear(&self, id: JobId) {
        self.jobs.lock().remove(&id);
    }
}
