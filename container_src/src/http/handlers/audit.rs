//! `GET /v1/audit`: the audit log, for operators.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{ProblemType, headers};
use http::header;
use serde::Deserialize;

use crate::http::{api_error::ApiError, caller::Operator, state::AppState};

/// Lines in an answer that names no limit.
const PAGE: usize = 1_000;
/// Most lines in an answer.
const PAGE_MAX: usize = 10_000;

/// Which piece of the log is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// 1. Operators only (401, 403).
/// 2. `?after=N` and `?limit=N` (400).
/// 3. The lines after entry N, as they were written, and in `X-Audit-Head` where the log ends (404 where there is none,
///    503 where it cannot be read).
pub async fn export(
    State(app): State<AppState>,
    _operator: Operator,
    piece: Result<Query<Piece>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Piece { after, limit }) = piece.map_err(|_| {
        let detail = "the query may hold `after` and `limit`, whole numbers, as in ?after=100&limit=50";
        ApiError::new(ProblemType::InvalidRequest, detail)
    })?;
    let sink = app.audit.sink().ok_or_else(|| {
        ApiError::new(ProblemType::NotFound, "this server keeps no audit log: start it with --audit FILE")
    })?;
    // First, so that the head is not behind what is answered.
    let records = sink.read(after, limit.unwrap_or(PAGE).min(PAGE_MAX)).await?;
    let head = sink.head().await?.to_string();
    let lines: String = records.iter().flat_map(|record| [record.line(), "\n".to_owned()]).collect();
    let told = [
        (header::CONTENT_TYPE.as_str(), "application/x-ndjson"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        (headers::AUDIT_HEAD, &head),
    ];
    Ok((told, lines).into_response())
}
