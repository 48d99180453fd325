//! Sends requests about jobs to their object, and returns the proofs that it names.

use std::time::Duration;

use edgeprove_protocol::{
    endpoints::{Endpoint, Method as EndpointMethod},
    headers,
};
use http::{HeaderMap, Method};
use worker::Env;

use super::{
    proof_answer::{self, Format},
    protocol::{StoredProof, VIEWER, Viewer},
};
use crate::{
    api_keys::{Caller, Denied},
    artifacts::Artifacts,
    bindings,
    edge_error::{EdgeError, Operation, RuntimeError},
    forward_headers, js_error,
    outgoing_request::{Fetch, Outgoing, SendError},
    request_head::RequestHead,
    response_stream,
    settings::Settings,
};

/// How long the object may take for the head of a response. It needs milliseconds.
const OBJECT_LIMIT: Duration = Duration::from_secs(10);
/// The largest stored answer with a proof.
const ANSWER_MAX_BYTES: usize = 16 << 20;
/// What the URLs of the object begin with.
const OBJECT_URL: &str = "https://jobs";

/// The paths that the object answers where it has the jobs.
const PATHS: [&str; 8] = [
    "/v1/proofs",
    "/v1/proofs/{id}",
    "/v1/proofs/{id}/proof",
    "/v1/proofs/{id}/events",
    "/v1/proofs/{id}/retry",
    "/v1/queue",
    "/v1/audit",
    "/metrics",
];
const PROOF: &str = "/v1/proofs/{id}/proof";

/// Whether the object answers the requests of an endpoint. Submissions are not among them: their bodies go to the bucket.
#[must_use]
pub fn is_for_object(endpoint: &Endpoint) -> bool {
    let is_submission = endpoint.method == EndpointMethod::Post && endpoint.path == "/v1/proofs";
    PATHS.contains(&endpoint.path) && !is_submission
}

/// What a caller may see.
pub fn viewer(caller: &Caller, settings: &Settings) -> Result<Viewer, EdgeError> {
    let of_key = |name: &str| Viewer {
        owner: format!("key:{name}"),
        operates: settings.keys.is_operator(name),
        scope: None,
        voucher: None,
    };
    match caller {
        Caller::Key(name) => Ok(of_key(name)),
        Caller::Anonymous => {
            Ok(Viewer { owner: "anonymous".to_owned(), operates: false, scope: None, voucher: None })
        }
        Caller::Page(page) => Ok(Viewer {
            operates: false,
            scope: Some(page.voucher.scope()),
            voucher: Some(page.voucher.id.clone()),
            ..of_key(&page.voucher.holder)
        }),
        Caller::Link => Err(EdgeError::ApiKey(Denied::NoKey)),
    }
}

/// The headers of a request to the object.
#[must_use]
pub fn object_headers(viewer: &Viewer, request_id: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    // Names, scopes and ids are ASCII, and so is their JSON.
    forward_headers::set(&mut map, VIEWER, &serde_json::to_string(viewer).unwrap_or_default());
    forward_headers::set(&mut map, headers::REQUEST_ID, request_id);
    map
}

/// Sends a request to the object. A `None` body is that of the request itself.
pub async fn send(
    env: &Env,
    request: &web_sys::Request,
    head: &RequestHead,
    viewer: &Viewer,
) -> Result<web_sys::Response, EdgeError> {
    let mut map = object_headers(viewer, &head.request_id);
    for name in ["last-event-id", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"] {
        if let Some(value) = head.headers.get(name) {
            map.insert(name, value.clone());
        }
    }
    let object: Fetch = bindings::jobs(env)?.into_rpc();
    let url = format!("{OBJECT_URL}{}", head.path_and_query());
    let outgoing = Outgoing::without_body(request, head.method.as_str(), &url, &map)?;
    outgoing.send(&object, OBJECT_LIMIT).await.map_err(unavailable)
}

/// The error of a request that the object did not answer.
#[must_use]
pub fn unavailable(error: SendError) -> EdgeError {
    let reason = match error {
        SendError::TimedOut => format!("no response within {} s", OBJECT_LIMIT.as_secs()),
        SendError::Failed(reason) => reason,
    };
    EdgeError::JobsUnavailable { reason }
}

/// Answers a request about jobs.
pub async fn respond(
    env: &Env,
    settings: &Settings,
    request: &web_sys::Request,
    head: &RequestHead,
    endpoint: &Endpoint,
    caller: &Caller,
) -> Result<web_sys::Response, EdgeError> {
    let viewer = viewer(caller, settings)?;
    if endpoint.path == PROOF {
        let format = Format::of_accept(&head.headers);
        return proof(env, settings, request, head, &viewer, format).await;
    }
    send(env, request, head, &viewer).await
}

/// The proof of the job in the path of a request, or the object's refusal.
pub async fn proof(
    env: &Env,
    settings: &Settings,
    request: &web_sys::Request,
    head: &RequestHead,
    viewer: &Viewer,
    format: Format,
) -> Result<web_sys::Response, EdgeError> {
    let response = send(env, request, head, viewer).await?;
    // The object answers a HEAD request without a body, and the headers of a proof follow from the proof.
    if response.status() != 200 || head.method == Method::HEAD {
        return Ok(response);
    }
    let unreadable = |reason: String| EdgeError::JobsUnavailable { reason };
    let failed =
        |error: &wasm_bindgen::JsValue| EdgeError::from(RuntimeError::new(Operation::ForwardResponse, error));
    let text = response.text().map_err(|error| failed(&error))?;
    let text = wasm_bindgen_futures::JsFuture::from(text)
        .await
        .map_err(|error| unreadable(js_error::message(&error)))?;
    let stored: StoredProof = serde_json::from_str(&text.as_string().unwrap_or_default())
        .map_err(|error| unreadable(format!("the object's answer is not a proof: {error}")))?;
    let answer = Artifacts::open(env, settings)?.read(&stored.artifact, ANSWER_MAX_BYTES).await?;
    let answer = answer.ok_or_else(|| EdgeError::ArtifactDamaged {
        reason: format!("{} is not in the bucket", stored.artifact),
    })?;
    let answer = proof_answer::answer(&answer, format)?;
    response_stream::build_bytes(200, &answer.headers, &answer.body)
}
