//! `GET /`: the endpoints and the circuits of the server.

use axum::{Json, extract::State};
use edgeprove_protocol::endpoints::{self, Endpoint};
use serde_json::{Value, json};

use crate::http::state::AppState;

/// Lists the endpoints and the circuits.
pub async fn index(State(app): State<AppState>) -> Json<Value> {
    let circuits: Vec<&str> = app.engine.circuits.entries().map(|entry| entry.source.id.as_str()).collect();
    let endpoints: Vec<&Endpoint> = endpoints::on_server().collect();
    Json(json!({
        "name": "edgeprove",
        "version": env!("CARGO_PKG_VERSION"),
        "circuits": circuits,
        "endpoints": endpoints,
    }))
}
