//! `/v1/proofs`: proofs that nobody waits for on the line.
//!
//! `POST /v1/proofs?circuit=NAME`, and `POST /api/prove…` with `Prefer: respond-async` or `Prefer: wait=N`:
//!
//! 1. Whether this server keeps jobs is looked at (503), then the head, as for `POST /api/prove`.
//! 2. The body is streamed to the spool and checked while it arrives and afterwards (400, 408, 413, 422, 503).
//! 3. The witness is kept, encrypted, and the job with it (422 for another request under the same key, 429 and 503 where
//!    there are too many).
//! 4. 202 with the job and its `Location`; the same job again for the same request under the same `Idempotency-Key`.
//!    With `wait=N` the answer comes when the job is over, if that is within N seconds.
//!
//! A job is its owner's: to others it does not exist (404).

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    extract::{FromRequestParts, Query, Request, State},
    response::{IntoResponse, Response},
};
use edgeprove_job_rules::{
    job::Job,
    queue_position::{self, QueuePosition},
};
use edgeprove_protocol::{CircuitId, JobDocument, JobId, JobStatus, Problem, ProblemType, job::JobPage};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde::Deserialize;

use super::upload::{self, WitnessUpload, WitnessUploads};
use crate::{
    access::{Caller, Work},
    http::{
        api_error::ApiError,
        body::Incoming,
        caller::{priority, whose},
        extract::{AnswerFormat, JobWish, NamedCircuit, NamedJob, Wish, cache_wish, deadline},
        proof_response::{ProofResponse, proof_response},
        request_id::{id_of, request_id},
        state::{AppState, Shared},
    },
    jobs::{
        JobContext, document,
        kinds::proof::{KIND, Outcome, Payload, problem},
        submission::{self, Submission, Witness},
        watchers::Watcher,
    },
};
use edgeprove_artifacts::ArtifactKind;
use edgeprove_job_queue::queue::{Listing, Submitted};

/// Most jobs on a page.
const PAGE_MAX: u32 = 100;
/// Jobs on a page where nobody says how many.
const PAGE: u32 = 20;
/// Most bytes that a kept proof may have.
const PROOF_MAX_BYTES: usize = 16 << 20;
/// The longest that a caller is sent away for.
const RETRY_AFTER_MAX_S: u64 = 60;
/// When to look again at a job of which nothing is known.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// `POST /v1/proofs`. See the module.
pub async fn submit(State(app): State<AppState>, request: Request) -> Response {
    take(&app, request, true).await
}

/// A request that prefers not to be waited for, or not for long.
pub async fn take(app: &AppState, request: Request, is_job_anyway: bool) -> Response {
    let id = request_id(&request);
    let (mut parts, body) = request.into_parts();
    let mut upload = Incoming::new(&parts, body);
    match accept(app, &mut parts, &mut upload, &id, is_job_anyway).await {
        Ok(response) => response,
        Err(error) => {
            upload.read_to_the_end(&app.supervisor);
            error.into_response()
        }
    }
}

async fn accept(
    app: &AppState,
    parts: &mut Parts,
    body: &mut Incoming,
    id: &str,
    is_job_anyway: bool,
) -> Result<Response, ApiError> {
    let workshop = app.workshop()?;
    let caller = Caller::from_request_parts(parts, app).await?;
    let priority = priority(app, &caller, parts)?;
    let grant = app.access.admit(&caller, Work::Queued)?;
    upload::check(app, parts)?;
    let format = AnswerFormat::from_headers(&parts.headers);
    let job_wish = JobWish::from_request_parts(parts, app).await?;
    let wish = Wish::from_request_parts(parts, app).await?;
    let NamedCircuit(named) = NamedCircuit::from_request_parts(parts, app).await?;
    let circuit = upload::asked_for(app, named.as_ref().or(wish.circuit.as_ref()))?;
    // Taken before the look at the state, so that a shutdown either sees it or is seen.
    let at_work = app.proofs_at_work.token();
    if let Some(why) = app.not_ready() {
        return Err(ApiError::not_ready(why));
    }
    if !workshop.recorder.ready() {
        return Err(ApiError::audit_unavailable());
    }
    if let Some(deadline) = deadline(&parts.headers)? {
        let estimate = workshop.foresee(KIND, circuit.id.as_str(), priority).await?;
        if let Some(estimate) = estimate.filter(|estimate| estimate.exceeds(deadline)) {
            return Err(ApiError::too_late(estimate, deadline));
        }
    }
    let WitnessUploads { first, smaller } = upload::receive(app, &circuit, parts, body).await?;
    let witness = |WitnessUpload { circuit, upload, digest }: WitnessUpload| Witness {
        target: wish.target.unwrap_or(circuit.target),
        circuit: circuit.id.clone(),
        version: circuit.version(),
        upload,
        digest,
    };
    let submission = Submission {
        first: witness(first),
        smaller: smaller.into_iter().map(witness).collect(),
        cache: cache_wish(&parts.headers),
        owner: caller.owner(),
        unfinished_max: caller.limits().unfinished_max,
        priority,
        key: job_wish.key,
        request_id: id.to_owned(),
    };
    let submitted = submission::submit(workshop, submission).await.map_err(|error| {
        let error = ApiError::from(error);
        // The next place becomes free with the end of a job.
        match workshop.estimator.expected(KIND, circuit.id.as_str()) {
            Some(work) if matches!(error.kind, ProblemType::QueueFull | ProblemType::TooManyJobs) => {
                error.after(Duration::from_secs(work.retry_after_s().min(RETRY_AFTER_MAX_S)))
            }
            _ => error,
        }
    });
    let job = match submitted? {
        Submitted::Taken(job) => {
            grant.spend();
            job
        }
        // It was counted when it was taken in.
        Submitted::Known(job) => job,
    };
    // It is kept, so that no shutdown need wait for whoever waits for it.
    drop(at_work);
    let wait = job_wish.wait.filter(|_| !job_wish.respond_async);
    let waited = match wait {
        Some(wait) => over_within(app, workshop, job.id, wait).await?,
        None => None,
    };
    let mut response = match waited {
        Some(over) => result(workshop, &over, &caller, id, format).await?,
        None => accepted(workshop, job.id).await?,
    };
    let applied = match wait {
        Some(wait) => Some(format!("wait={}", wait.as_secs())),
        None if job_wish.respond_async || is_job_anyway => Some("respond-async".to_owned()),
        None => None,
    };
    if let Some(applied) = applied.and_then(|applied| HeaderValue::from_str(&applied).ok()) {
        response.headers_mut().insert("preference-applied", applied);
    }
    Ok(response)
}

/// 202 with the job as it is now.
async fn accepted(workshop: &JobContext, id: JobId) -> Result<Response, ApiError> {
    let document = look(workshop, id).await?;
    let mut response = (StatusCode::ACCEPTED, Json(&document)).into_response();
    if let Ok(location) = HeaderValue::from_str(&document.links.this) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(with_retry_after(response, &document))
}

/// The job, once it is over; `None` if it is not within this time, or the server stops.
async fn over_within(
    app: &AppState,
    workshop: &JobContext,
    id: JobId,
    wait: Duration,
) -> Result<Option<Job>, ApiError> {
    let Some(watcher) = workshop.hub.watch(id).await? else { return Err(ApiError::no_such_job()) };
    tokio::select! {
        () = over(watcher) => Ok(workshop.queue.get(id).await?),
        () = tokio::time::sleep(wait) => Ok(None),
        () = app.supervisor.stop_token().cancelled() => Ok(None),
    }
}

async fn over(mut watcher: Watcher) {
    let is_over =
        |seen: &Option<Arc<JobDocument>>| seen.as_ref().is_some_and(|document| document.status.is_finished());
    // The sender goes only with the server.
    let _ = watcher.wait_for(is_over).await;
}

/// `GET /v1/proofs/{id}`: the job as it is now.
pub async fn get(
    State(app): State<AppState>,
    caller: Caller,
    NamedJob(id): NamedJob,
) -> Result<Response, ApiError> {
    let job = own(&app, &caller, id).await?;
    let workshop = app.workshop()?;
    if job.status == JobStatus::Expired {
        return Err(ApiError::expired());
    }
    let document = described(workshop, &job).await?;
    Ok(with_retry_after(no_store(Json(&document).into_response()), &document))
}

/// `GET /v1/proofs/{id}/proof`: the proof, as `POST /api/prove` would have answered it; or why there is none.
pub async fn proof(
    State(app): State<AppState>,
    caller: Caller,
    NamedJob(id): NamedJob,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = own(&app, &caller, id).await?;
    result(app.workshop()?, &job, &caller, &id_of(&headers), AnswerFormat::from_headers(&headers)).await
}

/// `DELETE /v1/proofs/{id}`: calls the job off. 200 when it is, 202 when its worker has yet to hear of it, 409 when it
/// was over before.
pub async fn cancel(
    State(app): State<AppState>,
    caller: Caller,
    NamedJob(id): NamedJob,
) -> Result<Response, ApiError> {
    let job = own(&app, &caller, id).await?;
    let workshop = app.workshop()?;
    let status = match workshop.queue.cancel(id, Some(&job.owner)).await? {
        Some(JobStatus::Running) => StatusCode::ACCEPTED,
        Some(_) => {
            workshop.recorder.cancel_requested(&job, KIND, caller.actor()).await;
            StatusCode::OK
        }
        None if job.status == JobStatus::Cancelled => StatusCode::OK,
        None => {
            let now = workshop.queue.get(id).await?.map_or(job.status, |job| job.status);
            return Err(ApiError::new(ProblemType::JobAlreadyFinished, format!("the job is {now} already")));
        }
    };
    let document = look(workshop, id).await?;
    Ok(no_store((status, Json(&document)).into_response()))
}

/// Which of the caller's jobs are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    status: Option<JobStatus>,
    circuit: Option<CircuitId>,
    limit: Option<u32>,
    after: Option<i64>,
    /// Whose, as [`Caller::owner`] has it; the caller's own where nobody is named.
    owner: Option<String>,
    /// Of this container, behind an edge with several that each keep their own.
    container: Option<u16>,
}

/// `GET /v1/proofs`: the caller's jobs, or for operators those of whom they name, the latest first, a page at a time.
pub async fn list(
    State(app): State<AppState>,
    caller: Caller,
    parts: Parts,
    filter: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    app.access.count(&caller)?;
    let workshop = app.workshop()?;
    let Query(filter) = filter.map_err(|_| {
        let detail = "the query may hold status, circuit, limit (1 to 100), after, as the last page's `next` has it, \
                      owner, for operators, and container, behind an edge";
        ApiError::new(ProblemType::InvalidRequest, detail)
    })?;
    let limit = filter.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::new(ProblemType::InvalidRequest, format!("limit is 1 to {PAGE_MAX}")));
    }
    if let Some(number) = filter.container.filter(|number| workshop.home != Some(*number)) {
        let detail = format!("no jobs here are those of container {number} alone: leave `container` out");
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    }
    let listing = Listing {
        owner: match &filter.owner {
            Some(owner) => whose(&app, &caller, owner, &parts)?,
            None => caller.owner(),
        },
        status: filter.status,
        subject: filter.circuit.as_ref().map(ToString::to_string),
        before: filter.after,
        // One more than is shown tells whether there is another page.
        limit: limit + 1,
    };
    let mut jobs = workshop.queue.list(&listing).await?;
    let more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    let next = jobs.last().filter(|_| more).map(|last| {
        let mut next = format!("/v1/proofs?limit={limit}&after={}", last.seq);
        // Writing to a string cannot fail.
        if let Some(status) = filter.status {
            let _ = write!(next, "&status={status}");
        }
        if let Some(circuit) = &filter.circuit {
            let _ = write!(next, "&circuit={circuit}");
        }
        if filter.owner.is_some() {
            let _ = write!(next, "&owner={}", listing.owner);
        }
        if let Some(number) = filter.container {
            let _ = write!(next, "&container={number}");
        }
        next
    });
    let waiting: HashSet<JobId> =
        jobs.iter().filter(|job| job.status == JobStatus::Queued).map(|job| job.id).collect();
    // One look at the queue serves the whole page.
    let order = if waiting.is_empty() { Vec::new() } else { workshop.queue.order(u32::MAX).await? };
    let places: HashMap<JobId, QueuePosition> = queue_position::positions(&order, |id| waiting.contains(&id))
        .map(|(job, place)| (job.id, place))
        .collect();
    let now = document::now();
    let shown = |job| document::of(job, places.get(&job.id), &workshop.estimator, now);
    let jobs = jobs.iter().filter_map(shown).collect();
    Ok(no_store(Json(JobPage { jobs, next }).into_response()))
}

/// A job that the caller may see.
pub async fn own(app: &Shared, caller: &Caller, id: JobId) -> Result<Job, ApiError> {
    app.access.count(caller)?;
    let job = app.workshop()?.queue.get(id).await?;
    job.filter(|job| caller.may_see(&job.owner)).ok_or_else(ApiError::no_such_job)
}

/// A job as it is now.
async fn look(workshop: &JobContext, id: JobId) -> Result<JobDocument, ApiError> {
    workshop.hub.look(id).await?.ok_or_else(ApiError::no_such_job)
}

/// The same of one that was read just now.
async fn described(workshop: &JobContext, job: &Job) -> Result<JobDocument, ApiError> {
    workshop.hub.describe(job).await?.ok_or_else(ApiError::no_such_job)
}

/// What came of a job, as an answer.
async fn result(
    workshop: &JobContext,
    job: &Job,
    caller: &Caller,
    request_id: &str,
    format: AnswerFormat,
) -> Result<Response, ApiError> {
    match job.status {
        JobStatus::Queued | JobStatus::Running => {
            let document = described(workshop, job).await?;
            let wait = document.estimated_remaining_ms.map_or(LOOK_AGAIN, Duration::from_millis);
            Err(ApiError::new(ProblemType::ProofNotReady, format!("the job is {}", job.status)).after(wait))
        }
        JobStatus::Completed => {
            let made = made(workshop, job).await?;
            workshop.recorder.fetched(job, caller.actor(), request_id.to_owned()).await?;
            Ok(proof_response(&made, format))
        }
        JobStatus::Failed => {
            let problem: Option<Problem> = job.outcome.as_deref().and_then(problem);
            let known = problem.and_then(|problem| Some((problem.code.known()?, problem)));
            Err(match known {
                Some((kind, problem)) => {
                    let mut error = ApiError::new(kind, problem.detail);
                    error.fallback_circuit = problem.fallback_circuit;
                    error
                }
                None => ApiError::new(ProblemType::WorkerLost, "the job's workers died"),
            })
        }
        JobStatus::Cancelled => Err(ApiError::new(ProblemType::JobCancelled, "the job was called off")),
        JobStatus::Expired => Err(ApiError::expired()),
    }
}

async fn made(workshop: &JobContext, job: &Job) -> Result<ProofResponse, ApiError> {
    let lacks = || ApiError::new(ProblemType::ArtifactUnavailable, "the proof is no longer there");
    let name = job.result.as_deref().and_then(|name| name.parse().ok()).ok_or_else(lacks)?;
    let (outcome, payload) = (Outcome::of(job).ok_or_else(lacks)?, Payload::of(job).ok_or_else(lacks)?);
    let proof = workshop.artifacts.read(&name, ArtifactKind::Proof, PROOF_MAX_BYTES).await?;
    let (proved, fallback_from) = match outcome.fallback {
        Some(smaller) => (smaller, Some(payload.first.circuit)),
        None => (payload.first, None),
    };
    Ok(ProofResponse {
        proof,
        public_inputs: outcome.public_inputs,
        circuit: proved.circuit,
        target: proved.target,
        vk_hash: outcome.vk_hash,
        verified: outcome.verified,
        cached: outcome.cached,
        fallback_from,
        timings: outcome.timings,
        request_id: payload.request_id,
    })
}

fn with_retry_after(mut response: Response, document: &JobDocument) -> Response {
    if !document.status.is_finished() {
        let wait_ms = document.estimated_remaining_ms.unwrap_or(1000);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1000).max(1)));
    }
    response
}

fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
