//! Owns every background task, so that none outlives the server and none dies unseen.
//!
//! A task that panics is a fault of ours that nothing else would report: it is logged and makes the server stop,
//! because a prover or a listener that is silently missing is worse than a restart.

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
    /// Runs a task until it ends by itself; tasks end soon after [`Self::stop`].
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

    /// Cancelled when tasks are to end: work that is still under way is given up.
    #[must_use]
    pub fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Ends when a task panicked.
    pub async fn fatal(&self) {
        self.fatal.cancelled().await;
    }

    /// Whether a task panicked.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.fatal.is_cancelled()
    }

    /// Tells every task to end, and waits until all have.
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
