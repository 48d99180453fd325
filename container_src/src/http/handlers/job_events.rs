//! `GET /v1/proofs/{id}/events`: the events of a job, as server-sent events or over a WebSocket.
//!
//! Each event has the whole job, so a client that missed some has missed nothing that lasts. An event's id describes what
//! the event shows: a client that reconnects with `Last-Event-ID` gets at once what it has not seen, from any server. The
//! stream ends when the job has finished.

use std::convert::Infallible;

use axum::{
    extract::{
        Query, State,
        rejection::QueryRejection,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use edgeprove_protocol::{JobDocument, JobStatus};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::{
    http::{
        api_error::ApiError,
        event_socket,
        job_reader::{JobQuery, JobReader, ReadRight},
        job_response::no_store,
        job_stream::JobStream,
        state::AppState,
    },
    jobs::document::EventId,
};

/// The id of the last event that a reconnecting client has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// 1. The caller may see the job, or has the token of its link (401, 404, 429), and it has not expired (410).
/// 2. Neither the caller nor the server has too many open streams (429, 503).
/// 3. 204 where the client has seen the last event: an `EventSource` then stops.
/// 4. 200 with a stream, or 101 where the request asks for a WebSocket.
pub async fn job_events(
    State(app): State<AppState>,
    reader: JobReader,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    query: Result<Query<JobQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let JobReader { job, right, account } = reader;
    let jobs = app.jobs()?;
    if job.status == JobStatus::Expired {
        return Err(ApiError::expired());
    }
    let permits = &jobs.watch_permits;
    let permit = match &right {
        ReadRight::OfCaller { .. } => permits.admit([account])?,
        // Neither many pages with one link nor many links of one page take all streams.
        ReadRight::OfLink(_) => permits.admit([format!("link:{}", job.id), account])?,
    };
    let watcher = jobs.watchers.watch(job.id).await?.ok_or_else(ApiError::no_such_job)?;
    // A browser that reconnects sends the header, and the query of its first request.
    let last = match headers.get(LAST_EVENT_ID) {
        Some(header) => header.to_str().ok().and_then(|id| id.parse().ok()),
        None => query.ok().and_then(|Query(query)| query.last_event_id?.parse().ok()),
    };
    let events = JobStream::new(&app, right, watcher, last, permit);
    let keep_alive = app.options.stream_keep_alive;
    if let Ok(upgrade) = upgrade {
        return Ok(event_socket::accept(upgrade, events, keep_alive));
    }
    if events.is_complete() {
        return Ok(no_store(StatusCode::NO_CONTENT.into_response()));
    }
    let events = stream::unfold(events, |mut events| async move {
        let (id, document) = events.next().await.ok()?;
        Some((Ok::<_, Infallible>(event(id, &document)), events))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(keep_alive)).into_response();
    // Asks proxies not to buffer the stream.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn event(id: EventId, document: &JobDocument) -> Event {
    let name = if document.status.is_finished() { "done" } else { "progress" };
    // A document has text keys only, so serialization cannot fail.
    Event::default().id(id.to_string()).event(name).data(serde_json::to_string(document).unwrap_or_default())
}
