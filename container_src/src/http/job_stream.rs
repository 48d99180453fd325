//! The events of a job for one client: the job now, and after each change, until it has finished.

use std::{error::Error, sync::Arc};

use edgeprove_job_queue::{job_view::JobView, watchers::Watcher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{job_reader::ReadRight, state::AppState};
use crate::{
    access::api_keys::KeyRing,
    jobs::{
        document::{EventId, document, event_id},
        job_kinds::build,
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

/// An event of a job.
#[derive(Debug)]
pub struct StreamEvent {
    /// Its id.
    pub id: EventId,
    /// Whether the job has finished.
    pub is_last: bool,
    /// What the document describes: a `job`, or a `circuit` that is built.
    pub of: &'static str,
    /// The document, as JSON.
    pub document: String,
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
        let last = |view: &Arc<JobView>| {
            self.last.is_some_and(|last| last.is_last_of(view.job.status, &event_id(view)))
        };
        seen.as_ref().is_some_and(last)
    }

    /// The next event. Dropping the future loses no event.
    pub async fn next(&mut self) -> Result<StreamEvent, StreamEnd> {
        let Some(watcher) = &mut self.watcher else { return Err(StreamEnd::Finished) };
        loop {
            let seen = watcher.borrow_and_update().clone();
            if let Some(view) = seen {
                if !self.right.holds(&self.app, &view.job.owner) {
                    return Err(StreamEnd::Withdrawn);
                }
                let id = event_id(&view);
                let is_last = view.job.status.is_finished();
                if is_last || self.last.is_none_or(|last| id.is_news_after(&last)) {
                    let shown = shown(&self.app, &view).await.map_err(|error| {
                        let error = edgeprove_telemetry::chain(error.as_ref());
                        tracing::error!(job = %view.job.id, %error, "the stream of a job ended: it cannot be shown");
                        StreamEnd::Failed
                    })?;
                    let (of, document) = shown;
                    self.last = Some(id);
                    if is_last {
                        self.watcher = None;
                    }
                    return Ok(StreamEvent { id, is_last, of, document });
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

/// What a view shows, and what that is.
async fn shown(
    app: &AppState,
    view: &JobView,
) -> Result<(&'static str, String), Box<dyn Error + Send + Sync>> {
    if view.job.kind != build::KIND {
        return Ok(("job", serde_json::to_string(&document(view)?)?));
    }
    let entry = app.jobs()?.entry_at(view).await?;
    Ok(("circuit", serde_json::to_string(&entry)?))
}
