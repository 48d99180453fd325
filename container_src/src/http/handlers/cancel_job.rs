//! `DELETE /v1/proofs/{id}`: cancels the job.

use axum::{extract::State, response::Response};
use edgeprove_protocol::{JobStatus, ProblemType};
use http::StatusCode;

use crate::{
    access::Caller,
    http::{
        api_error::ApiError,
        extract::JobPath,
        job_response::{document_response, job_document, visible_job},
        state::AppState,
    },
};

/// 1. The caller may see the job (401, 404, 429).
/// 2. 200 when it is cancelled, also when it was before; 202 when it is running and its worker has yet to stop; 409 when
///    it has already finished.
pub async fn cancel_job(
    State(app): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
) -> Result<Response, ApiError> {
    let job = visible_job(&app, &caller, id).await?;
    let jobs = app.jobs()?;
    let status = match jobs.store.queue.cancel(id, Some(&job.owner)).await? {
        Some(JobStatus::Running) => StatusCode::ACCEPTED,
        Some(_) => {
            jobs.recorder.cancelled(&job, caller.actor()).await;
            StatusCode::OK
        }
        None if job.status == JobStatus::Cancelled => StatusCode::OK,
        None => {
            let now = jobs.store.queue.get(id).await?.map_or(job.status, |job| job.status);
            return Err(ApiError::new(ProblemType::JobAlreadyFinished, format!("the job is already {now}")));
        }
    };
    let document = job_document(jobs, id).await?;
    Ok(document_response(status, &document))
}
