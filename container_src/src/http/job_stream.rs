//! The events of a job for one client: the job now, and after each change, until it has finished.

use std::sync::Arc;

use edgeprove_job_queue::{job_view::JobView, watchers::Watcher};
use edgeprove_protocol::JobDocument;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{job_reader::ReadRight, state::AppState};
use crate::{
    access::api_keys::KeyRing,
    jobs::{
        document::{EventId, document},
        watch_permits::WatchPermit,
    },
};

/// The events of a job for one client.
pub struct JobStream {
    app: AppState,
    right: ReadRight,
    /// The right is checked again when the keys change. A timer would wake a thousand idle streams for nothing.
    keys: watch::Receiver<Arc<KeyRing>>,
    /// `None` after the last event.
    watcher: Option<Watcher>,
    last: Option<EventId>,
    stop: CancellationToken,
    _permit: WatchPermit,
}

/// Why a stream has no further event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The job has finished, and the client has its last event.
    Finished,
    /// The server stops.
    Stopping,
    /// The API key was withdrawn.
    Withdrawn,
    /// The job cannot be read.
    Failed,
}

impl JobStream {
    /// The events after `last`, if the client has seen some.
    #[must_use]
    pub fn new(
        app: &AppState,
        right: ReadRight,
        watcher: Watcher,
        last: Option<EventId>,
        permit: WatchPermit,
    ) -> Self {
        let stop = app.lifecycle.supervisor.stop_token().clone();
        let keys = app.access.key_changes();
        Self { app: Arc::clone(app), right, keys, watcher: Some(watcher), last, stop, _permit: permit }
    }

    /// Whether the client has seen the last event of a finished job.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let Some(watcher) = &self.watcher else { return true };
        let seen = watcher.borrow();
        let last = |view: &Arc<JobView>| self.last.is_some_and(|last| last.is_last_of(view));
        seen.as_ref().is_some_and(last)
    }

    /// The next event. Dropping the future loses no event.
    pub async fn next(&mut self) -> Result<(EventId, JobDocument), StreamEnd> {
        let Some(watcher) = &mut self.watcher else { return Err(StreamEnd::Finished) };
        loop {
            let seen = watcher.borrow_and_update().clone();
            if let Some(view) = seen {
                if !self.right.holds(&self.app, &view.job.owner) {
                    return Err(StreamEnd::Withdrawn);
                }
                let id = EventId::of(&view);
                let is_finished = view.job.status.is_finished();
                if is_finished || self.last.is_none_or(|last| id.is_news_after(&last)) {
                    let document = document(&view).map_err(|error| {
                        let error = edgeprove_telemetry::chain(&error);
                        tracing::error!(job = %view.job.id, %error, "the stream of a job ended: its row is corrupt");
                        StreamEnd::Failed
                    })?;
                    self.last = Some(id);
                    if is_finished {
                        self.watcher = None;
                    }
                    return Ok((id, document));
                }
            }
            tokio::select! {
                changed = watcher.changed() => changed.map_err(|_| StreamEnd::Stopping)?,
                Ok(()) = self.keys.changed() => {}
                () = self.stop.cancelled() => return Err(StreamEnd::Stopping),
            }
        }
    }
}
