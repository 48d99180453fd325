//! `GET /v1/queue`: how many jobs there are, and how long they wait.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::JobStatus;
use http::header;
use serde::Serialize;

use crate::{
    http::{api_error::ApiError, state::AppState},
    telemetry,
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
pub async fn queue(State(app): State<AppState>) -> Result<Response, ApiError> {
    let workshop = app.workshop()?;
    let census = workshop.queue.census().await?;
    let mut jobs: BTreeMap<_, _> = JobStatus::ALL.map(|status| (status.as_str(), 0)).into();
    let mut queued = BTreeMap::new();
    for (status, priority, count) in census.jobs {
        *jobs.entry(status.as_str()).or_default() += count;
        if status == JobStatus::Queued {
            *queued.entry(priority.as_str()).or_default() += count;
        }
    }
    let oldest_queued_ms =
        census.oldest_queued.iter().map(|(priority, age)| (priority.as_str(), telemetry::millis(*age))).collect();
    let snapshot = Snapshot { jobs, queued, oldest_queued_ms, watched: workshop.hub.watched_jobs() };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(snapshot)).into_response())
}
