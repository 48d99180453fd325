//! `GET /problems/{code}`: the meaning of a problem code. Problem documents link here.

use axum::{
    Json,
    extract::{Path, rejection::PathRejection},
};
use edgeprove_protocol::{ProblemType, problem::Severity};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::api_error::ApiError;

/// What a problem code means.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProblemDescription {
    /// The code.
    code: &'static str,
    /// The short sentence of its documents.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What it means.
    meaning: &'static str,
    /// How serious it is for the operator of the service.
    severity: Severity,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Whether a smaller circuit may succeed instead.
    fallback: bool,
    /// What to do about it.
    advice: &'static str,
}

/// 200 with the description of a problem type; 404 for an unknown code.
pub async fn problem(
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<ProblemDescription>, ApiError> {
    // A path that is not UTF-8 has no code, and no type has the empty one.
    let code = code.map_or_else(|_| String::new(), |Path(code)| code);
    let known = ProblemType::ALL.iter().find(|kind| kind.code() == code);
    let kind = known.ok_or_else(|| ApiError::new(ProblemType::NotFound, "there is no such problem type"))?;
    Ok(Json(ProblemDescription {
        code: kind.code(),
        title: kind.title(),
        status: kind.status(),
        meaning: kind.meaning(),
        severity: kind.severity(),
        retryable: kind.retryable(),
        fallback: kind.fallback(),
        advice: kind.advice(),
    }))
}
