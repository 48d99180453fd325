//! `POST /v1/board/cancel` and `POST /v1/board/retry`: change a batch of the jobs that a filter selects. A client continues with
//! the path in `next` until there is none, and shows its progress meanwhile.

use std::time::{Duration, Instant};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use edgeprove_job_queue::Listing;
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{HasProblemType as _, JobStatus, board::BatchResult};
use http::request::Parts;

use crate::{
    http::{
        api_error::ApiError,
        caller::Operator,
        job_filter::{ALLOWED, JobFilter, PageSize, invalid},
        job_response::no_store,
        request_id::request_id_of,
        state::AppState,
    },
    jobs::{
        Jobs,
        changes::{ChangeError, ChangedBy},
        job_kinds::proof_payload::KIND,
    },
};

const SIZE: PageSize = PageSize { default: 50, max: 100 };
/// A batch ends after this time, long before the time limit of a request.
const TIME_MAX: Duration = Duration::from_secs(10);

/// What is done to the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Cancel,
    Retry,
}

impl Change {
    fn path(self) -> &'static str {
        match self {
            Self::Cancel => "/v1/board/cancel",
            Self::Retry => "/v1/board/retry",
        }
    }

    /// The statuses of the jobs to which it can be done.
    fn statuses(self) -> &'static [JobStatus] {
        match self {
            Self::Cancel => &[JobStatus::Queued, JobStatus::Running],
            Self::Retry => &[JobStatus::Failed],
        }
    }

    async fn apply(self, jobs: &Jobs, job: Job, by: ChangedBy) -> Result<(), ChangeError> {
        match self {
            Self::Cancel => jobs.cancel(&job, by).await.map(drop),
            Self::Retry => jobs.requeue(job, by).await,
        }
    }
}

/// As [`change`].
pub async fn cancel(
    app: State<AppState>,
    operator: Operator,
    parts: Parts,
    filter: Result<Query<JobFilter>, QueryRejection>,
) -> Result<Response, ApiError> {
    change(app, operator, parts, filter, Change::Cancel).await
}

/// As [`change`].
pub async fn retry(
    app: State<AppState>,
    operator: Operator,
    parts: Parts,
    filter: Result<Query<JobFilter>, QueryRejection>,
) -> Result<Response, ApiError> {
    change(app, operator, parts, filter, Change::Retry).await
}

/// 1. Operators only (401, 403, 429).
/// 2. The query is valid, and selects proofs to which this can be done (400).
/// 3. Each job is changed as by a request of its own, in the audit log too. A fault of the server ends the batch (503), or is
///    counted where jobs were changed before.
/// 4. 200 with the numbers, and the path of the next batch.
async fn change(
    State(app): State<AppState>,
    Operator(operator): Operator,
    parts: Parts,
    filter: Result<Query<JobFilter>, QueryRejection>,
    change: Change,
) -> Result<Response, ApiError> {
    let jobs = app.jobs()?;
    let Query(filter) = filter.map_err(|_| invalid(ALLOWED))?;
    let mut listing = filter.listing(&app, jobs, &operator, &parts, SIZE)?;
    restrict(&mut listing, change)?;
    let queue = &jobs.store.queue;
    let mut result = BatchResult::default();
    if !filter.is_continued() {
        result.total = Some(queue.count_listed(&listing).await?);
    }
    let page = queue.list(&listing).await?;
    let is_full = page.len() >= listing.limit as usize;
    let (started, request_id) = (Instant::now(), request_id_of(&parts.headers));
    let (mut last, mut is_cut) = (None, false);
    for job in page {
        let seq = job.seq;
        let by = ChangedBy { caller: operator.clone(), request_id: request_id.clone() };
        match change.apply(jobs, job, by).await {
            Ok(()) => result.changed += 1,
            Err(error) if error.kind().status() >= 500 && last.is_none() => return Err(error.into()),
            Err(error) => {
                let kind = error.kind();
                *result.refused.entry(kind.code().to_owned()).or_default() += 1;
                is_cut = kind.status() >= 500;
            }
        }
        last = Some(seq);
        is_cut |= started.elapsed() > TIME_MAX;
        if is_cut {
            break;
        }
    }
    if is_full || is_cut {
        result.next = last.map(|last| filter.next_page(change.path(), listing.limit, last));
    }
    Ok(no_store(Json(result).into_response()))
}

/// Leaves only jobs to which this can be done.
fn restrict(listing: &mut Listing, change: Change) -> Result<(), ApiError> {
    if listing.kind.as_deref() != Some(KIND) {
        return Err(invalid(format!("`kind` must be {KIND}: jobs of other kinds are not changed here")));
    }
    let possible = change.statuses();
    if listing.statuses.is_empty() {
        listing.statuses = possible.to_vec();
    }
    listing.statuses.retain(|status| possible.contains(status));
    if listing.statuses.is_empty() {
        let possible: Vec<_> = possible.iter().map(|status| status.as_str()).collect();
        return Err(invalid(format!("`status` must have one of {}", possible.join(", "))));
    }
    Ok(())
}
