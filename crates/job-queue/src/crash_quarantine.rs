//! Jobs that were at work when this server's predecessor died: one of them may have killed it.
//!
//! A death counts as an attempt of every job that was at work. So that a job which kills its server each time does not
//! take its neighbours with it, jobs are begun one at a time until each of the suspects was worked on and the server
//! lived. What dies then dies alone.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use edgeprove_job_rules::{capability::Capability, job::Job};
use edgeprove_protocol::{JobId, JobStatus};
use tokio::sync;

use super::queue::JobQueue;

/// See the module.
#[derive(Debug, Default)]
pub struct CrashQuarantine {
    jobs: Mutex<HashSet<JobId>>,
    alone: sync::Mutex<()>,
}

impl CrashQuarantine {
    /// These are.
    #[must_use]
    pub fn new(jobs: impl IntoIterator<Item = JobId>) -> Self {
        Self { jobs: Mutex::new(jobs.into_iter().collect()), alone: sync::Mutex::default() }
    }

    fn jobs(&self) -> MutexGuard<'_, HashSet<JobId>> {
        // Nothing panics while the lock is held; were it so, the set would still be whole.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a job may be begun by a worker of these capabilities. As long as the answer is kept no other is, unless it is
    /// `None`: there is nobody to suspect.
    pub async fn turn(
        &self,
        queue: &dyn JobQueue,
        capabilities: &[Capability],
    ) -> Option<sync::MutexGuard<'_, ()>> {
        if self.jobs().is_empty() {
            return None;
        }
        let turn = self.alone.lock().await;
        let suspects: Vec<JobId> = self.jobs().iter().copied().collect();
        for id in suspects {
            // One that was called off meanwhile never comes, nor one that nobody here takes.
            let may_come = |job: Job| {
                job.status == JobStatus::Queued
                    && capabilities.iter().any(|capability| capability.takes(&job))
            };
            if let Ok(job) = queue.get(id).await
                && !job.is_some_and(may_come)
            {
                self.clear(id);
            }
        }
        (!self.jobs().is_empty()).then_some(turn)
    }

    /// It was worked on, and the server lives.
    pub fn clear(&self, id: JobId) {
        self.jobs().remove(&id);
    }
}
