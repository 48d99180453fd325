//! The filter of jobs in a query: which jobs are listed, cancelled or queued again. A page can put it into its own URL.

use std::{fmt::Write as _, time::Duration};

use edgeprove_job_queue::{IdPrefix, ListOrder, Listing};
use edgeprove_protocol::{CircuitId, JobStatus, Priority, ProblemType};
use http::request::Parts;
use serde::Deserialize;

use super::{
    api_error::ApiError,
    caller::{observes, owner_filter},
    state::Shared,
};
use crate::{
    access::Caller,
    jobs::{Jobs, job_kinds::proof_payload::KIND},
};

/// Maximum length of a quoted value.
const QUOTED_MAX: usize = 40;
/// The owner or kind that selects all.
const ALL: &str = "all";
/// The longest age: a year.
const AGE_MAX_S: u64 = 366 * 24 * 3600;

/// What the query allows, for an error message.
pub const ALLOWED: &str = "the query allows status (one or several with commas), circuit, id (how it begins), min_age and \
                           max_age (seconds), problem, priority, order (latest or oldest), limit, after (from `next` of the \
                           previous page), total (true), owner and kind (others and all for operators and observers) and \
                           container (behind an edge)";

/// The query.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFilter {
    status: Option<String>,
    circuit: Option<CircuitId>,
    id: Option<String>,
    min_age: Option<u64>,
    max_age: Option<u64>,
    problem: Option<String>,
    priority: Option<String>,
    order: Option<String>,
    limit: Option<u32>,
    /// The position where the page starts: `next` of the previous page has it.
    after: Option<i64>,
    /// Whether the number of jobs on all pages is wanted.
    total: Option<bool>,
    /// Whose jobs, as [`Caller::owner`] writes it, or all. Default: the caller's own.
    owner: Option<String>,
    /// The kind, or all. Default: proofs.
    kind: Option<String>,
    /// Behind an edge whose containers keep their own jobs: the number of this container.
    container: Option<u16>,
}

/// The number of jobs on a page.
#[derive(Debug, Clone, Copy)]
pub struct PageSize {
    /// By default.
    pub default: u32,
    /// At most.
    pub max: u32,
}

impl JobFilter {
    /// The jobs that this caller selects, and the page. Fails where a value is invalid (400), or selects jobs that the caller
    /// may not see (403).
    pub fn listing(
        &self,
        app: &Shared,
        jobs: &Jobs,
        caller: &Caller,
        parts: &Parts,
        size: PageSize,
    ) -> Result<Listing, ApiError> {
        let limit = self.limit.unwrap_or(size.default);
        if !(1..=size.max).contains(&limit) {
            return Err(invalid(format!("`limit` must be 1 to {}", size.max)));
        }
        if let Some(number) = self.container.filter(|number| jobs.store.instance_number != Some(*number)) {
            let detail =
                format!("this server does not keep the jobs of container {number}: omit `container`");
            return Err(invalid(detail));
        }
        let owner = match self.owner.as_deref() {
            Some(ALL) => {
                observes(app, caller, parts)?;
                None
            }
            Some(owner) => Some(owner_filter(app, caller, owner, parts)?),
            None => Some(caller.owner()),
        };
        let kind = match self.kind.as_deref() {
            None | Some(KIND) => Some(KIND.to_owned()),
            Some(kind) => {
                let known: Vec<_> = jobs.gauges.kinds.iter().map(|kind| kind.name()).collect();
                if kind != ALL && !known.contains(&kind) {
                    return Err(invalid(format!("`kind` must be one of {}, {ALL}", known.join(", "))));
                }
                observes(app, caller, parts)?;
                (kind != ALL).then(|| kind.to_owned())
            }
        };
        Ok(Listing {
            owner,
            kind,
            statuses: self.statuses()?,
            subject: self.circuit.as_ref().map(ToString::to_string),
            id_prefix: self.id_prefix()?,
            min_age: age("min_age", self.min_age)?,
            max_age: age("max_age", self.max_age)?,
            problem: self.problem()?,
            priority: self.priority()?,
            order: self.order()?,
            after: self.after,
            limit,
        })
    }

    /// Whether the number of jobs on all pages is wanted.
    #[must_use]
    pub fn wants_total(&self) -> bool {
        self.total.unwrap_or(false)
    }

    /// Whether this is not the first page.
    #[must_use]
    pub fn is_continued(&self) -> bool {
        self.after.is_some()
    }

    fn statuses(&self) -> Result<Vec<JobStatus>, ApiError> {
        let Some(text) = &self.status else { return Ok(Vec::new()) };
        let known = || JobStatus::ALL.map(JobStatus::as_str).join(", ");
        let status = |text: &str| {
            let detail = || format!("`status` must be one of {} (got `{}`)", known(), quoted(text));
            text.parse().map_err(|_| invalid(detail()))
        };
        // As many as there are, so that the length of the query is bounded by what it can mean.
        if text.split(',').count() > JobStatus::ALL.len() {
            return Err(invalid(format!("`status` must have each of {} at most once", known())));
        }
        text.split(',').map(status).collect()
    }

    fn id_prefix(&self) -> Result<Option<IdPrefix>, ApiError> {
        let prefix = |text: &String| {
            text.parse::<IdPrefix>()
                .map_err(|error| invalid(format!("`id`: {error} (got `{}`)", quoted(text))))
        };
        self.id.as_ref().map(prefix).transpose()
    }

    fn problem(&self) -> Result<Option<ProblemType>, ApiError> {
        let problem = |text: &String| {
            let detail = || format!("`problem` must be the code of a problem (got `{}`)", quoted(text));
            ProblemType::from_code(text).ok_or_else(|| invalid(detail()))
        };
        self.problem.as_ref().map(problem).transpose()
    }

    fn priority(&self) -> Result<Option<Priority>, ApiError> {
        let priority = |text: &String| {
            text.parse::<Priority>().map_err(|error| invalid(format!("in `priority`: {error}")))
        };
        self.priority.as_ref().map(priority).transpose()
    }

    fn order(&self) -> Result<ListOrder, ApiError> {
        match self.order.as_deref() {
            None | Some("latest") => Ok(ListOrder::Latest),
            Some("oldest") => Ok(ListOrder::Oldest),
            Some(text) => Err(invalid(format!("`order` must be latest or oldest (got `{}`)", quoted(text)))),
        }
    }

    /// The path of the page after this job. Every value was parsed before, so that none needs an escape.
    #[must_use]
    pub fn next_page(&self, path: &str, limit: u32, last: i64) -> String {
        let mut path = format!("{path}?limit={limit}&after={last}");
        let circuit = self.circuit.as_ref().map(ToString::to_string);
        let (min_age, max_age) = (self.min_age.map(|s| s.to_string()), self.max_age.map(|s| s.to_string()));
        let container = self.container.map(|number| number.to_string());
        for (name, value) in [
            ("status", &self.status),
            ("circuit", &circuit),
            ("id", &self.id),
            ("min_age", &min_age),
            ("max_age", &max_age),
            ("problem", &self.problem),
            ("priority", &self.priority),
            ("order", &self.order),
            ("owner", &self.owner),
            ("kind", &self.kind),
            ("container", &container),
        ] {
            if let Some(value) = value {
                // Writing to a `String` cannot fail.
                let _ = write!(path, "&{name}={value}");
            }
        }
        path
    }
}

fn age(name: &str, seconds: Option<u64>) -> Result<Option<Duration>, ApiError> {
    if seconds.is_some_and(|seconds| seconds > AGE_MAX_S) {
        return Err(invalid(format!("`{name}` must be at most {AGE_MAX_S} seconds")));
    }
    Ok(seconds.map(Duration::from_secs))
}

fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(QUOTED_MAX).collect()
}

/// The query is invalid.
#[must_use]
pub fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::new(ProblemType::InvalidRequest, detail)
}
