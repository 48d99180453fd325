//! Every way a request can fail at the edge, and what the caller is told: the one place that knows both.
//!
//! A caller is told what it can act upon. What the platform or a container said goes into the log.

use std::time::Duration;

use edgeprove_protocol::{Problem, ProblemType};

use crate::{access::Denied, lifecycle::StartFailure, router::NoRoute, settings::SettingsError};

/// When a caller who exceeded its rate may try again; the binding itself does not tell.
const RATE_PERIOD: Duration = Duration::from_mins(1);
/// When trying again makes sense after a container could not be had.
const CONTAINER_RETRY: Duration = Duration::from_secs(5);

/// A request that failed at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeError {
    /// The kind.
    pub kind: ProblemType,
    /// For the caller.
    pub detail: String,
    /// For the log, where there is more to say.
    pub cause: Option<String>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// The methods that the path takes.
    pub allow: Option<&'static str>,
}

impl EdgeError {
    /// A failure with its words for the caller.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), cause: None, retry_after: None, allow: None }
    }

    /// Adds what goes into the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds when trying again makes sense.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// The body of the answer.
    #[must_use]
    pub fn problem(&self, request_id: &str) -> Problem {
        Problem::new(self.kind, self.detail.clone(), Some(request_id.to_owned()))
    }

    /// The page's origin is not one that may call.
    #[must_use]
    pub fn origin_not_allowed() -> Self {
        Self::new(
            ProblemType::OriginNotAllowed,
            "pages of this origin may not call this service; ALLOWED_ORIGINS names those that may",
        )
    }

    /// The caller has sent too much of late.
    #[must_use]
    pub fn rate_limited() -> Self {
        Self::new(
            ProblemType::RateLimited,
            "this caller has sent more requests than it may; wait and send fewer",
        )
        .after(RATE_PERIOD)
    }

    /// Jobs are listed for their owner, and who bears no key is nobody in particular.
    #[must_use]
    pub fn nobodys_jobs() -> Self {
        Self::new(
            ProblemType::ApiKeyRequired,
            "jobs are listed to the holder of the key that they were submitted with, and no keys are set here; who \
             submitted one has its address",
        )
    }

    /// Each container keeps jobs of its own, and none was named.
    #[must_use]
    pub fn which_container(instances: u16) -> Self {
        Self::new(
            ProblemType::InvalidRequest,
            format!(
                "each of the {instances} containers keeps its own jobs: ask one after the other, from ?container=0 to \
                 ?container={}; as operator, set DATABASE_URL, and they share them",
                instances.saturating_sub(1)
            ),
        )
    }

    /// The job's id names a container that there is not.
    #[must_use]
    pub fn no_such_job() -> Self {
        Self::new(ProblemType::JobNotFound, "there is no such job: there is no container of its number")
    }

    /// The body is announced to be larger than bodies may be.
    #[must_use]
    pub fn too_large(length: u64, max: u64) -> Self {
        Self::new(
            ProblemType::WitnessTooLarge,
            format!("the body has {length} bytes; at most {max} are taken"),
        )
    }

    /// `Content-Length` is no number.
    #[must_use]
    pub fn bad_length() -> Self {
        Self::new(ProblemType::InvalidRequest, "Content-Length is not a number of bytes")
    }

    /// No answer came in time.
    #[must_use]
    pub fn timeout(limit: Duration) -> Self {
        Self::new(
            ProblemType::RequestTimeout,
            format!("no answer came within {} s; the request was given up", limit.as_secs()),
        )
    }

    /// The container went away in the middle of the request.
    pub fn container_lost(cause: impl Into<String>) -> Self {
        Self::new(
            ProblemType::ContainerLost,
            "the container was lost while it worked on this request; the next one gets a fresh container",
        )
        .after(Duration::from_secs(1))
        .because(cause)
    }

    /// The answer is none of HTTP's final ones.
    #[must_use]
    pub fn container_bad_response(status: u16) -> Self {
        Self::new(ProblemType::ContainerBadResponse, "the container's answer makes no sense")
            .because(format!("status {status}"))
    }

    /// The server that stands in for the containers does not answer.
    pub fn upstream_unreachable(cause: impl Into<String>) -> Self {
        Self::new(ProblemType::ContainerUnavailable, "the server at UPSTREAM_URL does not answer")
            .after(CONTAINER_RETRY)
            .because(cause)
    }

    /// The server behind the edge does not take it for its edge.
    #[must_use]
    pub fn refused_by_the_server() -> Self {
        Self::new(
            ProblemType::EdgeMisconfigured,
            "EDGE_SECRET is not the secret of the server behind the edge; give both the same",
        )
        .because("the server answered not_from_the_edge")
    }

    /// A binding is missing or of another kind.
    pub fn binding(name: &str, cause: impl Into<String>) -> Self {
        Self::new(
            ProblemType::EdgeMisconfigured,
            format!("the binding {name} is missing; wrangler.toml must declare it"),
        )
        .because(cause)
    }

    /// Something else failed inside the edge.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(ProblemType::Internal, "the edge failed; its log says why").because(cause)
    }
}

impl From<NoRoute> for EdgeError {
    fn from(no_route: NoRoute) -> Self {
        match no_route {
            NoRoute::NotFound => Self::new(ProblemType::NotFound, "GET / lists the endpoints"),
            NoRoute::MethodNotAllowed { allow } => Self {
                allow: Some(allow),
                ..Self::new(ProblemType::MethodNotAllowed, "the Allow header lists the methods")
            },
        }
    }
}

impl From<Denied> for EdgeError {
    fn from(denied: Denied) -> Self {
        Self::new(ProblemType::ApiKeyRequired, denied.to_string())
    }
}

impl From<SettingsError> for EdgeError {
    /// Settings are the deployer's own and bear no secret; whoever deploys looks at the answer first.
    fn from(error: SettingsError) -> Self {
        Self::new(ProblemType::EdgeMisconfigured, format!("the settings have faults: {error}"))
    }
}

impl From<StartFailure> for EdgeError {
    fn from(failure: StartFailure) -> Self {
        let detail = match failure {
            StartFailure::NoInstance(_) => "all containers are in use at the moment",
            StartFailure::Refused(_) => "the container could not be started",
            StartFailure::Died { .. } => "the container ended while it started",
            StartFailure::NotInTime { .. } => "the container did not become ready in time",
        };
        Self::new(ProblemType::ContainerUnavailable, detail)
            .after(CONTAINER_RETRY)
            .because(failure.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_platform_said_is_for_the_log_and_not_for_the_caller() {
        for failure in [
            StartFailure::NoInstance("inner words".to_owned()),
            StartFailure::Refused("inner words".to_owned()),
            StartFailure::Died { starts: 3, exit: "inner words".to_owned() },
            StartFailure::NotInTime { limit: Duration::from_mins(1), last: "inner words".to_owned() },
        ] {
            let error = EdgeError::from(failure);
            let told = serde_json::to_string(&error.problem("id")).unwrap();
            assert!(!told.contains("inner words"), "{told}");
            assert!(error.cause.unwrap().contains("inner words"));
            assert!(error.retry_after.is_some() && error.kind.status() == 503);
        }
        let lost = EdgeError::container_lost("inner words");
        assert!(!serde_json::to_string(&lost.problem("id")).unwrap().contains("inner words"));
        assert_eq!(lost.kind.status(), 502);
    }

    #[test]
    fn a_fault_of_the_settings_names_the_setting() {
        let error = EdgeError::from(SettingsError(vec!["SLEEP_AFTER: `soon` is not a duration".to_owned()]));
        assert!(error.problem("id").detail.contains("SLEEP_AFTER"));
        assert_eq!(error.kind.status(), 500);
        assert!(EdgeError::binding("PROVER", "undefined").problem("id").detail.contains("PROVER"));
        let refused = EdgeError::refused_by_the_server();
        assert!(refused.problem("id").detail.contains("EDGE_SECRET"));
        assert_eq!((refused.kind.status(), refused.problem("id").retryable), (500, false));
    }
}
