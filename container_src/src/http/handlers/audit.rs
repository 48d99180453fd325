//! `GET /v1/audit`: entries of the audit log, for operators.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use edgeprove_audit::{
    PageRange,
    filter::{EntryFilter, RawFilter},
};
use edgeprove_protocol::{ProblemType, headers as protocol_headers};
use http::{HeaderValue, header};
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
    after: Option<u64>,
    limit: Option<usize>,
    last: Option<usize>,
    action: Option<String>,
    actor: Option<String>,
    circuit: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

impl AuditQuery {
    fn parse(self) -> Result<(EntryFilter, PageRange), ApiError> {
        let Self { after, limit, last, action, actor, circuit, since, until } = self;
        let invalid = |detail: String| ApiError::new(ProblemType::InvalidRequest, detail);
        let filter = RawFilter { action, actor, circuit, since, until }.parse().map_err(|faults| {
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            invalid(format!("in the query: {}", texts.join("; ")))
        })?;
        let range = match (last, after, limit) {
            (Some(last), None, None) => PageRange::Last(last.min(PAGE_MAX)),
            (Some(_), _, _) => {
                return Err(invalid("the query allows `last` without `after` and `limit`".to_owned()));
            }
            (None, after, limit) => {
                PageRange::After { after: after.unwrap_or(0), limit: limit.unwrap_or(PAGE).min(PAGE_MAX) }
            }
        };
        Ok((filter, range))
    }
}

/// 1. Operators only (401, 403).
/// 2. The query is valid: `?after=N&limit=M` or `?last=N`, and any of `action`, `actor`, `circuit`, `since`, `until` (400).
/// 3. 200 with the wanted entries, as they were written, and the head of the log in `X-Audit-Head`. If the page ends before
///    the log, `X-Audit-Next` is the number to continue after. 404 where there is no audit log, 503 where it cannot be
///    read or is not the one that was written before.
pub async fn export(
    State(app): State<AppState>,
    _operator: Operator,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|_| {
        let detail = "the query allows `after`, `limit` and `last`, whole numbers, and once each `action`, `actor`, \
                      `circuit`, `since` and `until`, as in ?after=100&limit=50&actor=key:alice";
        ApiError::new(ProblemType::InvalidRequest, detail)
    })?;
    let (filter, range) = query.parse()?;
    let sink = app.audit.sink().ok_or_else(|| {
        ApiError::new(ProblemType::NotFound, "this server has no audit log: start it with --audit FILE")
    })?;
    // Entries are read before the head, so that the head is never older than an entry of the answer.
    let page = sink.read(filter, range).await?;
    let head = sink.head().await?.to_string();
    let lines: String = page.records.iter().flat_map(|record| [record.line(), "\n".to_owned()]).collect();
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/x-ndjson"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        (protocol_headers::AUDIT_HEAD, &head),
    ];
    let mut response = (headers, lines).into_response();
    if let Some(next) = page.next {
        response.headers_mut().insert(protocol_headers::AUDIT_NEXT, HeaderValue::from(next));
    }
    Ok(response)
}
