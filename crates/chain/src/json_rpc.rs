//! One request to a node and its answer.
//!
//! A node has a bounded time for an answer of a bounded size, and cannot send the request elsewhere: see
//! [`edgeprove_outbound`].

use std::sync::atomic::{AtomicU64, Ordering};

use edgeprove_outbound::{self as outbound, RemoteUrl, Timeouts};
use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

/// The largest answer, in bytes. The largest one that is needed has the code of a contract twice.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// The most characters of a node's own message that are repeated.
const MESSAGE_MAX_CHARACTERS: usize = 300;

/// Why a node has no answer. No text has the URL.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The client could not be set up.
    #[error("the client of the node {host} could not be set up")]
    Client {
        /// The host of the node.
        host: String,
        /// What failed.
        #[source]
        source: reqwest::Error,
    },
    /// Its name has only addresses that it must not have.
    #[error("the name of the node {host} has no address that it may have: it is an internal one")]
    InternalAddress {
        /// The host of the node.
        host: String,
    },
    /// It cannot be reached, or broke off.
    #[error("the node {host} cannot be reached, or broke off its answer to {method}")]
    Unreachable {
        /// The host of the node.
        host: String,
        /// What was asked.
        method: &'static str,
        /// What failed.
        #[source]
        source: reqwest::Error,
    },
    /// It took too long.
    #[error("the node {host} did not answer {method} in time")]
    TooSlow {
        /// The host of the node.
        host: String,
        /// What was asked.
        method: &'static str,
    },
    /// It answered with an HTTP status other than 200, such as a redirect.
    #[error("the node {host} answered {method} with the HTTP status {}", status.as_u16())]
    Status {
        /// The host of the node.
        host: String,
        /// What was asked.
        method: &'static str,
        /// The status.
        status: StatusCode,
    },
    /// Its answer is too large.
    #[error("the answer of the node {host} to {method} has more than {ANSWER_MAX_BYTES} bytes")]
    TooLarge {
        /// The host of the node.
        host: String,
        /// What was asked.
        method: &'static str,
    },
    /// Its answer is not one to this question.
    #[error("the node {host} has no proper answer to {method}")]
    Improper {
        /// The host of the node.
        host: String,
        /// What was asked.
        method: &'static str,
    },
    /// It refused.
    #[error("the node {host} refused {method}: {message} (code {code})")]
    Refused {
        /// The host of the node.
        host: String,
        /// What was asked.
        method: &'static str,
        /// Its code.
        code: i64,
        /// The beginning of its message.
        message: String,
    },
}

impl NodeError {
    /// Whether the node understood the question and refused it.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Sends requests to one node.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    url: RemoteUrl,
    next_id: AtomicU64,
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: Option<Value>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    #[serde(default)]
    message: String,
}

impl Connection {
    pub(crate) fn new(url: RemoteUrl, timeouts: Timeouts) -> Result<Self, NodeError> {
        let client = outbound::client(url.reach(), timeouts).map_err(|source| NodeError::Client {
            host: url.host().to_owned(),
            source: source.without_url(),
        })?;
        Ok(Self { client, url, next_id: AtomicU64::new(1) })
    }

    pub(crate) const fn url(&self) -> &RemoteUrl {
        &self.url
    }

    /// Asks, and reads the answer. `null` is a value.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &Value,
    ) -> Result<T, NodeError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
        let body = self.post(method, body).await?;
        let improper = || NodeError::Improper { host: self.host(), method };
        let answer: Answer<'_> = serde_json::from_slice(&body).map_err(|_| improper())?;
        if let Some(Refusal { code, message }) = answer.error {
            let message = self.url.redact(&message);
            let message = message.chars().map(|shown| if shown.is_control() { ' ' } else { shown });
            let message = message.take(MESSAGE_MAX_CHARACTERS).collect();
            return Err(NodeError::Refused { host: self.host(), method, code, message });
        }
        if answer.id != Some(id.into()) {
            return Err(improper());
        }
        // serde reads `null` as a missing value.
        let result = answer.result.map_or("null", RawValue::get);
        serde_json::from_str(result).map_err(|_| improper())
    }

    async fn post(&self, method: &'static str, body: String) -> Result<Vec<u8>, NodeError> {
        let failed = |error| self.failure(method, error);
        let request =
            self.client.post(self.url.expose().clone()).header(CONTENT_TYPE, "application/json").body(body);
        let mut response = request.send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(NodeError::Status { host: self.host(), method, status: response.status() });
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if answer.len() + piece.len() > ANSWER_MAX_BYTES {
                return Err(NodeError::TooLarge { host: self.host(), method });
            }
            answer.extend_from_slice(&piece);
        }
        Ok(answer)
    }

    fn host(&self) -> String {
        self.url.host().to_owned()
    }

    fn failure(&self, method: &'static str, error: reqwest::Error) -> NodeError {
        let host = self.host();
        if outbound::is_caused_by_address(&error) {
            NodeError::InternalAddress { host }
        } else if error.is_timeout() {
            NodeError::TooSlow { host, method }
        } else {
            NodeError::Unreachable { host, method, source: error.without_url() }
        }
    }
}
