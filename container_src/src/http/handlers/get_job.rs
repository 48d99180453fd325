//! `GET /v1/proofs/{id}`: the job as it is now.

use axum::{extract::State, response::Response};
use edgeprove_protocol::JobStatus;
use http::StatusCode;

use crate::{
    access::Caller,
    http::{
        api_error::ApiError,
        extract::JobPath,
        job_response::{current_document, document_response, visible_job, with_retry_after},
        state::AppState,
    },
};

/// 1. The caller may see the job (401, 404, 429).
/// 2. The job has not expired (410).
/// 3. 200 with its document, and `Retry-After` while it has not finished.
pub async fn get_job(
    State(app): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
) -> Result<Response, ApiError> {
    let job = visible_job(&app, &caller, id).await?;
    if job.status == JobStatus::Expired {
        return Err(ApiError::expired());
    }
    let document = current_document(app.jobs()?, job).await?;
    Ok(with_retry_after(document_response(StatusCode::OK, &document), &document))
}
