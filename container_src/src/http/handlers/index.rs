//! `GET /`: what there is.

use axum::{Json, extract::State};
use edgeprove_protocol::endpoints::{self, Endpoint};
use serde_json::{Value, json};

use crate::http::state::AppState;

/// Those that only a server answers.
const OWN: [Endpoint; 5] = [
    Endpoint::new("GET", "/api/health", "versions, circuits, provers; 200 when proofs can be made"),
    Endpoint::new("GET", "/v1/audit", "the audit log after entry ?after=N, as JSON lines; for operators"),
    Endpoint::new("GET", "/livez", "200 while the process lives"),
    Endpoint::new("GET", "/readyz", "200 while work is taken"),
    Endpoint::new("GET", "/metrics", "counts and durations, in the text format of Prometheus"),
];

/// Lists the endpoints and the circuits.
pub async fn index(State(app): State<AppState>) -> Json<Value> {
    let circuits: Vec<&str> = app.circuits.entries().map(|entry| entry.source.id.as_str()).collect();
    let endpoints = [&endpoints::SHARED[..], &OWN].concat();
    Json(json!({
        "name": "edgeprove",
        "version": env!("CARGO_PKG_VERSION"),
        "circuits": circuits,
        "endpoints": endpoints,
    }))
}
