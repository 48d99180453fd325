//! Every way a request can fail at the edge, and the one mapping of these failures to problems and statuses.
//!
//! A caller gets what it can act on. The texts of the platform and of a container go into the log only.

use std::{fmt, time::Duration};

use edgeprove_protocol::{
    HasProblemType as _, Problem, ProblemType, headers,
    voucher::{InvalidVoucher, VoucherRefusal},
};
use wasm_bindgen::JsValue;

use crate::{
    api_keys::Denied, js_error, js_headers::UnfitHeader, lifecycle::StartFailure, refusal::Refusal,
    router::RouteError, settings::SettingsError,
};

/// When a caller may retry after it exceeded its rate. The rate limiter does not report it.
const RATE_PERIOD: Duration = Duration::from_mins(1);
/// When a caller may retry after no container was available.
const CONTAINER_RETRY: Duration = Duration::from_secs(5);
/// When a caller may retry after the container ended: the next request starts another one.
const LOST_RETRY: Duration = Duration::from_secs(1);

/// A request that failed at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeError {
    /// The URL or the method is not valid.
    UnreadableRequest,
    /// `Content-Length` is not a number.
    ContentLengthNotNumber,
    /// A header has a value that cannot be forwarded, or that the server refuses.
    UnfitHeader {
        /// Its name.
        name: String,
    },
    /// `Idempotency-Key` is not one key.
    UnfitIdempotencyKey,
    /// The announced body is larger than `UPLOAD_MAX`.
    BodyTooLarge {
        /// The announced length.
        bytes: u64,
        /// The largest allowed length.
        max: u64,
    },
    /// The origin of the page is not allowed to call.
    OriginNotAllowed,
    /// The path or the method has no endpoint.
    Route(RouteError),
    /// The request has no known API key, although keys are set.
    ApiKey(Denied),
    /// A list of jobs is requested without a key: jobs are listed for their owner only.
    JobListWithoutKey,
    /// A voucher is requested without a key.
    VoucherWithoutKey,
    /// A voucher is requested, and the edge has no secret to check it with.
    VouchersDisabled,
    /// The voucher of a page does not allow the request.
    Voucher(VoucherRefusal),
    /// A request for operators has no key.
    OperatorWithoutKey,
    /// A request for operators has the key of another caller.
    OperatorsOnly,
    /// The caller exceeded its rate.
    RateLimited,
    /// Each container has jobs of its own, and the query names none of the containers.
    ContainerNotNamed {
        /// How many containers there are.
        containers: u16,
    },
    /// Each container has records of its own, and the query names none of the containers.
    RecordsNotNamed {
        /// How many containers there are.
        containers: u16,
    },
    /// The container sleeps, and the request must not wake it.
    ContainerAsleep,
    /// The job's id names a container that does not exist.
    NoSuchContainer,
    /// No response arrived in time.
    TimedOut {
        /// The time limit.
        limit: Duration,
    },
    /// The container did not start.
    NotStarted(StartFailure),
    /// The container ended, or its connection broke, during the request.
    ContainerLost {
        /// The reason, for the log.
        reason: String,
    },
    /// The status of the response is not a final status of HTTP.
    InvalidStatus {
        /// The status.
        status: u16,
    },
    /// The server at `UPSTREAM_URL` does not respond.
    ServerUnreachable {
        /// The message of the runtime, for the log.
        reason: String,
    },
    /// The server refuses the edge: the two have different secrets.
    RefusedByServer,
    /// A binding is missing or has another type.
    BindingMissing {
        /// The name of the binding.
        binding: &'static str,
        /// The message of the runtime, for the log.
        reason: String,
    },
    /// The class of the Durable Object has no container.
    ClassWithoutContainer {
        /// The name of the class's binding.
        binding: &'static str,
    },
    /// The settings are invalid.
    Settings(SettingsError),
    /// The bucket of the jobs does not store or return an object.
    ArtifactsUnavailable {
        /// The message of the runtime, for the log.
        reason: String,
    },
    /// An object of the bucket was changed, or is encrypted under a key that the edge does not have.
    ArtifactDamaged {
        /// Its name and what is wrong, for the log.
        reason: String,
    },
    /// A submission is refused, as a server would.
    Refused(Refusal),
    /// The object of the jobs does not respond, or cannot use its database.
    JobsUnavailable {
        /// The reason, for the log.
        reason: String,
    },
    /// A variable with a rule of the job queue has no valid value.
    JobRule {
        /// Which variable, and what it must be.
        detail: String,
    },
    /// A proof is requested with its verification key, which the edge does not have.
    ProofWithoutKey,
    /// A call of the Workers runtime failed.
    Runtime(RuntimeError),
}

/// A call of the Workers runtime that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct RuntimeError {
    /// What the edge did.
    pub operation: Operation,
    /// The message of the JavaScript exception.
    pub message: String,
}

/// A use of the Workers runtime that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Building the request that is forwarded.
    ForwardRequest,
    /// Building a request of the edge's own.
    BuildRequest,
    /// Building the response that is forwarded.
    ForwardResponse,
    /// Building a response of the edge's own.
    BuildResponse,
    /// Opening the relay of a WebSocket.
    RelayWebSocket,
    /// Counting the request at the rate limiter.
    CountRequest,
    /// Getting the port of the container.
    OpenPort,
    /// Storing the body of a job.
    StoreBody,
}

impl RuntimeError {
    /// The failure of an operation with a JavaScript exception.
    #[must_use]
    pub fn new(operation: Operation, exception: &JsValue) -> Self {
        Self { operation, message: js_error::message(exception) }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForwardRequest => "the request cannot be forwarded",
            Self::BuildRequest => "a request cannot be built",
            Self::ForwardResponse => "the response cannot be forwarded",
            Self::BuildResponse => "a response cannot be built",
            Self::RelayWebSocket => "the WebSocket cannot be forwarded",
            Self::CountRequest => "the rate limiter failed",
            Self::OpenPort => "the container's port cannot be opened",
            Self::StoreBody => "the body of a job cannot be stored",
        })
    }
}

impl EdgeError {
    /// The type of the problem, which has the status.
    #[must_use]
    pub fn problem_type(&self) -> ProblemType {
        match self {
            Self::ApiKey(Denied::SeveralKeys)
            | Self::UnreadableRequest
            | Self::ContentLengthNotNumber
            | Self::UnfitHeader { .. }
            | Self::UnfitIdempotencyKey
            | Self::ContainerNotNamed { .. }
            | Self::RecordsNotNamed { .. } => ProblemType::InvalidRequest,
            Self::BodyTooLarge { .. } => ProblemType::WitnessTooLarge,
            Self::OriginNotAllowed => ProblemType::OriginNotAllowed,
            Self::Route(RouteError::NotFound) => ProblemType::NotFound,
            Self::Route(RouteError::MethodNotAllowed { .. }) => ProblemType::MethodNotAllowed,
            Self::ApiKey(Denied::Voucher(invalid)) => invalid.kind(),
            Self::Voucher(refusal) => refusal.kind(),
            Self::VouchersDisabled => ProblemType::VouchersDisabled,
            Self::ApiKey(Denied::NoKey | Denied::UnknownKey)
            | Self::JobListWithoutKey
            | Self::VoucherWithoutKey
            | Self::OperatorWithoutKey => ProblemType::ApiKeyRequired,
            Self::OperatorsOnly => ProblemType::NotAllowed,
            Self::RateLimited => ProblemType::RateLimited,
            Self::NoSuchContainer => ProblemType::JobNotFound,
            Self::TimedOut { .. } => ProblemType::RequestTimeout,
            Self::NotStarted(_) | Self::ContainerAsleep | Self::ServerUnreachable { .. } => {
                ProblemType::ContainerUnavailable
            }
            Self::ContainerLost { .. } => ProblemType::ContainerLost,
            Self::InvalidStatus { .. } => ProblemType::ContainerBadResponse,
            Self::RefusedByServer
            | Self::BindingMissing { .. }
            | Self::ClassWithoutContainer { .. }
            | Self::JobRule { .. }
            | Self::Settings(_) => ProblemType::EdgeMisconfigured,
            Self::ArtifactsUnavailable { .. } => ProblemType::ArtifactUnavailable,
            Self::ArtifactDamaged { .. } => ProblemType::StoredDataDamaged,
            Self::Refused(refusal) => refusal.kind,
            Self::JobsUnavailable { .. } => ProblemType::JobStoreUnavailable,
            Self::ProofWithoutKey => ProblemType::CircuitUnavailable,
            Self::Runtime(_) => ProblemType::Internal,
        }
    }

    /// The explanation for the caller.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::UnreadableRequest => "the URL or the method is not valid".to_owned(),
            Self::ContentLengthNotNumber => "Content-Length is not a number of bytes".to_owned(),
            Self::UnfitHeader { name } => {
                format!("the value of the header {name} has characters that are not allowed in it")
            }
            Self::UnfitIdempotencyKey => headers::UNFIT_IDEMPOTENCY_KEY.to_owned(),
            Self::BodyTooLarge { bytes, max } => {
                format!("the body has {bytes} bytes; at most {max} are allowed")
            }
            Self::OriginNotAllowed => {
                "pages of this origin may not call this service; ALLOWED_ORIGINS lists those that may"
                    .to_owned()
            }
            Self::Route(RouteError::NotFound) => "GET / lists the endpoints".to_owned(),
            Self::Route(RouteError::MethodNotAllowed { .. }) => {
                "the Allow header lists the methods".to_owned()
            }
            Self::ApiKey(denied) => denied.to_string(),
            Self::JobListWithoutKey => {
                "jobs are listed for the API key that they were submitted with, and this service \
                 has no keys; a job can be read at the address that its submitter got"
                    .to_owned()
            }
            Self::VoucherWithoutKey => {
                "vouchers are minted by holders of API keys: where callers need no key, pages need no voucher".to_owned()
            }
            Self::VouchersDisabled => InvalidVoucher::Disabled.to_string(),
            Self::Voucher(refusal) => refusal.to_string(),
            Self::OperatorWithoutKey => {
                "this is for operators, who are recognised by their API key".to_owned()
            }
            Self::OperatorsOnly => {
                "this is for operators: the names that have the role `operator` in the edge's setting EDGEPROVE_KEYS, \
                 which needs EDGE_SECRET"
                    .to_owned()
            }
            Self::RateLimited => {
                "this caller exceeded its rate of requests; wait, then send fewer".to_owned()
            }
            Self::ContainerNotNamed { containers } => format!(
                "each of the {containers} containers has its own jobs: send one request for each, from ?container=0 to \
                 ?container={}; as operator, set DATABASE_URL, and the containers share their jobs",
                containers.saturating_sub(1)
            ),
            Self::RecordsNotNamed { containers } => format!(
                "each of the {containers} containers has its own records: send one request for each, from ?container=0 \
                 to ?container={}",
                containers.saturating_sub(1)
            ),
            Self::ContainerAsleep => {
                "the container does not run, and this request wakes none: its records begin with its next start, and a \
                 job is read with the key of its owner"
                    .to_owned()
            }
            Self::NoSuchContainer => "no job has this id: no container has the number in it".to_owned(),
            Self::TimedOut { limit } => {
                format!("no response arrived within {} s; the request was aborted", limit.as_secs())
            }
            Self::NotStarted(failure) => match failure {
                StartFailure::NoInstance { .. } => "all containers are in use at the moment",
                StartFailure::Refused { .. } => "the container could not be started",
                StartFailure::Exited { .. } => "the container ended while it started",
                StartFailure::TimedOut { .. } => "the container did not become ready in time",
            }
            .to_owned(),
            Self::ContainerLost { .. } => {
                "the container ended during this request; the next request starts another one".to_owned()
            }
            Self::InvalidStatus { .. } => "the container's response has an invalid status".to_owned(),
            Self::ServerUnreachable { .. } => "the server at UPSTREAM_URL does not respond".to_owned(),
            Self::RefusedByServer => {
                "EDGE_SECRET is not the secret of the server behind the edge; set the same secret for both"
                    .to_owned()
            }
            Self::BindingMissing { binding, .. } => {
                format!("the binding {binding} is missing; declare it in wrangler.toml")
            }
            Self::ClassWithoutContainer { binding } => {
                format!("the class of {binding} has no container; name it in [[containers]] of wrangler.toml")
            }
            // Settings have no secret in their messages, and the person who deploys reads the response first.
            Self::Settings(error) => format!("invalid settings: {error}"),
            Self::ArtifactsUnavailable { .. } => {
                "the storage of the jobs does not respond; the log of the edge has the reason".to_owned()
            }
            Self::ArtifactDamaged { .. } => {
                "the stored data of this job is damaged, or its key is gone; the log of the edge has the reason".to_owned()
            }
            Self::Refused(refusal) => refusal.detail.clone(),
            Self::JobRule { detail } => format!("invalid settings: {detail}"),
            Self::JobsUnavailable { .. } => {
                "the queue of the jobs does not respond; the log of the edge has the reason".to_owned()
            }
            Self::ProofWithoutKey => {
                "the edge has no verification keys: fetch the proof as bytes or JSON, and the key from \
                 GET /v1/circuits/{circuit}/vk"
                    .to_owned()
            }
            Self::Runtime(_) => "the edge failed; its log has the reason".to_owned(),
        }
    }

    /// The reason for the log, where the caller gets less.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        match self {
            Self::UnreadableRequest
            | Self::ContentLengthNotNumber
            | Self::UnfitHeader { .. }
            | Self::UnfitIdempotencyKey
            | Self::BodyTooLarge { .. }
            | Self::OriginNotAllowed
            | Self::Route(_)
            | Self::ApiKey(_)
            | Self::JobListWithoutKey
            | Self::VoucherWithoutKey
            | Self::VouchersDisabled
            | Self::Voucher(_)
            | Self::OperatorWithoutKey
            | Self::OperatorsOnly
            | Self::RateLimited
            | Self::ContainerNotNamed { .. }
            | Self::RecordsNotNamed { .. }
            | Self::ContainerAsleep
            | Self::NoSuchContainer
            | Self::TimedOut { .. }
            | Self::ClassWithoutContainer { .. }
            | Self::Refused(_)
            | Self::JobRule { .. }
            | Self::ProofWithoutKey
            | Self::Settings(_) => None,
            Self::NotStarted(failure) => Some(failure.to_string()),
            Self::ContainerLost { reason }
            | Self::ServerUnreachable { reason }
            | Self::BindingMissing { reason, .. }
            | Self::ArtifactsUnavailable { reason }
            | Self::ArtifactDamaged { reason }
            | Self::JobsUnavailable { reason } => Some(reason.clone()),
            Self::InvalidStatus { status } => Some(format!("status {status}")),
            Self::RefusedByServer => Some("the server responded not_from_the_edge".to_owned()),
            Self::Runtime(error) => Some(error.to_string()),
        }
    }

    /// When the caller may retry.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited | Self::ContainerAsleep => Some(RATE_PERIOD),
            Self::NotStarted(_) | Self::ServerUnreachable { .. } => Some(CONTAINER_RETRY),
            Self::ContainerLost { .. } => Some(LOST_RETRY),
            Self::UnreadableRequest
            | Self::ContentLengthNotNumber
            | Self::UnfitHeader { .. }
            | Self::UnfitIdempotencyKey
            | Self::BodyTooLarge { .. }
            | Self::OriginNotAllowed
            | Self::Route(_)
            | Self::ApiKey(_)
            | Self::JobListWithoutKey
            | Self::VoucherWithoutKey
            | Self::VouchersDisabled
            | Self::Voucher(_)
            | Self::OperatorWithoutKey
            | Self::OperatorsOnly
            | Self::ContainerNotNamed { .. }
            | Self::RecordsNotNamed { .. }
            | Self::NoSuchContainer
            | Self::TimedOut { .. }
            | Self::InvalidStatus { .. }
            | Self::RefusedByServer
            | Self::BindingMissing { .. }
            | Self::ClassWithoutContainer { .. }
            | Self::Settings(_)
            | Self::ArtifactsUnavailable { .. }
            | Self::ArtifactDamaged { .. }
            | Self::Refused(_)
            | Self::JobsUnavailable { .. }
            | Self::JobRule { .. }
            | Self::ProofWithoutKey
            | Self::Runtime(_) => self.problem_type().retry_after(),
        }
    }

    /// The methods of the path, where the request has another one.
    #[must_use]
    pub fn allow(&self) -> Option<&str> {
        if let Self::Route(RouteError::MethodNotAllowed { allow }) = self { Some(allow) } else { None }
    }

    /// The problem document of the response.
    #[must_use]
    pub fn problem(&self, request_id: &str) -> Problem {
        Problem::new(self.problem_type(), self.detail(), Some(request_id.to_owned()))
    }
}

impl From<RouteError> for EdgeError {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

impl From<UnfitHeader> for EdgeError {
    fn from(UnfitHeader(name): UnfitHeader) -> Self {
        Self::UnfitHeader { name }
    }
}

impl From<Denied> for EdgeError {
    fn from(denied: Denied) -> Self {
        Self::ApiKey(denied)
    }
}

impl From<VoucherRefusal> for EdgeError {
    fn from(refusal: VoucherRefusal) -> Self {
        Self::Voucher(refusal)
    }
}

impl From<SettingsError> for EdgeError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl From<Refusal> for EdgeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StartFailure> for EdgeError {
    fn from(failure: StartFailure) -> Self {
        Self::NotStarted(failure)
    }
}

impl From<RuntimeError> for EdgeError {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lifecycle::ContainerExit,
        settings::{InvalidSetting, SettingFault},
    };

    fn inner_text() -> String {
        "inner text".to_owned()
    }

    #[test]
    fn texts_of_the_platform_go_to_the_log_and_not_to_the_caller() {
        let limit = Duration::from_mins(1);
        for failure in [
            StartFailure::NoInstance { message: inner_text() },
            StartFailure::Refused { message: inner_text() },
            StartFailure::Exited { starts: 3, exit: Some(ContainerExit::Lost(inner_text())) },
            StartFailure::TimedOut { limit, last_probe: inner_text() },
        ] {
            let error = EdgeError::from(failure);
            assert!(error.cause().unwrap().contains("inner text"));
            assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
            let problem = error.problem("id");
            assert_eq!(problem.status, 503);
            assert!(!serde_json::to_string(&problem).unwrap().contains("inner text"), "{problem:?}");
        }
        let lost = EdgeError::ContainerLost { reason: inner_text() };
        assert!(!serde_json::to_string(&lost.problem("id")).unwrap().contains("inner text"));
        assert_eq!((lost.problem_type().status(), lost.cause()), (502, Some(inner_text())));
    }

    #[test]
    fn a_configuration_error_names_the_setting_or_binding() {
        let fault = SettingFault::NotDuration("soon".to_owned());
        let invalid = InvalidSetting { name: "SLEEP_AFTER".to_owned(), fault };
        let error = EdgeError::from(SettingsError(vec![invalid]));
        assert!(error.problem("id").detail.contains("SLEEP_AFTER"));
        assert_eq!(error.problem_type().status(), 500);
        let missing = EdgeError::BindingMissing { binding: "PROVER", reason: inner_text() };
        assert!(missing.problem("id").detail.contains("PROVER"));
        let refused = EdgeError::RefusedByServer.problem("id");
        assert!(refused.detail.contains("EDGE_SECRET"));
        assert_eq!((refused.status, refused.retryable), (500, false));
    }
}
