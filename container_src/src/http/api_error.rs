//! The one place where failures become problems and statuses.
//!
//! Every error of the crates below states its problem type ([`HasProblemType`]) and converts by one generic conversion. The
//! caller gets the problem's detail; where that could name the server's files or databases, it gets a fixed text instead.
//! The chain of causes is logged once, in [`super::request_log`], which also knows the request's id.

use std::{error::Error, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use edgeprove_job_rules::prediction::Estimate;
use edgeprove_protocol::{CircuitId, HasProblemType, Problem, ProblemType, problem::Severity};
use http::{HeaderValue, StatusCode, header};

/// A failure on its way to the caller.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The problem type.
    pub kind: ProblemType,
    /// What was wrong, for the caller.
    pub detail: String,
    /// The chain of causes, for the log.
    pub cause: Option<Arc<str>>,
    /// When a retry makes sense.
    pub retry_after: Option<Duration>,
    /// The next smaller circuit of the family, where that may succeed.
    pub fallback_circuit: Option<CircuitId>,
    /// The path of the input that is wrong.
    pub field: Option<String>,
    /// The stored problem of a job, which is passed on: a server of a newer version may have written it, with a code that
    /// this one does not know.
    pub stored: Option<Arc<Problem>>,
}

impl ApiError {
    /// A failure with a complete detail and no cause.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        let retry_after = kind.retry_after();
        let detail = detail.into();
        Self { kind, detail, cause: None, retry_after, fallback_circuit: None, field: None, stored: None }
    }

    /// The caller has no job with this id.
    #[must_use]
    pub fn no_such_job() -> Self {
        Self::new(ProblemType::JobNotFound, "no job with this id for this API key")
    }

    /// The job has expired.
    #[must_use]
    pub fn expired() -> Self {
        Self::new(ProblemType::JobExpired, "the job has expired: its proof was deleted")
    }

    /// The audit log cannot be written, so nothing is done.
    #[must_use]
    pub fn audit_unavailable() -> Self {
        let kind = ProblemType::AuditUnavailable;
        Self::new(kind, kind.hidden_detail().unwrap_or_else(|| kind.title()))
    }

    /// Fails if a proof surely takes longer than the caller allows it with this header; `None`: nothing is known of such
    /// proofs.
    pub fn check_in_time(estimate: Option<Estimate>, header: &str, limit: Duration) -> Result<(), Self> {
        let Some(estimate) = estimate.filter(|estimate| estimate.exceeds(limit)) else { return Ok(()) };
        let detail = format!(
            "the proof would take at least {:.1} s and probably {:.1} s; {header} allows {} s",
            estimate.low.as_secs_f64(),
            estimate.expected.as_secs_f64(),
            limit.as_secs_f64()
        );
        let later = estimate.expected.saturating_sub(limit).max(Duration::from_secs(1));
        Err(Self::new(ProblemType::DeadlineCannotBeMet, detail).after(later))
    }

    /// The stored problem of a job that has failed. The same request always gets it again, so it is not retryable, also
    /// where another job might succeed.
    #[must_use]
    pub fn stored(mut problem: Problem) -> Self {
        problem.retryable = false;
        let kind = problem.code.known().unwrap_or(ProblemType::Internal);
        let mut error = Self::new(kind, problem.detail.clone());
        error.retry_after = None;
        error.stored = Some(Arc::new(problem));
        error
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        let status = self.stored.as_ref().map_or_else(|| self.kind.status(), |problem| problem.status);
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The problem document for the request with this id.
    #[must_use]
    pub fn problem(&self, request_id: &str) -> Problem {
        let mut problem = match &self.stored {
            Some(problem) => (**problem).clone(),
            None => Problem::new(self.kind, self.detail.clone(), None),
        };
        problem.request_id = Some(request_id.to_owned());
        if problem.fallback_circuit.is_none() {
            problem.fallback_circuit.clone_from(&self.fallback_circuit);
        }
        if problem.field.is_none() {
            problem.field.clone_from(&self.field);
        }
        problem
    }

    /// The value of `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after_header(&self) -> Option<HeaderValue> {
        // Rounded up: a retry that comes too early only makes the queue longer.
        self.retry_after.map(|wait| HeaderValue::from((wait + Duration::from_millis(999)).as_secs().max(1)))
    }

    /// Sets when a retry makes sense.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Sets the next smaller circuit of the family.
    #[must_use]
    pub fn falling_back_to(mut self, circuit: Option<CircuitId>) -> Self {
        self.fallback_circuit = circuit;
        self
    }
}

/// The one conversion of errors.
impl<E: HasProblemType> From<E> for ApiError {
    fn from(error: E) -> Self {
        let kind = error.kind();
        let (hidden, detail) = (kind.hidden_detail(), error.public_detail());
        // A refusal is no failure of the service, and a complete detail needs no cause.
        let has_cause = hidden.is_some() || error.source().is_some();
        let cause = (kind.severity() >= Severity::Error && has_cause)
            .then(|| edgeprove_telemetry::chain(&error as &dyn Error).into());
        let retry_after = error.retry_after().or_else(|| kind.retry_after());
        let fallback_circuit = error.fallback_circuit().cloned();
        let field = error.field().map(str::to_owned);
        Self { kind, detail, cause, retry_after, fallback_circuit, field, stored: None }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some(seconds) = self.retry_after_header() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if self.kind == ProblemType::ApiKeyRequired {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
