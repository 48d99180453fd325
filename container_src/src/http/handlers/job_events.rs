//! `GET /v1/proofs/{id}/events`: the events of a job, as server-sent events or over a WebSocket.

use axum::{
    extract::{
        Query, State,
        rejection::QueryRejection,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use edgeprove_protocol::JobStatus;
use http::HeaderMap;

use crate::http::{
    api_error::ApiError,
    event_response::{last_seen, respond},
    job_reader::{JobQuery, JobReader, ReadRight},
    job_stream::JobStream,
    state::AppState,
};

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
        ReadRight::OfCaller { .. } | ReadRight::Public => permits.admit([account])?,
        // Neither many pages with one link nor many links of one page take all streams.
        ReadRight::OfLink(_) => permits.admit([format!("link:{}", job.id), account])?,
    };
    let watcher = jobs.watchers.watch(job.id).await?.ok_or_else(ApiError::no_such_job)?;
    let events = JobStream::new(&app, right, watcher, last_seen(&headers, query), permit);
    Ok(respond(events, upgrade, app.options.stream_keep_alive))
}
