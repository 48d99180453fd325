//! `GET /v1/estimate`: how long one more proof of a circuit would take here, how long it would wait, and how much memory
//! it needs.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use edgeprove_job_rules::prediction::Estimate;
use edgeprove_protocol::{
    CircuitId, ProblemType,
    statistics::{CostEstimate, Interval},
};
use http::header;
use serde::Deserialize;

use crate::{
    access::Caller,
    http::{api_error::ApiError, milliseconds, state::AppState},
};

/// The query: which circuit. Other parameters are for an edge.
#[derive(Debug, Deserialize)]
pub struct EstimateQuery {
    circuit: Option<CircuitId>,
}

/// 1. The caller is known and within its rate (401, 429).
/// 2. The query is valid: `?circuit=NAME` (400).
/// 3. The circuit is loaded (404, 503); without a name it is the default circuit.
/// 4. 200 with the estimate.
pub async fn estimate(
    State(app): State<AppState>,
    caller: Caller,
    query: Result<Query<EstimateQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    app.access.count(&caller)?;
    let Query(EstimateQuery { circuit }) = query.map_err(|_| {
        ApiError::new(
            ProblemType::InvalidRequest,
            "the query must be ?circuit=NAME, with the name of a circuit",
        )
    })?;
    let circuit = app.circuits.find(circuit.as_ref()).await?;
    let proving = app.proofs.estimate(&circuit.id);
    let widths = app.engine.proving.scheduler().limits().widths();
    let answer = CostEstimate {
        circuit: circuit.id.clone(),
        samples: app.proofs.samples(&circuit.id) as u64,
        confidence: proving.map_or(0.0, |estimate| estimate.confidence),
        proving_ms: proving.map(interval),
        wait_ms: app.proofs.expected_wait(&circuit.id).map(interval),
        memory_bytes: circuit.memory().expected(widths.last().copied().unwrap_or(1)),
        memory_measured: circuit.memory().is_measured(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

fn interval(estimate: Estimate) -> Interval {
    Interval {
        expected: milliseconds(estimate.expected),
        low: milliseconds(estimate.low),
        high: milliseconds(estimate.high),
    }
}
