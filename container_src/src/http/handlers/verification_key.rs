//! `GET /v1/circuits/{circuit}/vk`: the verification key of a circuit.
//!
//! It is for anybody: a verification key is what a verifier needs, and reveals nothing of a witness. The key of a stored circuit
//! that is not loaded comes from its files. It is loaded only for a caller who may also ask for proofs: that takes memory and
//! a prover.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts as _, Request, State},
    response::{IntoResponse, Response},
};
use edgeprove_engine::circuits::{Circuit, Key};
use edgeprove_protocol::{CircuitId, ProblemType, ProofSystem, Target, headers};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::Mutex;

use super::circuit_files;
use crate::{
    access::Caller,
    circuits::key_file,
    http::{
        api_error::ApiError,
        extract::{CircuitPath, ProofQuery},
        state::AppState,
    },
    jobs::circuit_document::description,
};

/// Held while a key is generated, so that these requests occupy at most one prover and one place in its queue.
static GENERATING: Mutex<()> = Mutex::const_new(());

/// 1. The circuit is loaded, or its files have the key (404, 503), and `?target=` names a target (400). Another target of a
///    circuit that is not loaded needs a caller (401, 429).
/// 2. The key is taken or generated (503).
/// 3. 304 where the caller has it, else 200 with the bytes of bb's file `vk` or snarkjs's `verification_key.json`.
pub async fn verification_key(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let CircuitPath(name) = CircuitPath::from_request_parts(&mut parts, &app).await?;
    let query = ProofQuery::from_request_parts(&mut parts, &app).await?;
    let circuit = if let Some(circuit) = app.circuits.find_loaded(name.as_ref())? {
        circuit
    } else {
        if let Some(id) = &name
            && let Some(response) = stored_key(&app, id, query.target, &parts.headers).await?
        {
            return Ok(response);
        }
        let caller = Caller::from_request_parts(&mut parts, &app).await?;
        app.access.count(&caller)?;
        app.circuits.find(name.as_ref()).await?
    };
    let key = key(&app, &circuit, query.target.unwrap_or(circuit.target)).await?;
    let answer = KeyAnswer {
        circuit: &circuit.id,
        target: key.circuit.target,
        hash: format!("0x{}", hex::encode(key.vk_hash)),
    };
    Ok(answer.not_modified(&parts.headers).unwrap_or_else(|| answer.response(key.circuit.vk.clone().into())))
}

/// The key of a stored circuit, from its files; `None` where they have no key for this target, or there is no such circuit.
async fn stored_key(
    app: &AppState,
    id: &CircuitId,
    target: Option<Target>,
    headers: &HeaderMap,
) -> Result<Option<Response>, ApiError> {
    // Whether there is the circuit is no secret, and an unknown one needs no caller.
    let store = app.circuits.store().ok_or_else(|| no_circuit(app, id))?;
    let stored = store.find(id).await?.ok_or_else(|| no_circuit(app, id))?;
    let (description, own) = (description(&stored)?, stored.circuit.target);
    let name = key_file(own);
    let has_file = description.artifacts.iter().any(|file| file.name == name);
    if target.is_some_and(|target| target != own) || !has_file {
        return Ok(None);
    }
    let answer = KeyAnswer { circuit: id, target: own, hash: description.vk_hash };
    if let Some(response) = answer.not_modified(headers) {
        return Ok(Some(response));
    }
    let (files, bytes) = store.files(&stored).await?.find(name).await?;
    let mut response = answer.response(circuit_files::body_of(files));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    Ok(Some(response))
}

fn no_circuit(app: &AppState, id: &CircuitId) -> ApiError {
    let unknown = || ApiError::new(ProblemType::CircuitNotFound, "no circuit has this name");
    app.engine.circuits.find(Some(id)).map_or_else(ApiError::from, |_| unknown())
}

/// What is answered about a key.
struct KeyAnswer<'a> {
    circuit: &'a CircuitId,
    target: Target,
    /// `0x` and 64 hexadecimal digits.
    hash: String,
}

impl KeyAnswer<'_> {
    fn tag(&self) -> String {
        format!("\"{}\"", self.hash)
    }

    /// 304 where the caller has this key.
    fn not_modified(&self, request: &HeaderMap) -> Option<Response> {
        has_tag(request, &self.tag()).then(|| self.with_headers(StatusCode::NOT_MODIFIED.into_response()))
    }

    fn response(&self, key: Body) -> Response {
        let media = (header::CONTENT_TYPE, HeaderValue::from_static(media_type(self.target)));
        self.with_headers(([media], key).into_response())
    }

    fn with_headers(&self, mut response: Response) -> Response {
        // The circuit of a name may change with the next start, so a cache must ask again.
        for (name, value) in [
            (header::ETAG, self.tag().as_str()),
            (header::CACHE_CONTROL, "no-cache"),
            (HeaderName::from_static(headers::VK_HASH), &self.hash),
            (HeaderName::from_static(headers::CIRCUIT_ID), self.circuit.as_str()),
        ] {
            // Hexadecimal digits and names are always valid header values.
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// The media type of a verification key.
const fn media_type(target: Target) -> &'static str {
    match target.proof_system() {
        ProofSystem::UltraHonk => "application/octet-stream",
        ProofSystem::Groth16 => "application/json",
    }
}

pub(super) async fn key(
    app: &AppState,
    circuit: &Arc<Circuit>,
    target: Target,
) -> Result<Arc<Key>, ApiError> {
    if let Some(key) = circuit.ready_key(target) {
        return Ok(key);
    }
    let _generating = GENERATING.lock().await;
    if let Some(key) = circuit.ready_key(target) {
        return Ok(key);
    }
    if let Some(reason) = app.not_ready() {
        return Err(reason.into());
    }
    let permit = app.engine.proving.permit().await?;
    Ok(circuit.key(target, app.engine.proving.keys(), permit.as_ref()).await?)
}

/// Whether `If-None-Match` (RFC 9110) has this tag.
fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}
