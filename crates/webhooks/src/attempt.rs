//! One request and its answer.
//!
//! A server has a bounded time. Of its answer only the status counts, and `Retry-After`: the body is not read, and redirects
//! are not followed.

use std::time::{Duration, SystemTime};

use edgeprove_artifacts::ArtifactError;
use edgeprove_outbound::{
    AllowedHosts, RefusedUrl, RemoteUrl, Timeouts, client::HostReach, is_caused_by_address,
};
use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
};

use crate::secret::{self, WebhookSecret};

/// The time of an attempt.
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(15) };
/// The name of the sender.
const AGENT: &str = concat!("Edgeprove/", env!("CARGO_PKG_VERSION"));

/// Why an attempt failed. No text has the URL.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The operator no longer allows the URL.
    #[error("the callback URL {0}")]
    NotAllowed(#[from] RefusedUrl),
    /// The name of the host has only addresses that it must not have.
    #[error("the name of the host has no address that it may have: it is an internal one")]
    InternalAddress,
    /// The stored URL cannot be decrypted.
    #[error("the stored URL cannot be read")]
    Url(#[from] ArtifactError),
    /// The server took too long.
    #[error("the server did not answer in time")]
    TooSlow,
    /// The server cannot be reached, or broke off.
    #[error("the server cannot be reached, or broke off")]
    Unreachable(#[source] reqwest::Error),
    /// The server answered with another status than 2xx.
    #[error("the server answered with the HTTP status {}", status.as_u16())]
    Status {
        /// The status.
        status: StatusCode,
        /// What `Retry-After` has.
        retry_after: Option<Duration>,
    },
}

impl AttemptError {
    /// Whether the server wants no further attempt.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::GONE)
    }

    /// How long the server wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Sends webhooks.
#[derive(Debug)]
pub(crate) struct Sender {
    hosts: AllowedHosts,
    secrets: Vec<WebhookSecret>,
    listed: Client,
    public_only: Client,
}

impl Sender {
    pub(crate) fn new(hosts: AllowedHosts, secrets: Vec<WebhookSecret>) -> Result<Self, reqwest::Error> {
        let of = |reach| edgeprove_outbound::client(reach, TIMEOUTS);
        Ok(Self { hosts, secrets, listed: of(HostReach::Listed)?, public_only: of(HostReach::PublicOnly)? })
    }

    /// Sends a body to a URL, signed for the owner of the job, and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        (id, owner): (&str, &str),
        url: &str,
        body: String,
    ) -> Result<(), AttemptError> {
        // The operator may have changed the list since.
        let url: RemoteUrl = self.hosts.admit(url)?;
        let client = match url.reach() {
            HostReach::Listed => &self.listed,
            HostReach::PublicOnly => &self.public_only,
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let request = client
            .post(url.expose().clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", secret::signatures(&self.secrets, owner, id, now, &body))
            .body(body);
        let response = request.send().await.map_err(failure)?;
        if response.status().is_success() {
            return Ok(());
        }
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let (status, retry_after) = (response.status(), retry_after.map(Duration::from_secs));
        Err(AttemptError::Status { status, retry_after })
    }
}

fn failure(error: reqwest::Error) -> AttemptError {
    if is_caused_by_address(&error) {
        AttemptError::InternalAddress
    } else if error.is_timeout() {
        AttemptError::TooSlow
    } else {
        AttemptError::Unreachable(error.without_url())
    }
}
