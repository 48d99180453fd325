//! `POST /v1/circuits` with JSON: asks for the circuit of a template and its parameters.
//!
//! 1. The caller is known (401), may request work (403), and is within its limits (429). Its callback URL is allowed (400, 403).
//! 2. The body is JSON of the right size (408, 413, 415) and shape (400).
//! 3. There is such a template (404), and the parameters fit it (400).
//! 4. 200 with the circuit where it is ready. Otherwise it is built, once for all requests: 202 with its `Location` (503
//!    where no server of this queue builds circuits, or as many are stored or wait as may).

use axum::{
    Json,
    extract::FromRequestParts as _,
    response::{IntoResponse, Response},
};
use edgeprove_builder::Versions;
use edgeprove_protocol::{ProblemType, answer::CircuitEntry};
use edgeprove_templates::{Instance, Language, RawParameters};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::Deserialize;

use crate::{
    access::{Caller, Work},
    http::{
        api_error::ApiError, callback::callback, caller::priority, extract::declared_length, inputs,
        request_body::RequestBody, request_id::request_id_of, state::AppState,
    },
    jobs::{
        Jobs,
        build_request::{BuildState, Requester},
        submission::Charge,
    },
};

/// The largest body, in bytes.
const BODY_MAX_BYTES: u64 = 64 << 10;
/// When a caller may look again, in seconds.
const RETRY_AFTER_S: u32 = 2;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CircuitRequest {
    template_name: String,
    #[serde(default)]
    language: Option<Language>,
    #[serde(default)]
    params: RawParameters,
}

/// See the module.
pub(super) async fn build_circuit(
    app: &AppState,
    parts: &mut Parts,
    body: &mut RequestBody,
) -> Result<Response, ApiError> {
    let caller = Caller::from_request_parts(parts, app).await?;
    priority(app, &caller, parts)?;
    let jobs = app.jobs()?;
    let grant = app.access.admit(&caller, Work::Queued)?;
    let callback = callback(jobs, &caller, &parts.headers)?;
    let request_id = request_id_of(&parts.headers);
    let CircuitRequest { template_name, language, params } = read(app, parts, body).await?;
    let template = app.templates.find(&template_name, language)?;
    let instance = Instance::new(template, &params)?;
    let toolchain = Versions::pinned().identity(template.language(), app.powers.as_deref());
    let (id, hash) = (instance.circuit_id(&toolchain), instance.hash(&toolchain));
    if !app.roles.builds && !jobs.store.queue.database().is_shared() {
        // A circuit that was built earlier can still be proved.
        return match jobs.build_state(&id).await? {
            Some(state @ BuildState::Ready(_)) => answer(jobs, &state).await,
            _ => Err(no_builder()),
        };
    }
    let limits = caller.limits();
    let charge = Charge {
        grant: Some(grant),
        has_quota: limits.proofs_per_day.is_some(),
        unfinished_max: limits.unfinished_max,
        uses: None,
    };
    let (owner, account) = (caller.owner(), jobs.account(&caller));
    let by = Requester { owner, account, request_id, callback, charge };
    answer(jobs, &jobs.request_build(&instance, (&id, hash), by).await?).await
}

fn no_builder() -> ApiError {
    let detail = "this server builds no circuits: its operator can start it with --toolchain DIR \
                  (EDGEPROVE_TOOLCHAIN)";
    ApiError::new(ProblemType::BuilderUnavailable, detail)
}

async fn read(app: &AppState, parts: &Parts, body: &mut RequestBody) -> Result<CircuitRequest, ApiError> {
    if !inputs::is_expected(&parts.headers) {
        let detail = "send the template and its parameters as Content-Type: application/json, or a compiled circuit as \
                      multipart/form-data with a boundary";
        return Err(ApiError::new(ProblemType::UnsupportedMediaType, detail));
    }
    let check = |bytes: u64| {
        let detail = format!("the JSON has more than {BODY_MAX_BYTES} bytes, which is the limit");
        let error = || ApiError::new(ProblemType::CircuitTooLarge, detail);
        if bytes > BODY_MAX_BYTES { Err(error()) } else { Ok(()) }
    };
    check(declared_length(&parts.headers).unwrap_or(0))?;
    let body = body.collect(app.options.intake.idle, |received, _| check(received)).await?;
    serde_json::from_slice(&body).map_err(|error| {
        let detail = format!(
            "the body must be {{\"templateName\": \"NAME\", \"params\": {{…}}}}, where `params` may be left out where the \
             template has none, and `language` may be noir or circom: {error}"
        );
        ApiError::new(ProblemType::InvalidRequest, detail)
    })
}

async fn answer(jobs: &Jobs, state: &BuildState) -> Result<Response, ApiError> {
    let entry: CircuitEntry = jobs.circuit_entry(state).await?;
    let location = format!("/v1/circuits/{}", entry.id);
    let is_ready = matches!(state, BuildState::Ready(_));
    let status = if is_ready { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, Json(entry)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if !is_ready {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    Ok(response)
}
