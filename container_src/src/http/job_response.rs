//! What the endpoints of jobs share: the caller's job, its document, and the headers of answers.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{JobDocument, JobId};
use http::{HeaderValue, StatusCode, header};

use super::{api_error::ApiError, state::Shared};
use crate::{
    access::Caller,
    jobs::{
        Jobs,
        document::document,
        job_kinds::{proof_payload::KIND, voucher_of},
    },
};

/// Loads a proof job that the caller may see. A job of another caller or kind is a 404, as if it did not exist, and to a page so is
/// one that was not submitted with its voucher or one of the same subject.
pub async fn visible_job(app: &Shared, caller: &Caller, id: JobId) -> Result<Job, ApiError> {
    app.access.count(caller)?;
    let job = app.jobs()?.store.queue.get(id).await?;
    let is_visible = |job: &Job| job.kind == KIND && caller.may_see(&job.owner) && is_in_scope(job, caller);
    job.filter(is_visible).ok_or_else(ApiError::no_such_job)
}

fn is_in_scope(job: &Job, caller: &Caller) -> bool {
    let Some(voucher) = caller.voucher() else { return true };
    voucher_of(job).is_some_and(|of_job| of_job.scope == voucher.scope())
}

/// Loads a proof job that the caller may change, or whose proof it may fetch. A job that the caller may only see is a 403.
pub async fn usable_job(app: &Shared, caller: &Caller, id: JobId) -> Result<Job, ApiError> {
    let job = visible_job(app, caller, id).await?;
    if !caller.may_use_job(&job.owner) {
        caller.may_operate()?;
    }
    Ok(job)
}

/// The document of a job as it is now.
pub async fn job_document(jobs: &Jobs, id: JobId) -> Result<JobDocument, ApiError> {
    let view = jobs.views().find(id).await?.ok_or_else(ApiError::no_such_job)?;
    Ok(document(&view)?)
}

/// The document of a job that was just loaded.
pub async fn current_document(jobs: &Jobs, job: Job) -> Result<JobDocument, ApiError> {
    Ok(document(&jobs.views().view(job).await?)?)
}

/// An answer with a job's document, which no cache may store.
#[must_use]
pub fn document_response(status: StatusCode, document: &JobDocument) -> Response {
    no_store((status, Json(document)).into_response())
}

/// Adds the expected remaining time of an unfinished job as `Retry-After`.
pub fn with_retry_after(mut response: Response, document: &JobDocument) -> Response {
    if !document.status.is_finished() {
        let wait_ms = document.estimated_remaining_ms.unwrap_or(1000);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1000).max(1)));
    }
    response
}

/// Forbids caches to store the answer.
pub fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
