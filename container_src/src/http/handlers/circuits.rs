//! `GET /v1/circuits`: the circuits. `GET /v1/circuits/{circuit}`: one of them, with its inputs.
//! `GET /v1/circuits/{circuit}/vk`: the verification key of one.
//!
//! They are for anybody: a verification key is what a verifier needs, and reveals nothing of a witness.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use edgeprove_engine::{
    circuits::{
        Circuit, Key,
        registry::{Entry, LoadState},
    },
    proof_systems::CircuitInput,
};
use edgeprove_protocol::{
    ProblemType, ProofSystem, Target,
    answer::{CircuitEntry, CircuitList, CircuitStatus},
    headers,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::http::{
    api_error::ApiError,
    extract::{CircuitPath, ProofQuery},
    state::AppState,
};

/// The media type of a verification key.
const fn key_media_type(target: Target) -> &'static str {
    match target.proof_system() {
        ProofSystem::UltraHonk => "application/octet-stream",
        ProofSystem::Groth16 => "application/json",
    }
}

/// Held while a key is generated, so that these requests occupy at most one prover and one place in its queue.
static GENERATING: Mutex<()> = Mutex::const_new(());

/// Lists the circuits. Why one could not be loaded is for operators: `/api/health` and the log have it.
pub async fn list_circuits(State(app): State<AppState>) -> Json<CircuitList> {
    Json(CircuitList { circuits: app.engine.circuits.entries().map(entry).collect() })
}

/// One circuit: its entry in the list, and its inputs.
#[derive(Debug, Serialize)]
pub struct CircuitDetails {
    #[serde(flatten)]
    entry: CircuitEntry,
    /// `null` until loaded, and where the server cannot compute witnesses of the circuit or its files do not name its inputs.
    inputs: Option<Vec<CircuitInput>>,
}

/// Describes one circuit, in whichever state it is. An unknown one is 404.
pub async fn circuit(
    State(app): State<AppState>,
    CircuitPath(name): CircuitPath,
) -> Result<Json<CircuitDetails>, ApiError> {
    let circuits = &app.engine.circuits;
    let Some(found) = circuits.entries().find(|entry| Some(&entry.source.id) == name.as_ref()) else {
        let unknown = circuits.find(name.as_ref()).map_or_else(ApiError::from, |_| no_circuit());
        return Err(unknown);
    };
    let inputs = match found.state() {
        LoadState::Ready(circuit) => circuit.inputs().map(<[CircuitInput]>::to_vec),
        LoadState::Loading | LoadState::Failed(_) => None,
    };
    Ok(Json(CircuitDetails { entry: entry(found), inputs }))
}

fn no_circuit() -> ApiError {
    ApiError::new(ProblemType::CircuitNotFound, "no circuit has this name")
}

fn entry(entry: &Entry) -> CircuitEntry {
    let (status, circuit) = match entry.state() {
        LoadState::Loading => (CircuitStatus::Loading, None),
        LoadState::Ready(circuit) => (CircuitStatus::Ready, Some(circuit)),
        LoadState::Failed(_) => (CircuitStatus::Failed, None),
    };
    let (id, target) = (entry.source.id.clone(), entry.source.target);
    let key = circuit.and_then(|circuit| circuit.ready_key(target));
    CircuitEntry {
        status,
        target,
        targets: circuit.map(|circuit| circuit.targets().to_vec()).unwrap_or_default(),
        gates: key.as_ref().map(|key| key.size.gates),
        circuit_size: key.as_ref().map(|key| key.size.dyadic_size),
        vk_hash: key.map(|key| format!("0x{}", hex::encode(key.vk_hash))),
        vk: circuit.map(|_| format!("/v1/circuits/{id}/vk")),
        id,
    }
}

/// 1. The circuit is loaded (404, 503), and `?target=` names a target (400).
/// 2. The key is taken or generated (503).
/// 3. 304 where the caller has it, else 200 with the bytes of bb's file `vk` or snarkjs's `verification_key.json`.
pub async fn verification_key(
    State(app): State<AppState>,
    CircuitPath(name): CircuitPath,
    query: ProofQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let circuit = app.engine.circuits.find(name.as_ref())?;
    let key = key(&app, &circuit, query.target.unwrap_or(circuit.target)).await?;
    let hash = format!("0x{}", hex::encode(key.vk_hash));
    let tag = format!("\"{hash}\"");
    let mut response = if has_tag(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let media = (header::CONTENT_TYPE, HeaderValue::from_static(key_media_type(key.circuit.target)));
        ([media], key.circuit.vk.clone()).into_response()
    };
    // The circuit of a name may change with the next start, so a cache must ask again.
    for (name, value) in [
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static(headers::VK_HASH), &hash),
        (HeaderName::from_static(headers::CIRCUIT_ID), circuit.id.as_str()),
    ] {
        // Hexadecimal digits and names are always valid header values.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

async fn key(app: &AppState, circuit: &Arc<Circuit>, target: Target) -> Result<Arc<Key>, ApiError> {
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
