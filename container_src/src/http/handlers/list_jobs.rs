//! `GET /v1/proofs`: a page of jobs: the caller's, or for operators and observers those of all.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{JobDocument, ProblemType, job::JobPage};
use http::request::Parts;

use crate::{
    access::Caller,
    http::{
        api_error::ApiError,
        job_filter::{ALLOWED, JobFilter, PageSize, invalid},
        job_response::no_store,
        state::AppState,
    },
    jobs::document::{document, for_observers},
};

const SIZE: PageSize = PageSize { default: 20, max: 100 };

/// 1. The caller has a key and is within its rate (401, 429). Callers without a key share one owner, and must not find
///    each other's jobs.
/// 2. The query is valid (400); the jobs of others are for operators and observers only (403).
/// 3. 200 with the page, and the path of the next one.
pub async fn list_jobs(
    State(app): State<AppState>,
    caller: Caller,
    parts: Parts,
    filter: Result<Query<JobFilter>, QueryRejection>,
) -> Result<Response, ApiError> {
    app.access.count(&caller)?;
    if caller.name().is_none() && caller.may_observe().is_err() {
        let detail = "jobs are listed for the API key that they were submitted with; a job without a key is read by \
                      its id";
        return Err(ApiError::new(ProblemType::ApiKeyRequired, detail));
    }
    let jobs = app.jobs()?;
    let Query(filter) = filter.map_err(|_| invalid(ALLOWED))?;
    let mut listing = filter.listing(&app, jobs, &caller, &parts, SIZE)?;
    let limit = listing.limit;
    // One more than the page shows: if it exists, there is another page.
    listing.limit += 1;
    let queue = &jobs.store.queue;
    let mut page = queue.list(&listing).await?;
    let total = if filter.wants_total() { Some(queue.count_listed(&listing).await?) } else { None };
    let has_next = page.len() > limit as usize;
    page.truncate(limit as usize);
    let next = page.last().filter(|_| has_next).map(|last| filter.next_page("/v1/proofs", limit, last.seq));
    // Whoever looks at the jobs of all callers does so often, and positions need the whole queue.
    let views = match listing.owner {
        Some(_) => jobs.views().views(page).await?,
        None => jobs.views().without_positions(page),
    };
    let (observes, now) = (caller.may_observe().is_ok(), queue.approximate_now());
    let shown = views.iter().map(|view| {
        let document = document(view)?;
        let retention = queue.rules().retention;
        Ok(if observes { for_observers(document, &view.job, now, retention) } else { document })
    });
    let jobs = shown.collect::<Result<Vec<JobDocument>, ApiError>>()?;
    Ok(no_store(Json(JobPage { jobs, next, total }).into_response()))
}
