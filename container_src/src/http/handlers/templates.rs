//! `GET /v1/templates`: the circuit templates. `GET /v1/templates/{name}`: everything about one.
//!
//! Both are for anybody: the templates are those of the program, and reveal nothing about the server's circuits.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use edgeprove_templates::{TemplateDocument, TemplateList};

use crate::http::{api_error::ApiError, state::AppState};

/// Lists the templates.
pub async fn list_templates(State(app): State<AppState>) -> Json<TemplateList> {
    Json(TemplateList::of(&app.templates))
}

/// 200 with the template; 404 with the known names if there is none with this name.
pub async fn template(
    State(app): State<AppState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<TemplateDocument>, ApiError> {
    // A path that is not UTF-8 has no name, and no template has the empty one.
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    let entry = app.templates.entry(&name)?;
    Ok(Json(TemplateDocument::of(entry)?))
}
