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
            { "method": "POST", "path": "/v1/proofs",
              "does": "takes a gzipped witness for ?circuit=NAME and answers 202 with a job; so does /api/prove with Prefer: respond-async" },
            { "method": "GET", "path": "/v1/proofs", "does": "the caller's jobs; ?status=, ?circuit=, ?limit=, ?after=" },
            { "method": "GET", "path": "/v1/proofs/{id}", "does": "a job: status, stage, place in the queue, estimate" },
            { "method": "GET", "path": "/v1/proofs/{id}/proof", "does": "its proof" },
            { "method": "GET", "path": "/v1/proofs/{id}/events", "does": "what happens to it, as server-sent events or over a WebSocket" },
            { "method": "DELETE", "path": "/v1/proofs/{id}", "does": "calls it off" },
            { "method": "GET", "path": "/v1/queue", "does": "how many jobs there are and how long they wait" },
            { "method": "GET", "path": "/api/health", "does": "versions, circuits, provers; 200 when proofs can be made" },
            { "method": "GET", "path": "/v1/audit", "does": "the audit log after entry ?after=N, as JSON lines; for operators" },
            { "method": "GET", "path": "/livez", "does": "200 while the process lives" },
            { "method": "GET", "path": "/readyz", "does": "200 while work is taken" },
            { "method": "GET", "path": "/metrics", "does": "counts and durations, in the text format of Prometheus" },
            { "method": "GET", "path": "/problems/{code}", "does": "what an error's code means" },
        ],
    }))
}
