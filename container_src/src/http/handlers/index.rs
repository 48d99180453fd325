//! `GET /`: what there is.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::http::state::AppState;

/// Lists the endpoints and the circuits.
pub async fn index(State(app): State<AppState>) -> Json<Value> {
    let circuits: Vec<&str> = app.circuits.entries().map(|entry| entry.source.id.as_str()).collect();
    Json(json!({
        "name": "edgeprove",
        "version": env!("CARGO_PKG_VERSION"),
        "circuits": circuits,
        "endpoints": [
            { "method": "POST", "path": "/api/prove",
              "does": "proves a gzipped witness of the default circuit; answers the proof's bytes, or JSON by Accept: application/json; ?target=evm for Solidity verifiers" },
            { "method": "POST", "path": "/api/prove/{circuit}", "does": "the same for a circuit by name" },
            { "method": "GET", "path": "/api/health", "does": "versions, circuits, provers; 200 when proofs can be made" },
            { "method": "GET", "path": "/v1/audit", "does": "the audit log after entry ?after=N, as JSON lines; for operators" },
            { "method": "GET", "path": "/livez", "does": "200 while the process lives" },
            { "method": "GET", "path": "/readyz", "does": "200 while work is taken" },
            { "method": "GET", "path": "/metrics", "does": "counts and durations, in the text format of Prometheus" },
            { "method": "GET", "path": "/problems/{code}", "does": "what an error's code means" },
        ],
    }))
}
