//! The requests of a prover to its server. Every answer is bounded in time and size.

use std::{fmt, time::Duration};

use bytes::Bytes;
use edgeprove_protocol::{
    CircuitId, JobId, Problem, ProblemType,
    answer::CircuitEntry,
    headers,
    work::{
        ClaimAnswer, ClaimRequest, HeartbeatAnswer, HeartbeatRequest, LeaseSecret, OutcomeAnswer,
        OutcomeRequest, WAIT_MAX_S,
    },
};
use http::{HeaderValue, Method, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response, Url, redirect::Policy};
use serde::{Serialize, de::DeserializeOwned};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of the server while it sends a file.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest time for an answer beyond the wait of a claim.
const CLAIM_GRACE: Duration = Duration::from_secs(15);
/// Longest time for a heartbeat.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for an outcome: the server verifies the proof.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(130);
/// Longest time for the description of a circuit.
const DESCRIPTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer of JSON.
const JSON_MAX_BYTES: usize = 8 << 20;

/// A server, and the key for it.
#[derive(Clone)]
pub struct ServerAddress {
    /// Its URL, without a path at its end.
    pub url: Url,
    /// The API key.
    pub key: Option<HeaderValue>,
}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerAddress").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// The server did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It cannot be reached, the connection broke, or it took too long.
    #[error("the server did not answer")]
    Connection(#[source] reqwest::Error),
    /// It refused the request.
    #[error("{} ({}): {}", .problem.title, .problem.code, .problem.detail)]
    Refused {
        /// Why.
        problem: Box<Problem>,
        /// When a retry makes sense.
        retry_after: Option<Duration>,
    },
    /// It answered with a status that is not one of Edgeprove's, as a proxy may do.
    #[error("the answer has the status {0}, which is not one of Edgeprove's")]
    Status(u16),
    /// Its answer is too large.
    #[error("the answer is larger than it may be")]
    TooLarge,
    /// Its answer is not what it should be.
    #[error("the answer was not understood: {0}")]
    Unexpected(String),
}

impl RequestError {
    /// The problem that the server reports, if this version knows it.
    #[must_use]
    pub fn problem(&self) -> Option<ProblemType> {
        match self {
            Self::Refused { problem, .. } => problem.code.known(),
            Self::Connection(_) | Self::Status(_) | Self::TooLarge | Self::Unexpected(_) => None,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn may_succeed_later(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Refused { problem, .. } => problem.retryable,
            // A proxy whose server is away.
            Self::Status(status) => *status >= 500 || *status == 429 || *status == 408,
            Self::TooLarge | Self::Unexpected(_) => false,
        }
    }

    /// When the server wants a retry.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Connection(_) | Self::Status(_) | Self::TooLarge | Self::Unexpected(_) => None,
        }
    }
}

/// The server.
#[derive(Debug)]
pub struct Server {
    address: ServerAddress,
    client: Client,
}

impl Server {
    /// The server at this address. No request is sent yet.
    pub fn new(address: ServerAddress) -> Result<Self, reqwest::Error> {
        // Fails only if there is a provider already, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // The key is for this server only.
            .redirect(Policy::none())
            .user_agent(concat!("edgeprove-work/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(edgeprove_outbound::root_certificates()?)
            .build()?;
        Ok(Self { address, client })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.address.url
    }

    /// Claims jobs, and waits for one.
    pub async fn claim(&self, claim: &ClaimRequest) -> Result<ClaimAnswer, RequestError> {
        let timeout = Duration::from_secs(WAIT_MAX_S.into()) + CLAIM_GRACE;
        self.post("/v1/work/claims", claim, timeout).await
    }

    /// Renews a lease.
    pub async fn heartbeat(
        &self,
        id: JobId,
        beat: &HeartbeatRequest,
    ) -> Result<HeartbeatAnswer, RequestError> {
        self.post(&format!("/v1/work/{id}/heartbeat"), beat, HEARTBEAT_TIMEOUT).await
    }

    /// Reports the outcome of an attempt.
    pub async fn outcome(&self, id: JobId, outcome: &OutcomeRequest) -> Result<OutcomeAnswer, RequestError> {
        self.post(&format!("/v1/work/{id}/outcome"), outcome, OUTCOME_TIMEOUT).await
    }

    /// The body with the witnesses of a job.
    pub async fn witness(&self, id: JobId, LeaseSecret(lease): &LeaseSecret) -> Result<Body, RequestError> {
        let mut lease = HeaderValue::from_str(lease)
            .map_err(|_| RequestError::Unexpected("the lease is not the value of a header".to_owned()))?;
        lease.set_sensitive(true);
        let request =
            self.request(Method::GET, &format!("/v1/work/{id}/witness"))?.header(headers::LEASE, lease);
        self.body(request).await
    }

    /// The description of a circuit.
    pub async fn circuit(&self, id: &CircuitId) -> Result<CircuitEntry, RequestError> {
        let request = self.request(Method::GET, &format!("/v1/circuits/{id}"))?;
        self.json(request.timeout(DESCRIPTION_TIMEOUT)).await
    }

    /// A file of a circuit that the server stores.
    pub async fn circuit_file(&self, id: &CircuitId, name: &str) -> Result<Body, RequestError> {
        self.body(self.request(Method::GET, &format!("/v1/circuits/{id}/artifacts/{name}"))?).await
    }

    async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<A, RequestError> {
        let body = serde_json::to_vec(body).map_err(|error| RequestError::Unexpected(error.to_string()))?;
        let request = self.request(Method::POST, path)?;
        self.json(request.header(header::CONTENT_TYPE, "application/json").body(body).timeout(timeout)).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, RequestError> {
        let base = self.address.url.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{path}"))
            .map_err(|error| RequestError::Unexpected(error.to_string()))?;
        let mut request = self.client.request(method, url);
        if let Some(key) = &self.address.key {
            request = request.header(headers::API_KEY, key.clone());
        }
        Ok(request)
    }

    async fn json<A: DeserializeOwned>(&self, request: RequestBuilder) -> Result<A, RequestError> {
        let mut body = self.body(request).await?;
        let mut json = Vec::new();
        while let Some(piece) = body.next().await? {
            if json.len() + piece.len() > JSON_MAX_BYTES {
                return Err(RequestError::TooLarge);
            }
            json.extend_from_slice(&piece);
        }
        serde_json::from_slice(&json).map_err(|error| RequestError::Unexpected(error.to_string()))
    }

    /// Sends a request. The body of a refusal is read here.
    async fn body(&self, request: RequestBuilder) -> Result<Body, RequestError> {
        let response = request.send().await.map_err(RequestError::Connection)?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(Body(response));
        }
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let (mut body, mut json) = (Body(response), Vec::new());
        while let Ok(Some(piece)) = body.next().await
            && json.len() + piece.len() <= JSON_MAX_BYTES
        {
            json.extend_from_slice(&piece);
        }
        match serde_json::from_slice(&json) {
            Ok(problem) => Err(RequestError::Refused { problem: Box::new(problem), retry_after }),
            Err(_) => Err(RequestError::Status(status.as_u16())),
        }
    }
}

/// The body of an answer, which the caller bounds.
#[derive(Debug)]
pub struct Body(Response);

impl Body {
    /// The next piece.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RequestError> {
        self.0.chunk().await.map_err(RequestError::Connection)
    }
}
