//! `GET /v1/queue`: how many jobs there are, and how long they wait.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{JobStatus, Priority};
use http::header;
use serde::Serialize;

use crate::{
    access::Caller,
    http::{api_error::ApiError, state::AppState},
};

/// The queue at a moment.
#[derive(Debug, Serialize)]
struct Snapshot {
    /// Jobs of each status.
    jobs: BTreeMap<&'static str, u64>,
    /// Queued jobs of each priority.
    queued: BTreeMap<&'static str, u64>,
    /// How long the longest waiting job of each priority has waited, in milliseconds.
    oldest_queued_ms: BTreeMap<&'static str, u64>,
    /// Jobs that somebody watches on this server.
    watched: usize,
}

/// See the module.
pub async fn queue(State(app): State<AppState>, caller: Caller) -> Result<Response, ApiError> {
    app.access.count(&caller)?;
    let workshop = app.workshop()?;
    let census = workshop.depth.count(workshop.queue.as_ref()).await?;
    let jobs = JobStatus::ALL.map(|status| (status.as_str(), census.of(status))).into();
    let priorities = Priority::ALL.into_iter().map(Priority::as_str);
    let queued = priorities.zip(census.queued()).collect();
    let oldest = census.oldest_queued.iter();
    let oldest_queued_ms =
        oldest.map(|(priority, age)| (priority.as_str(), edgeprove_telemetry::millis(*age))).collect();
    let snapshot = Snapshot { jobs, queued, oldest_queued_ms, watched: workshop.hub.watched_jobs() };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(snapshot)).into_response())
}
