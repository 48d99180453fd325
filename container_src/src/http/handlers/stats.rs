//! `GET /v1/stats`: how many proofs run, how many succeed and how long they take, over the last hour.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use edgeprove_engine::proof_service::statistics::{Durations, Summary, WINDOW};
use edgeprove_protocol::{
    JobStatus, Priority,
    statistics::{JobStats, ProofStats, Quantiles, Stats},
};
use edgeprove_telemetry::timestamp;
use http::header;

use crate::{
    access::Caller,
    http::{api_error::ApiError, extract::NamedContainer, milliseconds, state::AppState},
};

/// 1. The caller is known and within its rate (401, 429).
/// 2. The query is of the right form (400).
/// 3. 200 with the statistics of this server.
pub async fn stats(
    State(app): State<AppState>,
    caller: Caller,
    _container: NamedContainer,
) -> Result<Response, ApiError> {
    app.access.count(&caller)?;
    let now = app.proofs.statistics().snapshot();
    let covers_ms = i64::try_from(now.covers.as_millis()).unwrap_or(i64::MAX);
    let since = jiff::Timestamp::now().as_millisecond().saturating_sub(covers_ms);
    let jobs = app.jobs().ok().map(|jobs| {
        let counts = jobs.gauges.counter.latest();
        JobStats { queued: counts.of(JobStatus::Queued), running: counts.of(JobStatus::Running) }
    });
    let priorities = Priority::ALL.into_iter().zip(now.priorities);
    let stats = Stats {
        window_s: WINDOW.as_secs(),
        since: timestamp(since),
        proofs: proof_stats(now.all),
        circuits: now.circuits.into_iter().map(|(id, summary)| (id, proof_stats(summary))).collect(),
        priorities: priorities
            .map(|(priority, summary)| (priority.to_string(), proof_stats(summary)))
            .collect(),
        jobs,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(stats)).into_response())
}

/// Quantiles on the wire.
#[must_use]
pub fn quantiles(durations: Durations) -> Quantiles {
    Quantiles {
        p50: milliseconds(durations.p50),
        p95: milliseconds(durations.p95),
        p99: milliseconds(durations.p99),
    }
}

/// The numbers of proofs on the wire.
#[must_use]
pub fn proof_stats(summary: Summary) -> ProofStats {
    let [success, caller_error, server_error, abandoned] = summary.outcomes;
    ProofStats {
        active: summary.active,
        waiting: summary.waiting,
        success,
        caller_error,
        server_error,
        abandoned,
        success_rate: summary.success_rate(),
        duration_ms: summary.durations.map(quantiles),
    }
}
