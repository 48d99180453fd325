//! `GET /v1/queue`: the number of jobs by status and priority, and how long the oldest has waited.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{JobStatus, Priority};
use http::header;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    access::Caller,
    http::{api_error::ApiError, extract::NamedContainer, state::AppState},
};

/// The queue now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct QueueCounts {
    /// Jobs by status.
    jobs: BTreeMap<&'static str, u64>,
    /// Queued jobs by priority.
    queued: BTreeMap<&'static str, u64>,
    /// How long the oldest queued job of each priority has waited, in milliseconds.
    oldest_queued_ms: BTreeMap<&'static str, u64>,
    /// Jobs with watchers on this server.
    watched: usize,
}

/// 1. The caller is known and within its rate (401, 429).
/// 2. The query is of the right form (400).
/// 3. 200 with the counts; 503 where there are no jobs, or the job store cannot be reached.
pub async fn job_counts(
    State(app): State<AppState>,
    caller: Caller,
    _container: NamedContainer,
) -> Result<Response, ApiError> {
    app.access.count(&caller)?;
    let jobs = app.jobs()?;
    let counts = jobs.gauges.counter.count().await?;
    let by_status = JobStatus::ALL.map(|status| (status.as_str(), counts.of(status))).into();
    let priorities = Priority::ALL.into_iter().map(Priority::as_str);
    let queued = priorities.zip(counts.queued()).collect();
    let oldest = counts.oldest_queued.iter();
    let oldest_queued_ms =
        oldest.map(|(priority, age)| (priority.as_str(), edgeprove_telemetry::millis(*age))).collect();
    let snapshot =
        QueueCounts { jobs: by_status, queued, oldest_queued_ms, watched: jobs.watchers.watched_jobs() };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(snapshot)).into_response())
}
