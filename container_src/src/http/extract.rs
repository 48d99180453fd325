//! Paths, queries and headers become types here; no raw text of a caller passes this file.

use axum::extract::{FromRequestParts, Path, Query};
use edgeprove_protocol::{CircuitId, ProblemType, VerifierTarget};
use http::{HeaderMap, header, request::Parts};
use serde::Deserialize;

use super::{api_error::ApiError, state::AppState};

/// The circuit a path names; `None` on the path that names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCircuit(pub Option<CircuitId>);

impl FromRequestParts<AppState> for NamedCircuit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let path = Option::<Path<String>>::from_request_parts(parts, state).await;
        let name = path.map_err(|error| ApiError::new(ProblemType::InvalidRequest, error.body_text()))?;
        let Some(Path(name)) = name else { return Ok(Self(None)) };
        match name.parse() {
            Ok(id) => Ok(Self(Some(id))),
            // A name that no circuit can have is the name of no circuit.
            Err(error) => Err(ApiError::new(ProblemType::CircuitNotFound, format!("{error}"))),
        }
    }
}

/// What the query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The verifier; `None` leaves it to the circuit.
    pub target: Option<VerifierTarget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWish {
    target: Option<String>,
}

impl FromRequestParts<AppState> for Wish {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let query = Query::<RawWish>::from_request_parts(parts, state).await;
        let Query(raw) = query.map_err(|_| {
            let detail = "the query may hold `target` and nothing else, as in ?target=evm";
            ApiError::new(ProblemType::InvalidRequest, detail)
        })?;
        let target = raw.target.map(|text| text.parse()).transpose();
        let target = target.map_err(|error: edgeprove_protocol::target::UnknownTarget| {
            ApiError::new(ProblemType::InvalidRequest, format!("in ?target=: {error}"))
        })?;
        Ok(Self { target })
    }
}

/// How the proof is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFormat {
    /// The proof's bytes.
    Bytes,
    /// JSON with the proof in base64.
    Json,
}

impl AnswerFormat {
    /// From `Accept`: JSON for whoever prefers it to bytes, bytes for everyone else.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let (mut json, mut bytes) = (0.0, 0.0);
        let values = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts
                .find_map(|parameter| parameter.strip_prefix("q="))
                .map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0));
            match media.as_str() {
                "application/json" => json = weight.max(json),
                "application/octet-stream" | "application/*" | "*/*" => bytes = weight.max(bytes),
                _ => {}
            }
        }
        // `application/json, */*` is what HTTP libraries send when told to expect JSON.
        if json > 0.0 && json >= bytes { Self::Json } else { Self::Bytes }
    }
}

/// Refuses bodies that say they are something other than a gzipped witness.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let named =
        |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    let media = named(header::CONTENT_TYPE);
    let media = media.as_deref().map(|value| value.split(';').next().unwrap_or_default().trim());
    match media {
        None | Some("application/gzip" | "application/x-gzip" | "application/octet-stream") => {}
        Some(_) => {
            let detail =
                "send the gzipped witness as Content-Type: application/gzip (or application/octet-stream)";
            return Err(ApiError::new(ProblemType::UnsupportedMediaType, detail));
        }
    }
    // A client that calls the gzip an encoding sends the same bytes.
    match named(header::CONTENT_ENCODING).as_deref() {
        None | Some("identity" | "gzip" | "x-gzip") => Ok(()),
        Some(_) => {
            let detail = "Content-Encoding may be gzip or absent";
            Err(ApiError::new(ProblemType::UnsupportedMediaType, detail))
        }
    }
}

/// The length a request declares for its body.
#[must_use]
pub fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn format(accept: &'static str) -> AnswerFormat {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        AnswerFormat::from_headers(&headers)
    }

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        for json in ["application/json", "application/json, */*", "text/html, application/JSON;q=0.9"] {
            assert_eq!(format(json), AnswerFormat::Json, "{json}");
        }
        for bytes in ["*/*", "application/octet-stream", "application/*", "", "application/json;q=0"] {
            assert_eq!(format(bytes), AnswerFormat::Bytes, "{bytes}");
        }
        assert_eq!(format("application/json;q=0.5, application/octet-stream"), AnswerFormat::Bytes);
        assert_eq!(AnswerFormat::from_headers(&HeaderMap::new()), AnswerFormat::Bytes);
    }

    #[test]
    fn a_form_is_no_witness() {
        let mut headers = HeaderMap::new();
        assert!(check_content_type(&headers).is_ok());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/gzip; x=y"));
        assert!(check_content_type(&headers).is_ok());
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        assert!(check_content_type(&headers).is_err());
        headers.remove(header::CONTENT_ENCODING);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        assert!(check_content_type(&headers).is_err());
    }
}
