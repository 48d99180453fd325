//! `GET /problems/{code}`: the meaning of a problem code. Problem documents link here.

use axum::{Json, extract::Path};
use edgeprove_protocol::ProblemType;
use serde_json::{Value, json};

use crate::http::api_error::ApiError;

/// 200 with the description of a problem type; 404 for an unknown code.
pub async fn problem(Path(code): Path<String>) -> Result<Json<Value>, ApiError> {
    let known = ProblemType::ALL.iter().find(|kind| kind.code() == code);
    let kind = known.ok_or_else(|| ApiError::new(ProblemType::NotFound, "there is no such problem type"))?;
    Ok(Json(json!({
        "code": kind.code(),
        "title": kind.title(),
        "status": kind.status(),
        "meaning": kind.meaning(),
        "severity": kind.severity(),
        "retryable": kind.retryable(),
        "fallback": kind.fallback(),
        "advice": kind.advice(),
    })))
}
