//! The one place where failures become problems and statuses.
//!
//! A handler's error carries the problem for the caller and the cause for the log. The cause chain is logged once, in
//! [`super::middleware::finish`], which also knows the request's id; a 5xx tells the caller nothing of the cause.

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use edgeprove_job_rules::{bounds::Full, prediction::Estimate};
use edgeprove_protocol::{CircuitId, HasProblemType as _, ProblemType};
use http::{HeaderValue, StatusCode, header};

use crate::{
    access::{Denied, Excess, Forbidden},
    jobs::{JobsDisabled, submission::SubmissionError},
};
use edgeprove_artifacts::ArtifactError;
use edgeprove_audit::AuditError;
use edgeprove_engine::{
    circuits::{Registry, registry::LookupError},
    proving::ProvingError,
    scheduler::AdmissionError,
    witness::{CheckError, intake::IntakeError, stack::StackError},
};
use edgeprove_job_queue::queue::{QueueError, SubmitError};
use edgeprove_spool::SpoolError;

/// A failure on its way out.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// What kind of problem it is.
    pub kind: ProblemType,
    /// What was wrong this time, for the caller.
    pub detail: String,
    /// The chain of causes, for the log.
    pub cause: Option<Arc<str>>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// The next smaller circuit, where that may do.
    pub fallback_circuit: Option<CircuitId>,
}

impl ApiError {
    /// A failure whose cause is its detail.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), cause: None, retry_after: None, fallback_circuit: None }
    }

    /// The service cannot take work now.
    #[must_use]
    pub fn not_ready(why: &str) -> Self {
        Self::new(ProblemType::NotReady, why).after(Duration::from_secs(1))
    }

    /// The caller has no job of that name.
    #[must_use]
    pub fn no_such_job() -> Self {
        Self::new(ProblemType::JobNotFound, "there is no such proof of yours")
    }

    /// Nothing is kept of the job but that it was.
    #[must_use]
    pub fn expired() -> Self {
        Self::new(ProblemType::JobExpired, "the proof was kept for its time and is gone")
    }

    /// Nothing can be put on record now, and so nothing is done.
    #[must_use]
    pub fn audit_unavailable() -> Self {
        let detail =
            "the server cannot write its audit log at the moment, and does nothing that is not in it";
        Self::new(ProblemType::AuditUnavailable, detail).after(Duration::from_secs(5))
    }

    /// The proof would come too late for its caller.
    #[must_use]
    pub fn too_late(estimate: Estimate, deadline: Duration) -> Self {
        let detail = format!(
            "it would take {:.1} s at least, and probably {:.1} s; the caller gives it {:.1} s",
            estimate.low.as_secs_f64(),
            estimate.expected.as_secs_f64(),
            deadline.as_secs_f64()
        );
        let later = estimate.expected.saturating_sub(deadline).max(Duration::from_secs(1));
        Self::new(ProblemType::DeadlineCannotBeMet, detail).after(later)
    }

    fn because(mut self, error: &dyn std::error::Error) -> Self {
        self.cause = Some(edgeprove_telemetry::chain(error).into());
        self
    }

    /// Adds the next smaller circuit of the family of the one that failed, where that may do.
    #[must_use]
    pub fn falling_back(mut self, circuits: &Registry, tried: &CircuitId) -> Self {
        self.fallback_circuit = circuits.fallback(tried, self.kind).cloned();
        self
    }

    /// Adds when trying again makes sense.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if let Some(wait) = self.retry_after {
            // Rounded up: coming back too early only makes the queue longer.
            response.headers_mut().insert(
                header::RETRY_AFTER,
                HeaderValue::from((wait + Duration::from_millis(999)).as_secs()),
            );
        }
        if self.kind == ProblemType::ApiKeyRequired {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Denied> for ApiError {
    fn from(error: Denied) -> Self {
        Self::new(ProblemType::ApiKeyRequired, error.to_string())
    }
}

impl From<Forbidden> for ApiError {
    fn from(error: Forbidden) -> Self {
        Self::new(ProblemType::NotAllowed, error.to_string())
    }
}

impl From<Excess> for ApiError {
    fn from(error: Excess) -> Self {
        let detail = error.to_string();
        match error {
            Excess::Rate { retry_after, .. } => {
                Self::new(ProblemType::RateLimited, detail).after(retry_after)
            }
            Excess::Unfinished { .. } => {
                Self::new(ProblemType::RateLimited, detail).after(Duration::from_secs(1))
            }
            Excess::Quota { retry_after, .. } => {
                Self::new(ProblemType::QuotaExceeded, detail).after(retry_after)
            }
        }
    }
}

/// The error names files of the server, which are none of the caller's business.
impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        Self::audit_unavailable().because(&error)
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let detail = error.to_string();
        match error {
            LookupError::Unknown { .. } => Self::new(ProblemType::CircuitNotFound, detail),
            LookupError::Unnamed { .. } => Self::new(ProblemType::InvalidRequest, detail),
            LookupError::Loading { .. } => Self::not_ready(&detail),
            LookupError::Failed { .. } => Self::new(ProblemType::CircuitUnavailable, detail),
        }
    }
}

impl From<AdmissionError> for ApiError {
    fn from(error: AdmissionError) -> Self {
        let detail = error.to_string();
        match error {
            AdmissionError::QueueFull { retry_after, .. }
            | AdmissionError::WaitedTooLong { retry_after, .. } => {
                Self::new(ProblemType::ProverBusy, detail).after(retry_after)
            }
            AdmissionError::BeyondMemory { .. } => Self::new(ProblemType::CircuitUnavailable, detail),
        }
    }
}

impl From<ProvingError> for ApiError {
    fn from(error: ProvingError) -> Self {
        let told = Self::new(error.kind(), error.to_string());
        match &error {
            ProvingError::Admission(admission) => admission.clone().into(),
            ProvingError::Unsatisfied { .. } | ProvingError::Timeout { .. } | ProvingError::Invalid => told,
            ProvingError::Key(_) | ProvingError::Failed(_) | ProvingError::Crashed(_) => told.because(&error),
            ProvingError::Unavailable(_) => told.because(&error).after(Duration::from_secs(5)),
            ProvingError::Spool(_) => spool_failed(&error),
            ProvingError::Stopping => Self::not_ready(&error.to_string()),
        }
    }
}

impl From<JobsDisabled> for ApiError {
    fn from(error: JobsDisabled) -> Self {
        Self::new(ProblemType::JobsDisabled, error.to_string())
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        let told = "the job store cannot be reached at the moment; nothing was lost";
        Self::new(ProblemType::JobStoreUnavailable, told).because(&error).after(Duration::from_secs(2))
    }
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        let told = "witnesses and proofs that are kept cannot be reached at the moment";
        Self::new(ProblemType::ArtifactUnavailable, told).because(&error).after(Duration::from_secs(5))
    }
}

impl From<SubmissionError> for ApiError {
    fn from(error: SubmissionError) -> Self {
        match error {
            SubmissionError::Queue(SubmitError::Full(full)) => match full {
                Full::Queue { .. } => Self::new(ProblemType::QueueFull, full.to_string()),
                Full::Owner { .. } => Self::new(ProblemType::TooManyJobs, full.to_string()),
            }
            .after(Duration::from_secs(2)),
            SubmissionError::Queue(SubmitError::KeyConflict) => Self::new(
                ProblemType::IdempotencyKeyReused,
                "use another Idempotency-Key, or send the same request",
            ),
            SubmissionError::Queue(SubmitError::Queue(error)) => error.into(),
            SubmissionError::Artifact(error) => error.into(),
            SubmissionError::Audit(error) => error.into(),
            SubmissionError::Spool(_) => spool_failed(&error),
            SubmissionError::Home(_) => {
                Self::new(ProblemType::Internal, "the job could not be named").because(&error)
            }
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        let detail = error.to_string();
        let kind = match error {
            IntakeError::Empty => ProblemType::WitnessEmpty,
            IntakeError::TooLarge { .. } => ProblemType::WitnessTooLarge,
            IntakeError::NotGzip { .. } => ProblemType::WitnessNotGzip,
            // A body that breaks off while the client still listens was cut short by something in between.
            IntakeError::Truncated { .. } | IntakeError::BodyFailed { .. } => ProblemType::WitnessTruncated,
            IntakeError::Corrupt { .. } | IntakeError::BytesAfterEnd { .. } => ProblemType::WitnessCorrupt,
            IntakeError::BeyondCircuit { witness: true, .. } => ProblemType::WitnessOfAnotherCircuit,
            IntakeError::BeyondCircuit { witness: false, .. }
            | IntakeError::BeyondCap { .. }
            | IntakeError::BeyondRatio { .. } => ProblemType::WitnessTooLargeDecompressed,
            IntakeError::Stalled { .. } => ProblemType::UploadStalled,
            IntakeError::Spool(error) => return error.into(),
        };
        Self::new(kind, detail)
    }
}

impl From<SpoolError> for ApiError {
    fn from(error: SpoolError) -> Self {
        spool_failed(&error)
    }
}

/// The error names folders of the server, which are none of the caller's business.
fn spool_failed(error: &dyn std::error::Error) -> ApiError {
    ApiError::new(ProblemType::SpoolUnavailable, "the server cannot store uploads at the moment")
        .because(error)
        .after(Duration::from_secs(5))
}

impl From<CheckError> for ApiError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Stack(error) => error.into(),
            CheckError::Spool(error) => error.into(),
            CheckError::GivenUp => Self::not_ready("the server is shutting down"),
        }
    }
}

impl From<StackError> for ApiError {
    fn from(error: StackError) -> Self {
        match &error {
            StackError::Format { .. } | StackError::Malformed { .. } => {
                Self::new(ProblemType::WitnessMalformed, error.to_string())
            }
            StackError::OtherCircuit { .. } => {
                Self::new(ProblemType::WitnessOfAnotherCircuit, error.to_string())
            }
            StackError::Read(_) => {
                Self::new(ProblemType::SpoolUnavailable, "the stored upload could not be read")
                    .because(&error)
            }
        }
    }
}
