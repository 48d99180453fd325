//! `GET /v1/proofs/{id}`: the job as it is now.

use axum::{extract::State, response::Response};
use edgeprove_protocol::JobStatus;
use http::StatusCode;

use crate::http::{
    api_error::ApiError,
    job_reader::JobReader,
    job_response::{current_document, document_response, with_retry_after},
    state::AppState,
};
use crate::jobs::document::with_receipt;

/// 1. The caller may see the job, or has the token of its link (401, 404, 429).
/// 2. The job has not expired (410).
/// 3. 200 with its document, with the receipt for those who may fetch the proof, and `Retry-After` while it has not finished.
pub async fn get_job(State(app): State<AppState>, reader: JobReader) -> Result<Response, ApiError> {
    if reader.job.status == JobStatus::Expired {
        return Err(ApiError::expired());
    }
    let jobs = app.jobs()?;
    let document = current_document(jobs, reader.job.clone()).await?;
    let document = reader.with_token(jobs, document);
    let document = if reader.may_have_proof(&app) { with_receipt(document, &reader.job)? } else { document };
    Ok(with_retry_after(document_response(StatusCode::OK, &document), &document))
}
