//! `GET /v1/proofs`: a page of the caller's jobs, the latest first.

use std::fmt::Write as _;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use edgeprove_job_queue::Listing;
use edgeprove_protocol::{CircuitId, JobStatus, ProblemType, job::JobPage};
use http::request::Parts;
use serde::Deserialize;

use crate::{
    access::Caller,
    http::{api_error::ApiError, caller::owner_filter, job_response::no_store, state::AppState},
    jobs::{document::document, job_kinds::proof_payload::KIND},
};

/// Maximum number of jobs on a page.
const PAGE_MAX: u32 = 100;
/// Number of jobs on a page by default.
const PAGE: u32 = 20;

/// Maximum length of a quoted value.
const QUOTED_MAX: usize = 40;

/// The query: which jobs are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    status: Option<String>,
    circuit: Option<CircuitId>,
    limit: Option<u32>,
    /// The position where the page starts: `next` of the previous page has it.
    after: Option<i64>,
    /// Whose jobs, as [`Caller::owner`] writes it. Default: the caller's own.
    owner: Option<String>,
    /// Behind an edge whose containers keep their own jobs: the number of this container.
    container: Option<u16>,
}

/// 1. The caller has a key and is within its rate (401, 429). Callers without a key share one owner, and must not find
///    each other's jobs.
/// 2. The query is valid (400); the jobs of others are for operators only (403).
/// 3. 200 with the page, and the path of the next one.
pub async fn list_jobs(
    State(app): State<AppState>,
    caller: Caller,
    parts: Parts,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, ApiError> {
    app.access.count(&caller)?;
    if caller.name().is_none() && caller.may_operate().is_err() {
        let detail = "jobs are listed for the API key that they were submitted with; a job without a key is read by \
                      its id";
        return Err(ApiError::new(ProblemType::ApiKeyRequired, detail));
    }
    let jobs = app.jobs()?;
    let Query(filter) = filter.map_err(|_| {
        let detail = "the query allows status, circuit, limit (1 to 100), after (from `next` of the previous page), \
                      owner (for operators) and container (behind an edge)";
        ApiError::new(ProblemType::InvalidRequest, detail)
    })?;
    let status = filter.status.as_deref().map(status).transpose()?;
    let limit = filter.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::new(ProblemType::InvalidRequest, format!("`limit` must be 1 to {PAGE_MAX}")));
    }
    if let Some(number) = filter.container.filter(|number| jobs.store.instance_number != Some(*number)) {
        let detail = format!("this server does not keep the jobs of container {number}: omit `container`");
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    }
    let listing = Listing {
        owner: match &filter.owner {
            Some(owner) => owner_filter(&app, &caller, owner, &parts)?,
            None => caller.owner(),
        },
        kind: Some(KIND),
        status,
        subject: filter.circuit.as_ref().map(ToString::to_string),
        before: filter.after,
        // One more than the page shows: if it exists, there is another page.
        limit: limit + 1,
    };
    let mut page = jobs.store.queue.list(&listing).await?;
    let has_next = page.len() > limit as usize;
    page.truncate(limit as usize);
    let next = page.last().filter(|_| has_next).map(|last| filter.next_page(limit, last.seq));
    let views = jobs.views().views(page).await?;
    let jobs = views.iter().map(document).collect::<Result<_, _>>()?;
    Ok(no_store(Json(JobPage { jobs, next }).into_response()))
}

fn status(text: &str) -> Result<JobStatus, ApiError> {
    text.parse().map_err(|_| {
        let known = JobStatus::ALL.map(JobStatus::as_str).join(", ");
        let shown: String = text.chars().filter(|c| !c.is_control()).take(QUOTED_MAX).collect();
        ApiError::new(ProblemType::InvalidRequest, format!("`status` must be one of {known} (got `{shown}`)"))
    })
}

impl Filter {
    fn next_page(&self, limit: u32, last: i64) -> String {
        let mut path = format!("/v1/proofs?limit={limit}&after={last}");
        // Writing to a `String` cannot fail.
        if let Some(status) = &self.status {
            let _ = write!(path, "&status={status}");
        }
        if let Some(circuit) = &self.circuit {
            let _ = write!(path, "&circuit={circuit}");
        }
        if let Some(owner) = &self.owner {
            let _ = write!(path, "&owner={owner}");
        }
        if let Some(number) = self.container {
            let _ = write!(path, "&container={number}");
        }
        path
    }
}
