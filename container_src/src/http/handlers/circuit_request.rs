//! `POST /v1/circuits`: JSON asks for the circuit of a template ([`super::build_circuit`]), and `multipart/form-data` uploads
//! a compiled circuit ([`super::upload_circuit`]).

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};

use super::{build_circuit::build_circuit, upload_circuit::upload_circuit};
use crate::http::{form, request_body::RequestBody, state::AppState};

/// Decides by the content type.
pub async fn request_circuit(State(app): State<AppState>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut body = RequestBody::new(&parts, body);
    let answered = match form::boundary(&parts.headers) {
        Some(boundary) => upload_circuit(&app, &mut parts, &mut body, &boundary).await,
        None => build_circuit(&app, &mut parts, &mut body).await,
    };
    answered.unwrap_or_else(|error| {
        body.discard(&app.lifecycle.supervisor);
        error.into_response()
    })
}
