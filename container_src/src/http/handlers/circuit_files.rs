//! `GET /v1/circuits/{circuit}/artifacts/{name}`: a file of a circuit that was built or uploaded.
//! `GET /v1/circuits/{circuit}/verifier.sol`: its verifier contract.
//!
//! They are for anybody, like verification keys: nothing of them is private.

use axum::{
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use edgeprove_circuit_store::{CircuitStoreError, package::Files};
use edgeprove_protocol::{CircuitId, ProblemType};
use futures_util::stream;
use http::{HeaderValue, header};

use crate::{
    circuits::CONTRACT_FILE,
    http::{api_error::ApiError, state::AppState},
    jobs::circuit_document::description,
};

/// 200 with the file; 404 where there is no such circuit or file.
pub async fn artifact(
    State(app): State<AppState>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let Ok(Path((circuit, name))) = path else { return Err(no_file()) };
    file(&app, &circuit, &name).await
}

/// 200 with the contract; 404 where there is no such circuit, or it has no contract.
pub async fn contract(
    State(app): State<AppState>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Ok(Path(circuit)) = path else { return Err(no_file()) };
    file(&app, &circuit, CONTRACT_FILE).await
}

async fn file(app: &AppState, circuit: &str, name: &str) -> Result<Response, ApiError> {
    let store = app.circuits.store().ok_or_else(no_file)?;
    let id: CircuitId = circuit.parse().map_err(|_| no_file())?;
    let stored = store.find(&id).await?.ok_or_else(no_file)?;
    // The files themselves are looked through only for one that is there.
    if !description(&stored)?.artifacts.iter().any(|file| file.name == name) {
        return Err(no_file());
    }
    let (files, bytes) = store.files(&stored).await?.find(name).await?;
    let media = match name.rsplit_once('.') {
        Some((_, "json")) => "application/json",
        Some((_, "wasm")) => "application/wasm",
        Some((_, "sol" | "sym")) => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    let mut response = body_of(files).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The content of the file that was found, as a body.
pub(super) fn body_of(files: Files) -> Body {
    let next = |mut files: Files| async move {
        let piece = files.next_piece().await?;
        Ok::<_, CircuitStoreError>(piece.map(|piece| (piece, files)))
    };
    Body::from_stream(stream::try_unfold(files, next))
}

fn no_file() -> ApiError {
    let detail = "no circuit that was built or uploaded has this name and file: GET /v1/circuits/NAME lists the files of \
                  one";
    ApiError::new(ProblemType::CircuitNotFound, detail)
}
