//! `POST /v1/proofs?circuit=NAME`, and `POST /api/prove…` with a preference for a job or an `Idempotency-Key`: submits a
//! proof as a job.
//!
//! 1. The server accepts jobs (503), and the head of the request passes [`AdmittedRequest::check`]. Its callback URL is
//!    allowed (400, 403).
//! 2. The job can meet its deadline, and the proof the time limit of the caller (503).
//! 3. The body is streamed to the spool and checked (400, 408, 413, 422, 503). Of inputs the witness is computed now, so
//!    that only an encrypted witness waits in the queue (422, 503, 504).
//! 4. The encrypted witness and the job are stored (422 for another request with the same key, 429 and 503 at a limit).
//! 5. 202 with the job and its `Location`. The same request with the same `Idempotency-Key` gets the same job. With
//!    `wait=N` the proof is the answer if the job finishes within N seconds, also with `respond-async`. A request with
//!    a key and without a preference waits for the proof (504 if it is not ready in time).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use edgeprove_engine::{circuits::Circuit, proof_service::Candidates};
use edgeprove_job_queue::{Enqueued, QueueError, job_view::JobView, watchers::Watcher};
use edgeprove_job_rules::{idempotency::IdempotencyKey, job::Job};
use edgeprove_protocol::{JobId, ProblemType, TraceContext, headers};
use edgeprove_webhooks::Callback;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};

use super::get_proof::finished_job;
use crate::{
    access::{Caller, Work, voucher_uses::UsesOfVoucher},
    http::{
        admitted_request::AdmittedRequest,
        api_error::ApiError,
        callback::callback,
        extract::{AnswerFormat, JobPreferences},
        job_response::{job_document, with_retry_after},
        request_body::RequestBody,
        request_id::trace_of,
        state::AppState,
        upload,
    },
    jobs::{
        Jobs, JobsDisabled,
        job_kinds::proof_payload::{JobVoucher, KIND, UploadTimes},
        submission::{Asked, Submission},
    },
    lifecycle::WorkToken,
};

/// Maximum `Retry-After` where the queue is full, in seconds.
const RETRY_AFTER_MAX_S: u64 = 60;

/// The answer to a request that prefers none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultAnswer {
    /// The job.
    Job,
    /// The proof: the caller waits as long as a request may take.
    Proof,
}

/// Submits a job. See the module.
pub async fn submit(app: &AppState, request: Request, default: DefaultAnswer) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut body = RequestBody::new(&parts, body);
    match try_submit(app, &mut parts, &mut body, default).await {
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
    default: DefaultAnswer,
) -> Result<Response, ApiError> {
    let jobs = match (app.jobs(), default) {
        (Ok(jobs), _) => jobs,
        (Err(reason), DefaultAnswer::Job) => return Err(reason.into()),
        (Err(reason), DefaultAnswer::Proof) => return Err(without_jobs(reason, &parts.headers)),
    };
    let arrived = Instant::now();
    let mut request = AdmittedRequest::check(app, parts, body, Work::Queued).await?;
    // Inputs have arrived with the head.
    let inputs_arrived = request.inputs.is_some().then(|| arrived.elapsed());
    let mut preferences = JobPreferences::from_request_parts(parts, app).await?;
    preferences.idempotency_key = preferences.idempotency_key.map(|key| own_key(key, &request.caller));
    let callback = callback(jobs, &request.caller, &parts.headers)?;
    let account = jobs.account(&request.caller);
    let has_limit = request.deadline.is_some() || request.limits.timeout.is_some();
    let key = preferences.idempotency_key.as_ref();
    if has_limit && !is_repeated(jobs, &account, key).await? {
        check_deadline(app, jobs, &request, &account).await?;
        request.check_timeout(app)?;
    }
    let candidates = upload::receive(app, &mut request, parts, body).await?;
    let complete = arrived.elapsed();
    let received = UploadTimes {
        upload_ms: edgeprove_telemetry::millis(inputs_arrived.unwrap_or(complete)),
        witness_ms: inputs_arrived.map(|at| edgeprove_telemetry::millis(complete.saturating_sub(at))),
    };
    let voucher = request.caller.voucher().map(|voucher| {
        let of_job = JobVoucher { id: voucher.id.clone(), scope: voucher.scope() };
        (of_job, app.vouchers.uses_of(voucher))
    });
    let (submission, Rest { id, caller, circuit, format, work }) = submission(
        request,
        (account, voucher),
        (candidates, received),
        preferences.idempotency_key.clone(),
        callback,
        trace_of(&parts.headers),
    );
    let job = match jobs.submit(submission).await {
        Ok(Enqueued::Accepted(job) | Enqueued::Known(job)) => job,
        Err(error) => return Err(with_expected_wait(error.into(), jobs, circuit.id.as_str())),
    };
    // The job is stored, so a shutdown need not wait for a caller who waits for it.
    drop(work);
    let must_prove =
        default == DefaultAnswer::Proof && !preferences.respond_async && preferences.wait.is_none();
    let wait = if must_prove { Some(preferences.wait_max) } else { preferences.wait };
    let finished = match wait {
        Some(wait) => match jobs.watch_permits.admit([caller.share_account().into_owned()]) {
            Ok(_permit) => finished_within(app, jobs, job.id, wait).await?,
            Err(refusal) if must_prove => return Err(refusal.into()),
            // The caller can do with the job.
            Err(_) => None,
        },
        None => None,
    };
    let is_finished = finished.is_some();
    let mut response = match finished {
        Some(job) => finished_job(app, &job, &caller, &id, format).await?,
        None if must_prove => return Err(unfinished(app)),
        None => accepted(jobs, &job).await?,
    };
    let wait = preferences.wait.map(|wait| format!("wait={}", wait.as_secs()));
    let is_async =
        !is_finished && (preferences.respond_async || default == DefaultAnswer::Job && wait.is_none());
    let applied: Vec<String> = is_async.then(|| "respond-async".to_owned()).into_iter().chain(wait).collect();
    if !applied.is_empty()
        && let Ok(applied) = HeaderValue::from_str(&applied.join(", "))
    {
        response.headers_mut().insert(headers::PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// The idempotency key under which a job is stored.
fn own_key(key: IdempotencyKey, caller: &Caller) -> IdempotencyKey {
    let Some(voucher) = caller.voucher() else { return key };
    // Hexadecimal digits are a key.
    voucher.own_idempotency_key(key.as_str()).parse().unwrap_or(key)
}

/// Whether the job of a request is there already. Then it does not matter how long a new one would take.
async fn is_repeated(jobs: &Jobs, account: &str, key: Option<&IdempotencyKey>) -> Result<bool, QueueError> {
    match key {
        Some(key) => jobs.store.queue.has_key(account, key).await,
        None => Ok(false),
    }
}

/// Fails if a new job could surely not finish in time.
async fn check_deadline(
    app: &AppState,
    jobs: &Jobs,
    request: &AdmittedRequest,
    account: &str,
) -> Result<(), ApiError> {
    let circuit = &request.circuit.id;
    let Some(deadline) = request.deadline else { return Ok(()) };
    if app.proofs.recent_estimate(circuit).is_none() {
        return Ok(());
    }
    let estimate = jobs.forecast(KIND, circuit.as_str(), account, request.priority).await?;
    ApiError::check_in_time(estimate, "X-Deadline", deadline)
}

/// Why a server without jobs cannot handle this request as one.
fn without_jobs(reason: JobsDisabled, request_headers: &HeaderMap) -> ApiError {
    if !request_headers.contains_key(headers::IDEMPOTENCY_KEY) {
        return reason.into();
    }
    let detail = format!("a repeated Idempotency-Key can be recognized among stored jobs only, and {reason}");
    ApiError::new(ProblemType::JobsDisabled, detail)
}

/// The caller has waited as long as a request may take.
fn unfinished(app: &AppState) -> ApiError {
    let again = "send the request again with the same Idempotency-Key to get the proof";
    if app.lifecycle.supervisor.stop_token().is_cancelled() {
        return ApiError::new(ProblemType::NotReady, format!("the server stops; {again}"));
    }
    ApiError::new(ProblemType::RequestTimeout, format!("the proof is not ready yet; {again}"))
}

/// What is needed of a request after its job was submitted.
struct Rest {
    id: String,
    caller: Caller,
    circuit: Arc<Circuit>,
    format: AnswerFormat,
    work: WorkToken,
}

fn submission(
    request: AdmittedRequest,
    (account, voucher): (String, Option<(JobVoucher, UsesOfVoucher)>),
    (candidates, received): (Candidates, UploadTimes),
    idempotency_key: Option<IdempotencyKey>,
    callback: Option<Callback>,
    trace: Option<TraceContext>,
) -> (Submission, Rest) {
    let AdmittedRequest {
        id,
        caller,
        grant,
        priority,
        circuit,
        requested,
        cache,
        format,
        limits,
        work,
        sealed,
        ..
    } = request;
    let submission = Submission {
        candidates,
        requested,
        cache,
        limits,
        sealed,
        received,
        owner: caller.owner(),
        account,
        unfinished_max: caller.limits().unfinished_max,
        priority,
        idempotency_key,
        asked: Asked { request_id: id.clone(), callback },
        trace,
        grant,
        has_quota: caller.limits().proofs_per_day.is_some(),
        voucher,
    };
    (submission, Rest { id, caller, circuit, format, work })
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
async fn accepted(jobs: &Jobs, job: &Job) -> Result<Response, ApiError> {
    let document = jobs.with_link_token(job_document(jobs, job.id).await?, &job.owner);
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
