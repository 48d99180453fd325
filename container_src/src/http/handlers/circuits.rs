//! `GET /v1/circuits`: the circuits. `GET /v1/circuits/{circuit}`: one of them, with its inputs. Both have the configured
//! ones, those that were uploaded, and those that were built or are being built.
//!
//! They are for anybody: nothing of a circuit is private.

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
};
use edgeprove_engine::circuits::registry::{Entry, LoadState};
use edgeprove_protocol::{
    CircuitId, ProblemType,
    answer::{CircuitEntry, CircuitList, CircuitOrigin, CircuitStatus, DeploymentEntry},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    http::{api_error::ApiError, caller::Identity, extract::CircuitPath, state::AppState},
    jobs::{
        build_request::BuildState,
        circuit_document::{description, stored_entry},
    },
};

/// The most built circuits on a page.
const PAGE_MAX: u32 = 1_000;

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// The last built circuit of the previous page: `next` has it.
    after: Option<CircuitId>,
    /// The most built circuits.
    limit: Option<u32>,
}

/// Lists the circuits: on the first page the configured ones, then those that were built. Why one could not be loaded is for
/// operators: `/api/health` and the log have it.
pub async fn list_circuits(
    State(app): State<AppState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<CircuitList>, ApiError> {
    let limit_of = |query: &ListQuery| query.limit.unwrap_or(PAGE_MAX);
    let Some((query, limit)) = query
        .ok()
        .map(|Query(query)| {
            let limit = limit_of(&query);
            (query, limit)
        })
        .filter(|(_, limit)| (1..=PAGE_MAX).contains(limit))
    else {
        let detail = format!(
            "the query allows `after` (from `next` of the previous page) and `limit` (1 to {PAGE_MAX})"
        );
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    };
    let mut circuits: Vec<_> = match &query.after {
        None => app.engine.circuits.entries().map(entry).collect(),
        Some(_) => Vec::new(),
    };
    let mut next = None;
    if let Some(store) = app.circuits.store() {
        // One more than the page shows: if it exists, there is another page.
        let mut built = store.list(query.after.as_ref(), limit + 1).await?;
        if built.len() > limit as usize {
            built.truncate(limit as usize);
            let last = built.last().map(|stored| &stored.circuit.id);
            next = last.map(|last| format!("/v1/circuits?limit={limit}&after={last}"));
        }
        for stored in &built {
            circuits.push(stored_entry(stored)?);
        }
    }
    Ok(Json(CircuitList { circuits, next }))
}

/// One circuit: its entry in the list, and its inputs.
#[derive(Debug, Serialize)]
pub struct CircuitDetails {
    #[serde(flatten)]
    entry: CircuitEntry,
    /// `null` until loaded, and where the server cannot compute witnesses of the circuit or its files do not name its inputs.
    inputs: Value,
    /// Where its contracts were deployed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deployments: Vec<DeploymentEntry>,
}

/// Describes one circuit, in whichever state it is. An unknown one is 404. Why a deployment failed is for operators.
pub async fn circuit(
    State(app): State<AppState>,
    Extension(identity): Extension<Identity>,
    CircuitPath(name): CircuitPath,
) -> Result<Json<CircuitDetails>, ApiError> {
    let circuits = &app.engine.circuits;
    let Some(found) = circuits.entries().find(|entry| Some(&entry.source.id) == name.as_ref()) else {
        let Some(id) = &name else { return Err(no_circuit()) };
        let found = match app.jobs() {
            Ok(jobs) => jobs.build_state(id).await?.map(|state| (jobs, state)),
            Err(_) => None,
        };
        let Some((jobs, state)) = found else {
            return Err(circuits.find(Some(id)).map_or_else(ApiError::from, |_| no_circuit()));
        };
        // It need not be loaded for this, which anybody may ask for.
        let inputs = match &state {
            BuildState::Ready(stored) => description(stored)?.inputs,
            BuildState::Pending(_) | BuildState::Failed(_) => Value::Null,
        };
        let is_operator = identity.caller.is_ok_and(|caller| caller.may_operate().is_ok());
        let deployments = match &state {
            BuildState::Ready(stored) => jobs.deployments(stored, is_operator).await?,
            BuildState::Pending(_) | BuildState::Failed(_) => Vec::new(),
        };
        let entry = jobs.circuit_entry(&state).await?;
        return Ok(Json(CircuitDetails { entry, inputs, deployments }));
    };
    let inputs = match found.state() {
        LoadState::Ready(circuit) => serde_json::to_value(circuit.inputs()).unwrap_or_default(),
        LoadState::Loading | LoadState::Failed(_) => Value::Null,
    };
    Ok(Json(CircuitDetails { entry: entry(found), inputs, deployments: Vec::new() }))
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
        origin: CircuitOrigin::Configured,
        verifier: None,
        built: None,
        uploaded: None,
        error: None,
        build: None,
    }
}
