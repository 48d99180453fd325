//! `GET /v1/proofs/{id}/events`: what happens to a job, as server-sent events, or over a WebSocket where one is asked for.
//!
//! Each event is the whole job as it is then, so a watcher that missed some has missed nothing that lasts. Its id names
//! what it tells: a watcher that comes back with `Last-Event-ID` hears at once what it has not seen, from whichever server
//! it asks. The stream ends with the job.

use std::{convert::Infallible, sync::Arc, time::Duration};

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
use edgeprove_protocol::{JobDocument, JobStatus};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::proofs::own;
use crate::{
    access::Caller,
    http::{api_error::ApiError, extract::NamedJob, state::AppState},
    jobs::{document::event_id, watchers::Watcher},
};

/// Says that the stream lives while nothing happens, before whatever stands between takes it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a watcher that saw an event before says of it.
const LAST_EVENT_ID: &str = "last-event-id";

/// See the module.
pub async fn events(
    State(app): State<AppState>,
    caller: Caller,
    NamedJob(id): NamedJob,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = own(&app, &caller, id).await?;
    let workshop = app.workshop()?;
    if job.status == JobStatus::Expired {
        return Err(ApiError::expired());
    }
    let watcher = workshop.hub.watch(id).await?.ok_or_else(ApiError::no_such_job)?;
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let told = documents(watcher, last, app.supervisor.stop_token().clone());
    if let Ok(upgrade) = upgrade {
        return Ok(upgrade.on_upgrade(|socket| tell(socket, told)));
    }
    let events = told.map(|(id, document)| Ok::<_, Infallible>(event(id, &document)));
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = sse.into_response();
    // Proxies that collect answers before they pass them on are asked not to.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The job as it is, and each time that it has become different, until it is over.
fn documents(
    watcher: Watcher,
    last: Option<String>,
    stop: CancellationToken,
) -> impl Stream<Item = (String, Arc<JobDocument>)> + Send {
    stream::unfold((Some(watcher), last), move |(watcher, mut last)| {
        let stop = stop.clone();
        async move {
            let mut watcher = watcher?;
            loop {
                let seen = watcher.borrow_and_update().clone();
                if let Some(document) = seen {
                    let id = event_id(&document);
                    let is_over = document.status.is_finished();
                    if last.as_ref() != Some(&id) || is_over {
                        last = Some(id.clone());
                        return Some(((id, document), ((!is_over).then_some(watcher), last)));
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

fn event(id: String, document: &JobDocument) -> Event {
    let name = if document.status.is_finished() { "done" } else { "progress" };
    // It has text keys and no failing serialiser of its own.
    Event::default().id(id).event(name).data(serde_json::to_string(document).unwrap_or_default())
}

async fn tell(mut socket: WebSocket, told: impl Stream<Item = (String, Arc<JobDocument>)> + Send) {
    let mut told = std::pin::pin!(told);
    loop {
        tokio::select! {
            next = told.next() => {
                let Some((id, document)) = next else { break };
                let message = json!({ "id": id, "job": &*document }).to_string();
                if socket.send(Message::text(message)).await.is_err() {
                    return;
                }
            }
            // Nothing is expected of a watcher but that it goes; pings are answered in here.
            heard = socket.recv() => if !matches!(heard, Some(Ok(_))) { return },
        }
    }
    let close = CloseFrame { code: close_code::NORMAL, reason: "the job is over".into() };
    // Whoever has gone needs no word.
    let _ = socket.send(Message::Close(Some(close))).await;
}
