//! `DELETE /v1/proofs/{id}`: cancels the job.

use axum::{extract::State, response::Response};
use edgeprove_protocol::JobStatus;
use http::{HeaderMap, StatusCode};

use crate::{
    access::Caller,
    http::{
        api_error::ApiError,
        extract::JobPath,
        job_response::{document_response, job_document, usable_job},
        request_id::request_id_of,
        state::AppState,
    },
    jobs::changes::ChangedBy,
};

/// 1. The caller may use the job (401, 403, 404, 429).
/// 2. The request to cancel an unfinished job is written to the audit log (503).
/// 3. 200 when it is cancelled, also when it was before; 202 when it is running and its worker has yet to stop; 409 when
///    it has already finished.
pub async fn cancel_job(
    State(app): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = usable_job(&app, &caller, id).await?;
    let (jobs, request_id) = (app.jobs()?, request_id_of(&headers));
    let status = match jobs.cancel(&job, ChangedBy { caller, request_id }).await? {
        JobStatus::Running => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    let document = job_document(jobs, id).await?;
    Ok(document_response(status, &document))
}
