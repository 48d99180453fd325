//! The one place where failures become problems and statuses.
//!
//! A handler's error carries the problem for the caller and the cause for the log. The cause chain is logged once, in
//! [`super::middleware::finish`], which also knows the request's id; a 5xx tells the caller nothing of the cause.

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use edgeprove_protocol::ProblemType;
use http::{HeaderValue, StatusCode, header};

use super::edge::NotFromTheEdge;
use crate::{
    circuits::registry::LookupError,
    proving::ProvingError,
    scheduler::AdmissionError,
    telemetry,
    trust::{
        access::{Denied, Excess, Forbidden},
        audit::AuditError,
    },
    witness::{CheckError, intake::IntakeError, spool::SpoolError, stack::StackError},
};

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
}

impl ApiError {
    /// A failure whose cause is its detail.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), cause: None, retry_after: None }
    }

    /// The service cannot take work now.
    #[must_use]
    pub fn not_ready(why: &str) -> Self {
        Self::new(ProblemType::NotReady, why).after(Duration::from_secs(1))
    }

    /// Nothing can be put on record now, and so nothing is done.
    #[must_use]
    pub fn off_the_record() -> Self {
        let detail =
            "the server cannot write its audit log at the moment, and does nothing that is not in it";
        Self::new(ProblemType::AuditUnavailable, detail).after(Duration::from_secs(5))
    }

    fn because(mut self, error: &dyn std::error::Error) -> Self {
        self.cause = Some(telemetry::chain(error).into());
        self
    }

    fn after(mut self, wait: Duration) -> Self {
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

impl From<NotFromTheEdge> for ApiError {
    fn from(error: NotFromTheEdge) -> Self {
        Self::new(ProblemType::NotFromTheEdge, error.to_string())
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
        Self::off_the_record().because(&error)
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
        }
    }
}

impl From<ProvingError> for ApiError {
    fn from(error: ProvingError) -> Self {
        let detail = error.to_string();
        match &error {
            ProvingError::Admission(admission) => admission.clone().into(),
            ProvingError::Key(_) => Self::new(ProblemType::CircuitUnavailable, detail).because(&error),
            ProvingError::Unsatisfied { .. } => Self::new(ProblemType::WitnessUnsatisfied, detail),
            ProvingError::Timeout { .. } => Self::new(ProblemType::ProofTimeout, detail),
            ProvingError::Invalid => Self::new(ProblemType::ProofInvalid, detail),
            ProvingError::Failed(_) => Self::new(ProblemType::ProofFailed, detail).because(&error),
            ProvingError::Crashed(_) => Self::new(ProblemType::ProverCrashed, detail).because(&error),
            ProvingError::Unavailable(_) => Self::new(ProblemType::ProverUnavailable, detail)
                .because(&error)
                .after(Duration::from_secs(5)),
            ProvingError::Spool(_) => spool_failed(&error),
            ProvingError::Stopping => Self::not_ready(&detail),
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
            | IntakeError::BeyondRatio { .. } => ProblemType::WitnessInflatesTooFar,
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
