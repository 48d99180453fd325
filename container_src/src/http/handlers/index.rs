//! `GET /`: the endpoints and the circuits of the server, and the page for browsers.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::endpoints::{self, Endpoint};
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;

use super::page;
use crate::http::state::AppState;

/// The page, where the caller prefers HTML and the page is on; else lists the endpoints and the circuits.
pub async fn index(State(app): State<AppState>, request: HeaderMap) -> Response {
    let mut response = page::document(&app, &request).unwrap_or_else(|| list(&app));
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn list(app: &AppState) -> Response {
    let circuits: Vec<&str> = app.engine.circuits.entries().map(|entry| entry.source.id.as_str()).collect();
    let endpoints: Vec<&Endpoint> = endpoints::on_server().collect();
    let body = json!({
        "name": "edgeprove",
        "version": env!("CARGO_PKG_VERSION"),
        "circuits": circuits,
        "endpoints": endpoints,
    });
    Json(body).into_response()
}
