//! The answer with the events of a job: server-sent events, or a WebSocket where the request asks for one.
//!
//! Each event has the whole document, so a client that missed some has missed nothing that lasts. An event's id describes what
//! the event shows: a client that reconnects with `Last-Event-ID` gets at once what it has not seen, from any server. The
//! stream ends when the job has finished.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{
        Query,
        rejection::QueryRejection,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    event_socket,
    job_reader::JobQuery,
    job_response::no_store,
    job_stream::{JobStream, StreamEvent},
};
use crate::jobs::document::EventId;

/// The id of the last event that a reconnecting client has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// The last event that the client has seen. A browser that reconnects sends the header, and the query of its first request.
#[must_use]
pub fn last_seen(headers: &HeaderMap, query: Result<Query<JobQuery>, QueryRejection>) -> Option<EventId> {
    match headers.get(LAST_EVENT_ID) {
        Some(header) => header.to_str().ok().and_then(|id| id.parse().ok()),
        None => query.ok().and_then(|Query(query)| query.last_event_id?.parse().ok()),
    }
}

/// 204 where the client has seen the last event: an `EventSource` then stops. Otherwise 200 with a stream, or 101.
pub fn respond(
    events: JobStream,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    keep_alive: Duration,
) -> Response {
    if let Ok(upgrade) = upgrade {
        return event_socket::accept(upgrade, events, keep_alive);
    }
    if events.is_complete() {
        return no_store(StatusCode::NO_CONTENT.into_response());
    }
    let events = stream::unfold(events, |mut events| async move {
        let next = events.next().await.ok()?;
        Some((Ok::<_, Infallible>(event(next)), events))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(keep_alive)).into_response();
    // Asks proxies not to buffer the stream.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn event(StreamEvent { id, is_last, document, .. }: StreamEvent) -> Event {
    Event::default().id(id.to_string()).event(if is_last { "done" } else { "progress" }).data(document)
}
