//! `DELETE /v1/proofs/{id}`: cancels the job.

use axum::{extract::State, response::Response};
use edgeprove_protocol::{JobStatus, ProblemType};
use http::{HeaderMap, StatusCode};

use crate::{
    access::Caller,
    http::{
        api_error::ApiError,
        extract::JobPath,
        job_response::{document_response, job_document, visible_job},
        request_id::request_id_of,
        state::AppState,
    },
};

/// 1. The caller may see the job (401, 404, 429).
/// 2. The request to cancel an unfinished job is written to the audit log (503).
/// 3. 200 when it is cancelled, also when it was before; 202 when it is running and its worker has yet to stop; 409 when
///    it has already finished.
pub async fn cancel_job(
    State(app): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = visible_job(&app, &caller, id).await?;
    let (jobs, request_id) = (app.jobs()?, request_id_of(&headers));
    if !job.status.is_finished() {
        jobs.recorder.cancel_requested(&job, &caller, request_id.clone()).await?;
    }
    let status = match jobs.store.queue.cancel(id, Some(&job.owner)).await? {
        Some(JobStatus::Running) => StatusCode::ACCEPTED,
        Some(_) => {
            jobs.recorder.cancelled(&job, &caller, request_id).await;
            StatusCode::OK
        }
        None => match jobs.store.queue.get(id).await?.map_or(job.status, |job| job.status) {
            // By a request before this one, which may be about to record it.
            JobStatus::Cancelled => StatusCode::OK,
            now => {
                jobs.recorder.cancel_was_late(&job);
                let detail = format!("the job is already {now}");
                return Err(ApiError::new(ProblemType::JobAlreadyFinished, detail));
            }
        },
    };
    let document = job_document(jobs, id).await?;
    Ok(document_response(status, &document))
}
