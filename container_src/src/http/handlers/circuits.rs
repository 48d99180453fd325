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
use edgeprove_templates::TemplateDocument;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    circuits::sample_inputs::SampleInputs,
    http::{api_error::ApiError, caller::Identity, extract::CircuitPath, state::AppState},
    jobs::{
        build_request::BuildState,
        circuit_document::{description, stored_entry},
    },
};

/// The built circuits on a page whose size is not given: some milliseconds of work.
const PAGE_DEFAULT: u32 = 100;
/// The most built circuits on a page.
const PAGE_MAX: u32 = 1_000;

/// The file of a program of Noir among those of a stored circuit.
const PROGRAM_FILE: &str = "circuit.json";

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
    let limit_of = |query: &ListQuery| query.limit.unwrap_or(PAGE_DEFAULT);
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
#[derive(Debug, Serialize, JsonSchema)]
pub struct CircuitDetails {
    #[serde(flatten)]
    entry: CircuitEntry,
    /// `null` until loaded, and where the server cannot compute witnesses of the circuit or its files do not name its inputs.
    inputs: Value,
    /// Inputs that satisfy the circuit, where somebody gave some for everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<SampleInputs>,
    /// The path of its program, with which a browser computes witnesses and proves; `None` for circuits of circom, and for
    /// configured ones unless pages prove in the browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<String>,
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
        let (sample, program) = (template_sample(&app, &entry), program_file(&entry));
        return Ok(Json(CircuitDetails { entry, inputs, sample, program, deployments }));
    };
    let inputs = match found.state() {
        LoadState::Ready(circuit) => serde_json::to_value(circuit.inputs()).unwrap_or_default(),
        LoadState::Loading | LoadState::Failed(_) => Value::Null,
    };
    let id = &found.source.id;
    let sample = app.sample_inputs.get(id).cloned();
    let programs = app.browser_programs.as_ref().filter(|programs| programs.has(id));
    let program = programs.map(|_| format!("/v1/circuits/{id}/program"));
    Ok(Json(CircuitDetails { entry: entry(found), inputs, sample, program, deployments: Vec::new() }))
}

/// The sample of the template that a circuit was built from, where the circuit has the parameters of the sample.
fn template_sample(app: &AppState, entry: &CircuitEntry) -> Option<SampleInputs> {
    let built = entry.built.as_ref()?;
    let template = app.templates.entry(&built.template_name).ok()?;
    let sample = TemplateDocument::of(template).ok()?.sample;
    let accepted = sample.accepted.into_iter().next().filter(|_| sample.parameters == built.params)?;
    Some(accepted.inputs)
}

/// The path of the program among the files of a stored circuit.
fn program_file(entry: &CircuitEntry) -> Option<String> {
    let built = entry.built.as_ref().map(|built| &built.artifacts);
    let files = built.or_else(|| entry.uploaded.as_ref().map(|uploaded| &uploaded.artifacts))?;
    files.iter().find(|file| file.name == PROGRAM_FILE).map(|file| file.path.clone())
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
