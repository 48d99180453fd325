//! What workers do, a file for each kind of job. Every kind may be run twice: a worker that lost its lease did not know.

pub mod prove;

use async_trait::async_trait;
use edgeprove_pipeline::job::Job;
use edgeprove_protocol::Problem;

use super::{queue::Ending, runner::Attempt};

/// A kind of work.
#[async_trait]
pub trait Kind: Send + Sync {
    /// Its name, as in the queue.
    fn name(&self) -> &'static str;

    /// Does it. When [`Attempt::is_given_up`] ends, whatever this returns no longer matters; the future is dropped.
    async fn run(&self, job: &Job, attempt: &Attempt) -> Ending;
}

/// A failure as an outcome.
#[must_use]
pub fn failure(problem: &Problem) -> String {
    // It has text keys and no failing serialiser of its own.
    serde_json::to_string(problem).unwrap_or_default()
}

/// The failure that an outcome tells.
#[must_use]
pub fn problem(outcome: &str) -> Option<Problem> {
    serde_json::from_str(outcome).ok()
}
