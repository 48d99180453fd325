//! The events of a job: a stream of server-sent events, or a WebSocket.
//!
//! Each event has the whole document, so a client that missed some has missed nothing that lasts. The id of an event describes
//! what the event shows. A client that reconnects with `Last-Event-ID` therefore gets at once what it has not seen, also from an
//! object that has started since.
//!
//! A stream keeps the object in memory. A WebSocket does not: the runtime keeps it while the object is evicted.

use std::{pin::pin, rc::Rc, time::Duration};

use edgeprove_job_rules::{event_id::EventId, job::Job, job_document::stage_number, job_view::JobView};
use edgeprove_protocol::{JobId, JobStatus};
use futures_util::{
    future::{Either, select},
    stream,
};
use worker::{Delay, Response, WebSocket, WebSocketPair};

use super::{
    changes::Follower,
    dispatcher::{Core, log_error, now},
    error::{JobsError, QueueError},
    payload::document,
    protocol::Viewer,
};
use crate::response_stream::event_stream;

/// How often a running job is looked at, whose percentage rises.
const RUNNING_TICK: Duration = Duration::from_secs(1);
/// How often any other job is looked at, whose position changes with those of others.
const QUEUED_TICK: Duration = Duration::from_secs(2);
/// After so many looks without an event, a comment shows whether the client is still there.
const SILENT_TICKS: u32 = 5;
/// Most WebSockets of an object.
const SOCKETS_MAX: usize = 5_000;
/// Most WebSockets of one owner.
const SOCKETS_PER_OWNER_MAX: usize = 64;
/// The close code after the last event.
const NORMAL: u16 = 1000;
/// The close code for a client that sends too much.
const POLICY: u16 = 1008;
/// Largest message of a client.
pub const MESSAGE_MAX_BYTES: usize = 1 << 10;

/// The stream of one client.
struct JobStream {
    core: Rc<Core>,
    follower: Follower,
    job: JobId,
    last: Option<EventId>,
    is_over: bool,
}

fn event_id(view: &JobView) -> EventId {
    EventId::new(view, stage_number(&view.job))
}

impl Core {
    /// Opens a stream of the events of a job after the last one that the client has seen.
    pub fn open_stream(
        self: &Rc<Self>,
        job: &Job,
        viewer: &Viewer,
        last: Option<EventId>,
    ) -> Result<worker::Result<Response>, JobsError> {
        let follower = self.changes.follow(job.id, &viewer.owner).ok_or(JobsError::TooManyWatchers)?;
        let stream = JobStream { core: Rc::clone(self), follower, job: job.id, last, is_over: false };
        let pieces = stream::unfold(stream, |mut stream| async move {
            let text = stream.next().await?;
            Some((Ok::<_, worker::Error>(text.into_bytes()), stream))
        });
        Ok(event_stream(pieces))
    }

    /// Opens a WebSocket for the events of a job. The first one is sent at once.
    pub fn open_socket(
        &self,
        job: &Job,
        viewer: &Viewer,
        last: Option<EventId>,
    ) -> Result<worker::Result<Response>, JobsError> {
        let owner = format!("owner {}", viewer.owner);
        let is_full = self.state.get_websockets().len() >= SOCKETS_MAX
            || self.state.get_websockets_with_tag(&owner).len() >= SOCKETS_PER_OWNER_MAX;
        if is_full {
            return Err(JobsError::TooManyWatchers);
        }
        let WebSocketPair { client, server } = match WebSocketPair::new() {
            Ok(pair) => pair,
            Err(error) => return Ok(Err(error)),
        };
        self.state.accept_websocket_with_tags(&server, &[&job.id.to_string(), &owner]);
        let view = self.queue.view(job.clone(), now())?;
        send(&server, &view, last);
        Ok(Response::from_websocket(client))
    }

    /// Sends a change of a job to its WebSockets.
    pub fn push(&self, id: JobId) {
        let sockets = self.state.get_websockets_with_tag(&id.to_string());
        if sockets.is_empty() {
            return;
        }
        let view = self.queue.get(id).and_then(|job| job.map(|job| self.queue.view(job, now())).transpose());
        match view {
            Ok(Some(view)) => {
                for socket in sockets {
                    // The runtime keeps the id of the last event with the socket.
                    let last: Option<String> = socket.deserialize_attachment().unwrap_or_default();
                    let last = last.and_then(|last| last.parse().ok());
                    send(&socket, &view, last);
                }
            }
            Ok(None) => sockets.iter().for_each(|socket| close(socket, NORMAL, "the job was deleted")),
            Err(error) => log_error("events_not_sent", Some(id), &error.to_string()),
        }
    }

    /// Handles a message of a client, which should send none.
    pub fn received(socket: &WebSocket, bytes: usize) {
        if bytes > MESSAGE_MAX_BYTES {
            close(socket, POLICY, "the server reads messages of at most 1 KiB only");
        }
    }
}

/// Sends the event that shows a view, if it is news after the last one. The last event closes the WebSocket.
fn send(socket: &WebSocket, view: &JobView, last: Option<EventId>) {
    let (id, is_last) = (event_id(view), view.job.status.is_finished());
    if is_last || last.is_none_or(|last| id.is_news_after(&last)) {
        let has_seen = last.is_some_and(|last| last.is_last_of(view.job.status, &id));
        match shown(view) {
            Ok(_) if has_seen => {}
            Ok(document) => {
                // A client that is gone is closed by the runtime.
                let _ = socket.send_with_str(format!("{{\"id\":\"{id}\",\"job\":{document}}}"));
                let _ = socket.serialize_attachment(id.to_string());
            }
            Err(error) => log_error("event_not_shown", Some(view.job.id), &error.to_string()),
        }
    }
    if is_last {
        close(socket, NORMAL, "the job has finished");
    }
}

fn close(socket: &WebSocket, code: u16, reason: &str) {
    // The client may have closed already.
    let _ = socket.close(Some(code), Some(reason));
}

fn shown(view: &JobView) -> Result<String, QueueError> {
    Ok(serde_json::to_string(&document(view)?)?)
}

impl JobStream {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        for _ in 0..SILENT_TICKS {
            let view = match self.view() {
                Ok(view) => view?,
                Err(error) => {
                    log_error("stream_ended", Some(self.job), &error.to_string());
                    return None;
                }
            };
            let (id, is_last) = (event_id(&view), view.job.status.is_finished());
            if is_last || self.last.is_none_or(|last| id.is_news_after(&last)) {
                let document = match shown(&view) {
                    Ok(document) => document,
                    Err(error) => {
                        log_error("event_not_shown", Some(self.job), &error.to_string());
                        return None;
                    }
                };
                self.last = Some(id);
                self.is_over = is_last;
                let event = if is_last { "done" } else { "progress" };
                return Some(format!("id: {id}\nevent: {event}\ndata: {document}\n\n"));
            }
            let tick = if view.job.status == JobStatus::Running { RUNNING_TICK } else { QUEUED_TICK };
            match select(pin!(self.follower.changed()), pin!(Delay::from(tick))).await {
                Either::Left(((), _)) | Either::Right(((), _)) => {}
            }
        }
        Some(": \n\n".to_owned())
    }

    fn view(&self) -> Result<Option<JobView>, QueueError> {
        let job = self.core.queue.get(self.job)?;
        job.map(|job| self.core.queue.view(job, now())).transpose()
    }
}
