//! `GET /`: the endpoints and the circuits of the server, and the page for browsers.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::endpoints::{self, Endpoint};
use http::{HeaderMap, HeaderValue, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::page;
use crate::http::state::AppState;

/// The list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EndpointList {
    /// Always `edgeprove`.
    name: &'static str,
    /// The version of the server.
    version: &'static str,
    /// The configured circuits.
    circuits: Vec<String>,
    /// The endpoints.
    endpoints: Vec<&'static Endpoint>,
}

/// The page, where the caller prefers HTML and the page is on; else lists the endpoints and the circuits.
pub async fn index(State(app): State<AppState>, request: HeaderMap) -> Response {
    let mut response = page::document(&app, &request).unwrap_or_else(|| list(&app));
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn list(app: &AppState) -> Response {
    let circuits = app.engine.circuits.entries().map(|entry| entry.source.id.to_string()).collect();
    Json(EndpointList {
        name: "edgeprove",
        version: env!("CARGO_PKG_VERSION"),
        circuits,
        endpoints: endpoints::on_server().collect(),
    })
    .into_response()
}
