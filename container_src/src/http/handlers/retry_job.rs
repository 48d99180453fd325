//! `POST /v1/proofs/{id}/retry`: queues a failed job again.

use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};

use crate::{
    http::{
        api_error::ApiError,
        caller::Operator,
        extract::JobPath,
        job_response::{document_response, job_document},
        request_id::request_id_of,
        state::AppState,
    },
    jobs::{changes::ChangedBy, job_kinds::proof_payload::KIND},
};

/// 1. Operators only (401, 403, 429).
/// 2. There is such a job (404). It has failed, and its witness is still there (409).
/// 3. The queue has a place for it (503), and the audit log can be written (503).
/// 4. 202 with the job, which is queued with all its attempts.
pub async fn retry_job(
    State(app): State<AppState>,
    Operator(operator): Operator,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let jobs = app.jobs()?;
    let job = jobs.store.queue.get(id).await?.filter(|job| job.kind == KIND);
    let job = job.ok_or_else(ApiError::no_such_job)?;
    let by = ChangedBy { caller: operator, request_id: request_id_of(&headers) };
    jobs.requeue(job, by).await?;
    Ok(document_response(StatusCode::ACCEPTED, &job_document(jobs, id).await?))
}
