//! `GET /v1/proofs/{id}/events`: the events of a job, as server-sent events or over a WebSocket.
//!
//! Each event has the whole job, so a client that missed some has missed nothing that lasts. An event's id describes what
//! the event shows: a client that reconnects with `Last-Event-ID` gets at once what it has not seen, from any server. The
//! stream ends when the job has finished.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{
        State,
        ws::{
            CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use edgeprove_job_queue::watchers::Watcher;
use edgeprove_protocol::{JobDocument, JobStatus};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    access::Caller,
    http::{api_error::ApiError, extract::JobPath, job_response::visible_job, state::AppState},
    jobs::document::{EventId, document},
};

/// Interval of comments in a silent stream, which keep proxies from closing it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The id of the last event that a reconnecting client has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// 1. The caller may see the job (401, 404, 429), and it has not expired (410).
/// 2. 200 with a stream, or 101 where the request asks for a WebSocket.
pub async fn job_events(
    State(app): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = visible_job(&app, &caller, id).await?;
    let jobs = app.jobs()?;
    if job.status == JobStatus::Expired {
        return Err(ApiError::expired());
    }
    let watcher = jobs.watchers.watch(id).await?.ok_or_else(ApiError::no_such_job)?;
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    let events = documents(watcher, last, app.lifecycle.supervisor.stop_token().clone());
    if let Ok(upgrade) = upgrade {
        return Ok(upgrade.on_upgrade(|socket| send_all(socket, events)));
    }
    let events = events.map(|(id, document)| Ok::<_, Infallible>(event(id, &document)));
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = sse.into_response();
    // Asks proxies not to buffer the stream.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The job now, and after each change, until it has finished.
fn documents(
    watcher: Watcher,
    last: Option<EventId>,
    stop: CancellationToken,
) -> impl Stream<Item = (EventId, JobDocument)> + Send {
    stream::unfold((Some(watcher), last), move |(watcher, mut last)| {
        let stop = stop.clone();
        async move {
            let mut watcher = watcher?;
            loop {
                let seen = watcher.borrow_and_update().clone();
                if let Some(view) = seen {
                    let id = EventId::of(&view);
                    let is_finished = view.job.status.is_finished();
                    if is_finished || last.is_none_or(|last| id.is_news_after(&last)) {
                        let document = document(&view).inspect_err(|error| {
                            let error = edgeprove_telemetry::chain(error);
                            tracing::error!(job = %view.job.id, %error, "the stream of a job ended: its row is corrupt");
                        });
                        last = Some(id);
                        return Some(((id, document.ok()?), ((!is_finished).then_some(watcher), last)));
                    }
                }
                tokio::select! {
                    changed = watcher.changed() => changed.ok()?,
                    () = stop.cancelled() => return None,
                }
            }
        }
    })
}

fn event(id: EventId, document: &JobDocument) -> Event {
    let name = if document.status.is_finished() { "done" } else { "progress" };
    // A document has text keys only, so serialization cannot fail.
    Event::default().id(id.to_string()).event(name).data(serde_json::to_string(document).unwrap_or_default())
}

async fn send_all(mut socket: WebSocket, events: impl Stream<Item = (EventId, JobDocument)> + Send) {
    let mut events = std::pin::pin!(events);
    loop {
        tokio::select! {
            next = events.next() => {
                let Some((id, document)) = next else { break };
                let message = json!({ "id": id.to_string(), "job": &document }).to_string();
                if socket.send(Message::text(message)).await.is_err() {
                    return;
                }
            }
            // The client sends nothing but pings, which `recv` answers, and the close.
            received = socket.recv() => if !matches!(received, Some(Ok(_))) { return },
        }
    }
    let close = CloseFrame { code: close_code::NORMAL, reason: "the job has finished".into() };
    // The client may have closed already.
    let _ = socket.send(Message::Close(Some(close))).await;
}
