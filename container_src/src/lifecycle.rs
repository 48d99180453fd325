//! The life of the server: starting, ready, draining. Requests and shutdown agree through it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use edgeprove_telemetry::Supervisor;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// The life of the server.
#[derive(Debug)]
pub struct Lifecycle {
    /// The owner of every background task.
    pub supervisor: Supervisor,
    started: Instant,
    /// The time of the start since 1970, by the clock of the machine.
    started_at: Duration,
    has_loaded: AtomicBool,
    draining: CancellationToken,
    admitted: TaskTracker,
}

/// Keeps the shutdown waiting for one admitted request or job.
pub type WorkToken = TaskTrackerToken;

impl Lifecycle {
    /// A server that starts now.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        Self {
            supervisor,
            started: Instant::now(),
            started_at: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            has_loaded: AtomicBool::new(false),
            draining: CancellationToken::new(),
            admitted: TaskTracker::new(),
        }
    }

    /// Time since the start.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// When the server started, since 1970.
    #[must_use]
    pub fn started_at(&self) -> Duration {
        self.started_at
    }

    /// Every circuit was loaded, or failed to load.
    pub fn set_loaded(&self) {
        self.has_loaded.store(true, Ordering::Release);
    }

    /// From now on no new work is accepted.
    pub fn start_draining(&self) {
        self.draining.cancel();
        self.admitted.close();
    }

    /// Why no new work is accepted; `None` while it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        if self.draining.is_cancelled() {
            Some("the server is shutting down")
        } else if !self.has_loaded.load(Ordering::Acquire) {
            Some("the server is loading its circuits")
        } else {
            None
        }
    }

    /// Cancelled when the server begins to drain: requests that only wait for work end then.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Makes the shutdown wait until the token is dropped. Take it before [`Self::refusal`] is checked, so that a shutdown
    /// either waits for the work or refuses it.
    pub fn admit(&self) -> WorkToken {
        self.admitted.token()
    }

    /// Requests and jobs that are admitted and not finished.
    #[must_use]
    pub fn admitted(&self) -> usize {
        self.admitted.len()
    }

    /// The tracker of admitted work, for the job workers.
    #[must_use]
    pub fn tracker(&self) -> &TaskTracker {
        &self.admitted
    }

    /// Waits until every admitted request and job has finished. Call [`Self::start_draining`] first.
    pub async fn work_finished(&self) {
        self.admitted.wait().await;
    }
}
