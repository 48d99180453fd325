//! `DELETE /v1/circuits/{circuit}`: removes a circuit that was built or uploaded. For operators.

use axum::{Json, extract::State};
use edgeprove_job_rules::audit::{Action, Entry, Outcome};
use edgeprove_protocol::{CircuitId, ProblemType};
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::{
    api_error::ApiError, caller::Operator, extract::CircuitPath, request_id::request_id_of, state::AppState,
};

/// The answer of a removal.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RemovedCircuit {
    /// The name of the circuit.
    id: CircuitId,
    /// Always `true`.
    removed: bool,
}

/// 1. The caller is an operator (401, 403, 429).
/// 2. The removal is written to the audit log (503).
/// 3. 200 when it is removed; 404 where no circuit of this name was built. Proofs of it that run already are finished.
pub async fn remove_circuit(
    State(app): State<AppState>,
    Operator(caller): Operator,
    CircuitPath(circuit): CircuitPath,
    headers: HeaderMap,
) -> Result<Json<RemovedCircuit>, ApiError> {
    let not_built = || {
        let detail = "no circuit that was built or uploaded has this name; the configured ones are removed with the \
                      settings";
        ApiError::new(ProblemType::CircuitNotFound, detail)
    };
    let (Some(id), Some(store)) = (circuit, app.circuits.store()) else { return Err(not_built()) };
    if store.find(&id).await?.is_none() {
        return Err(not_built());
    }
    let entry = Entry {
        circuit: Some(id.clone()),
        request_id: Some(request_id_of(&headers)),
        outcome: Some(Outcome::Ok),
        ..app.audit.entry(caller.actor(), Action::CircuitRemoved)
    };
    app.audit.record(entry).await?;
    if app.circuits.remove(&id).await? {
        tracing::info!(circuit = %id, "stored circuit removed");
    }
    Ok(Json(RemovedCircuit { id, removed: true }))
}
