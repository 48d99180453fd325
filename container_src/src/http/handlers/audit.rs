//! `GET /v1/audit`: entries of the audit log, for operators.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{ProblemType, headers as protocol_headers};
use http::header;
use serde::Deserialize;

use crate::http::{api_error::ApiError, caller::Operator, state::AppState};

/// Entries in an answer by default.
const PAGE: usize = 1_000;
/// Maximum number of entries in an answer.
const PAGE_MAX: usize = 10_000;

/// The query: which entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// 1. Operators only (401, 403).
/// 2. The query is valid: `?after=N`, `?limit=N` (400).
/// 3. 200 with the entries after number N, as they were written, and the head of the log in `X-Audit-Head`. 404 where
///    there is no audit log, 503 where it cannot be read.
pub async fn export(
    State(app): State<AppState>,
    _operator: Operator,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(AuditQuery { after, limit }) = query.map_err(|_| {
        let detail = "the query allows `after` and `limit`, whole numbers, as in ?after=100&limit=50";
        ApiError::new(ProblemType::InvalidRequest, detail)
    })?;
    let sink = app.audit.sink().ok_or_else(|| {
        ApiError::new(ProblemType::NotFound, "this server has no audit log: start it with --audit FILE")
    })?;
    // Entries are read before the head, so that the head is never older than an entry of the answer.
    let records = sink.read(after, limit.unwrap_or(PAGE).min(PAGE_MAX)).await?;
    let head = sink.head().await?.to_string();
    let lines: String = records.iter().flat_map(|record| [record.line(), "\n".to_owned()]).collect();
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/x-ndjson"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        (protocol_headers::AUDIT_HEAD, &head),
    ];
    Ok((headers, lines).into_response())
}
