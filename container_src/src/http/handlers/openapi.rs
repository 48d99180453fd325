//! `GET /openapi.json`: the interface as an OpenAPI document. `GET /docs`: the same for people.
//!
//! Methods and paths come from the table of endpoints, and schemas from the types that are sent, so that neither can differ from the
//! code. What else an operation has is in [`operations`]. The tests compare every answer of a real server with the document, and
//! `docs/openapi.json` with what the code makes.
//!
//! Imports run down this list only.
//! - [`page`]: the document as a page.
//! - [`mod@document`]: the document.
//! - [`operations`]: the operations, one file for each group of endpoints.
//! - [`operation`]: what the document has of an operation.
//! - [`problems`]: the problem types that many operations share.
//! - [`schemas`]: the schemas of bodies.

#![allow(
    clippy::enum_glob_use,
    reason = "an operation lists its problem types, and their names are in no other type"
)]
#![allow(clippy::too_many_lines, reason = "a group of operations is one table")]

pub mod document;
pub mod operation;
pub mod operations;
pub mod page;
pub mod problems;
pub mod schemas;

use axum::response::{IntoResponse as _, Response};
use http::header;

/// A cache asks each time, because a server of another version has another document.
const CACHE: &str = "no-cache";

/// 200 with the document.
pub async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHE)], document::TEXT.as_str())
        .into_response()
}

/// 200 with the document as a page, which needs nothing else: no script, and no other file.
pub async fn reader() -> Response {
    let page::Page { html, policy } = &*page::PAGE;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, CACHE),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
    ];
    (headers, html.as_str()).into_response()
}
