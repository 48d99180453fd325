//! What workers do, a file for each kind of job; [`proof`] is what jobs of [`prove`] say of themselves. Every kind may be
//! run twice: a worker that lost its lease did not know.

pub mod proof;
pub mod prove;

use async_trait::async_trait;
use edgeprove_job_rules::{capability::Capability, job::Job};

use super::attempt::Attempt;
use edgeprove_job_queue::queue::JobOutcome;

/// A kind of work.
#[async_trait]
pub trait JobKind: Send + Sync {
    /// Its name, as in the queue.
    fn name(&self) -> &'static str;

    /// What of it can be done here at this moment.
    fn capability(&self) -> Capability {
        Capability::all_of(self.name())
    }

    /// Does it. When [`Attempt::is_given_up`] ends, whatever this returns no longer matters; the future is dropped.
    async fn run(&self, job: &Job, attempt: &Attempt) -> JobOutcome;
}
