//! Owns every background task, so that none outlives the server and none fails unnoticed.
//!
//! Nothing else would report a task that panics. The supervisor logs the panic and makes the server stop: a restart is
//! better than a server without one of its provers or listeners.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The owner of the background tasks. Clones share the same tasks.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    tasks: TaskTracker,
    stop: CancellationToken,
    fatal: CancellationToken,
}

impl Supervisor {
    /// Runs a task until it ends. A task that would run for ever must end soon after [`Self::stop_token`] is cancelled.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let fatal = self.fatal.clone();
        self.tasks.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a background task panicked; the server stops");
                fatal.cancel();
            }
        });
    }

    /// The token that is cancelled when all tasks must end. Tasks then abandon unfinished work.
    #[must_use]
    pub fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits for a task to panic.
    pub async fn fatal(&self) {
        self.fatal.cancelled().await;
    }

    /// Whether a task has panicked.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.fatal.is_cancelled()
    }

    /// Cancels the stop token and waits until every task has ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_fatal_and_an_ordinary_end_is_not() {
        let supervisor = Supervisor::default();
        supervisor.spawn("quiet", async {});
        supervisor.tasks.close();
        supervisor.tasks.wait().await;
        assert!(supervisor.fatal().now_or_never().is_none());
        supervisor.spawn("loud", async { panic!("on purpose") });
        supervisor.fatal().await;
        supervisor.stop().await;
    }
}
