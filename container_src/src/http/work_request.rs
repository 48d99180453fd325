//! Requests of provers that pull: who may send them, and their bodies.

use axum::extract::{FromRequestParts as _, Request};
use edgeprove_protocol::{JobId, ProblemType};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{
    api_error::ApiError,
    caller::forbidden,
    extract::JobPath,
    inputs,
    json_body::{self, JsonBody, JsonBounds},
    request_body::RequestBody,
    state::AppState,
};
use crate::access::{ANONYMOUS, Caller};

/// Bytes of memory for each byte of a body: the body, and its texts.
const COPIES: u64 = 3;

/// The caller, if it is a prover that pulls (401, 403). A caller that the edge names is none: it would need no key.
pub async fn prover(app: &AppState, parts: &mut Parts) -> Result<Caller, ApiError> {
    let caller = Caller::from_request_parts(parts, app).await?;
    caller.may_pull().map_err(|error| forbidden(app, &caller, error, parts))?;
    Ok(caller)
}

/// The job in the path of a request of a prover (401, 403, 404).
pub async fn job_of_prover(app: &AppState, parts: &mut Parts) -> Result<JobId, ApiError> {
    prover(app, parts).await?;
    let JobPath(id) = JobPath::from_request_parts(parts, app).await?;
    Ok(id)
}

/// Splits a request into its head and its body.
#[must_use]
pub fn split(request: Request) -> (Parts, RequestBody) {
    let (parts, body) = request.into_parts();
    let body = RequestBody::new(&parts, body);
    (parts, body)
}

/// Receives a body of JSON (400, 408, 413, 415, 503).
pub async fn receive<T: DeserializeOwned>(
    app: &AppState,
    account: &str,
    parts: &Parts,
    body: &mut RequestBody,
    max_bytes: u64,
) -> Result<T, ApiError> {
    if !inputs::is_expected(&parts.headers) {
        let detail = "send the body as Content-Type: application/json";
        return Err(ApiError::new(ProblemType::UnsupportedMediaType, detail));
    }
    let bounds = JsonBounds { max_bytes, copies: COPIES, idle: app.options.intake.idle };
    let too_large = || {
        let detail = format!("the JSON has more than {max_bytes} bytes, which is the limit");
        ApiError::new(ProblemType::InputsTooLarge, detail)
    };
    let received = json_body::receive(&parts.headers, body, account, bounds, too_large).await?;
    let JsonBody { json, share: _share } = received;
    serde_json::from_slice(&json).map_err(|error| {
        let detail = format!("the body is not what a prover sends: {error}; docs/WORKERS.md has its form");
        ApiError::new(ProblemType::InvalidRequest, detail)
    })
}

/// The name of the key of a prover, for the holder of its leases.
#[must_use]
pub fn key_name(caller: &Caller) -> &str {
    caller.name().unwrap_or(ANONYMOUS)
}
