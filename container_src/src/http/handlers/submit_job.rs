//! `POST /v1/proofs?circuit=NAME`, and `POST /api/prove…` with `Prefer: respond-async` or `Prefer: wait=N`: submits a
//! proof as a job.
//!
//! 1. The server accepts jobs (503), and the head of the request passes [`AdmittedRequest::check`].
//! 2. The job can meet its deadline (503).
//! 3. The body is streamed to the spool and checked (400, 408, 413, 422, 503).
//! 4. The encrypted witness and the job are stored (422 for another request with the same key, 429 and 503 at a limit).
//! 5. 202 with the job and its `Location`. The same request with the same `Idempotency-Key` gets the same job. With
//!    `wait=N` the proof is the answer if the job finishes within N seconds.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
};
use edgeprove_engine::proof_service::Candidates;
use edgeprove_job_queue::{Enqueued, job_view::JobView, watchers::Watcher};
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{JobId, ProblemType};
use http::{HeaderValue, StatusCode, header, request::Parts};

use super::get_proof::finished_job;
use crate::{
    access::Work,
    http::{
        admitted_request::AdmittedRequest,
        api_error::ApiError,
        extract::JobPreferences,
        job_response::{job_document, with_retry_after},
        request_body::RequestBody,
        state::AppState,
        upload,
    },
    jobs::{Jobs, job_kinds::proof::KIND, submission::Submission},
};

/// Maximum `Retry-After` where the queue is full, in seconds.
const RETRY_AFTER_MAX_S: u64 = 60;

/// Handles `POST /v1/proofs`. See the module.
pub async fn submit_job(State(app): State<AppState>, request: Request) -> Response {
    submit(&app, request, true).await
}

/// Submits a job. `is_default`: the path asks for a job, also without a preference.
pub async fn submit(app: &AppState, request: Request, is_default: bool) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut body = RequestBody::new(&parts, body);
    match try_submit(app, &mut parts, &mut body, is_default).await {
        Ok(response) => response,
        Err(error) => {
            body.discard(&app.lifecycle.supervisor);
            error.into_response()
        }
    }
}

async fn try_submit(
    app: &AppState,
    parts: &mut Parts,
    body: &mut RequestBody,
    is_default: bool,
) -> Result<Response, ApiError> {
    let jobs = app.jobs()?;
    let request = AdmittedRequest::check(app, parts, Work::Queued).await?;
    let preferences = JobPreferences::from_request_parts(parts, app).await?;
    let account = jobs.account(&request.caller);
    if let Some(deadline) = request.deadline {
        let estimate = jobs.forecast(KIND, request.circuit.id.as_str(), &account, request.priority).await?;
        if let Some(estimate) = estimate.filter(|estimate| estimate.exceeds(deadline)) {
            return Err(ApiError::deadline_cannot_be_met(estimate, deadline));
        }
    }
    let candidates = upload::receive(app, &request, parts, body).await?;
    let submission = submission(&request, account, candidates, &preferences);
    let AdmittedRequest { id, caller, grant, circuit, format, work, .. } = request;
    let job = match jobs.submit(submission).await {
        Ok(Enqueued::Accepted(job)) => {
            let spent = grant.spend_on_job().filter(|_| caller.limits().proofs_per_day.is_some());
            if let Some(spent) = spent {
                jobs.quota.remember(job.id, spent).await;
            }
            job
        }
        // The request that created the job spent its grant.
        Ok(Enqueued::Known(job)) => job,
        Err(error) => return Err(with_expected_wait(error.into(), jobs, circuit.id.as_str())),
    };
    // The job is stored, so a shutdown need not wait for a caller who waits for it.
    drop(work);
    let wait = preferences.wait.filter(|_| !preferences.respond_async);
    let finished = match wait {
        Some(wait) => finished_within(app, jobs, job.id, wait).await?,
        None => None,
    };
    let mut response = match finished {
        Some(job) => finished_job(jobs, &job, &caller, &id, format).await?,
        None => accepted(jobs, job.id).await?,
    };
    let applied = match wait {
        Some(wait) => Some(format!("wait={}", wait.as_secs())),
        None if preferences.respond_async || is_default => Some("respond-async".to_owned()),
        None => None,
    };
    if let Some(applied) = applied.and_then(|applied| HeaderValue::from_str(&applied).ok()) {
        response.headers_mut().insert("preference-applied", applied);
    }
    Ok(response)
}

fn submission(
    request: &AdmittedRequest,
    account: String,
    candidates: Candidates,
    preferences: &JobPreferences,
) -> Submission {
    Submission {
        candidates,
        cache: request.cache,
        limits: request.limits,
        owner: request.caller.owner(),
        account,
        unfinished_max: request.caller.limits().unfinished_max,
        priority: request.priority,
        idempotency_key: preferences.idempotency_key.clone(),
        request_id: request.id.clone(),
    }
}

/// Adds the expected time until a job of the queue finishes to a refusal at a limit of the queue.
fn with_expected_wait(error: ApiError, jobs: &Jobs, circuit: &str) -> ApiError {
    match jobs.views().expected(KIND, circuit) {
        Some(work) if matches!(error.kind, ProblemType::QueueFull | ProblemType::TooManyJobs) => {
            error.after(Duration::from_secs(work.retry_after_s().min(RETRY_AFTER_MAX_S)))
        }
        Some(_) | None => error,
    }
}

/// 202 with the job as it is now.
async fn accepted(jobs: &Jobs, id: JobId) -> Result<Response, ApiError> {
    let document = job_document(jobs, id).await?;
    let mut response = (StatusCode::ACCEPTED, Json(&document)).into_response();
    if let Ok(location) = HeaderValue::from_str(&document.links.this) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(with_retry_after(response, &document))
}

/// The finished job; `None` if it does not finish within `wait`, or the server stops.
async fn finished_within(
    app: &AppState,
    jobs: &Jobs,
    id: JobId,
    wait: Duration,
) -> Result<Option<Job>, ApiError> {
    let Some(watcher) = jobs.watchers.watch(id).await? else { return Err(ApiError::no_such_job()) };
    tokio::select! {
        () = finished(watcher) => Ok(jobs.store.queue.get(id).await?),
        () = tokio::time::sleep(wait) => Ok(None),
        () = app.lifecycle.supervisor.stop_token().cancelled() => Ok(None),
    }
}

async fn finished(mut watcher: Watcher) {
    let is_finished =
        |seen: &Option<Arc<JobView>>| seen.as_ref().is_some_and(|view| view.job.status.is_finished());
    // The sender lives as long as the server.
    let _ = watcher.wait_for(is_finished).await;
}
