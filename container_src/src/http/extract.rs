//! Parses paths, queries and headers of requests for proofs and jobs into types.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use edgeprove_engine::proof_cache::CachePolicy;
use edgeprove_job_rules::idempotency::IdempotencyKey;
use edgeprove_protocol::{
    CircuitId, JobId, ProblemType, Target, answer::TAR_MEDIA_TYPE, headers, prefer::WAIT_SHARE,
};
use http::{HeaderMap, header, request::Parts};
use serde::Deserialize;

use super::{api_error::ApiError, prefer::preferences, single_header, state::AppState};

/// The circuit in the path; `None` on `/api/prove`, which has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitPath(pub Option<CircuitId>);

impl FromRequestParts<AppState> for CircuitPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let path = Option::<Path<String>>::from_request_parts(parts, state).await;
        let name = path.map_err(|error| ApiError::new(ProblemType::InvalidRequest, error.body_text()))?;
        let Some(Path(name)) = name else { return Ok(Self(None)) };
        match name.parse() {
            Ok(id) => Ok(Self(Some(id))),
            // An invalid name cannot be the name of a circuit.
            Err(error) => Err(ApiError::new(ProblemType::CircuitNotFound, format!("{error}"))),
        }
    }
}

/// The job in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobPath(pub JobId);

impl FromRequestParts<AppState> for JobPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        // An invalid id cannot be the id of a job.
        let Path(name) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| ApiError::no_such_job())?;
        name.parse().map(Self).map_err(|_| ApiError::no_such_job())
    }
}

/// How the caller wants its request handled as a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPreferences {
    /// `Idempotency-Key`: the caller's own key for the request.
    pub idempotency_key: Option<IdempotencyKey>,
    /// `Prefer: respond-async`: answer at once with the job.
    pub respond_async: bool,
    /// `Prefer: wait=N`: answer with the proof if it is ready by then. Cut to a share of the request timeout.
    pub wait: Option<Duration>,
    /// The longest wait.
    pub wait_max: Duration,
}

impl FromRequestParts<AppState> for JobPreferences {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let idempotency_key = idempotency_key(&parts.headers)?;
        let preferences = preferences(&parts.headers);
        let wait_max = state.options.prove_request_timeout.mul_f64(WAIT_SHARE);
        let wait = preferences.wait.map(|wait| wait.min(wait_max));
        Ok(Self { idempotency_key, respond_async: preferences.respond_async, wait, wait_max })
    }
}

/// Parses `Idempotency-Key`, which a request may have once.
pub fn idempotency_key(request_headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let unfit = || ApiError::new(ProblemType::InvalidRequest, headers::UNFIT_IDEMPOTENCY_KEY);
    let text = single_header::text(request_headers, headers::IDEMPOTENCY_KEY).map_err(|_| unfit())?;
    let Some(text) = text else { return Ok(None) };
    // Jobs of earlier versions may have keys with commas, so a stored key has a wider form.
    let key = text.parse().ok().filter(|_| headers::is_acceptable_idempotency_key(text.as_bytes()));
    key.map(Some).ok_or_else(unfit)
}

/// Parses `X-Deadline`: seconds after which the caller has no use for the proof.
pub fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(text) = single_header::text(headers, headers::DEADLINE)? else { return Ok(None) };
    let wrong =
        || ApiError::new(ProblemType::InvalidRequest, "X-Deadline must be a number of seconds, such as 30");
    seconds(text).map(Some).ok_or_else(wrong)
}

/// Parses a number of seconds.
#[must_use]
pub fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// The container that the query names, as `?container=3`. The edge has chosen it by then, so only its form matters; a server alone
/// has none. Other parameters are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedContainer(pub Option<u16>);

#[derive(Deserialize)]
struct RawContainer {
    container: Option<u16>,
}

impl FromRequestParts<AppState> for NamedContainer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let query = Query::<RawContainer>::from_request_parts(parts, state).await;
        let named = query.ok().map(|Query(raw)| raw.container);
        let named = named.filter(|named| named.is_none_or(|number| number <= JobId::INSTANCE_MAX));
        named.map(Self).ok_or_else(|| {
            let detail =
                format!("`container` in the query must be one number from 0 to {}", JobId::INSTANCE_MAX);
            ApiError::new(ProblemType::InvalidRequest, detail)
        })
    }
}

/// The query of a request for a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofQuery {
    /// The circuit, where the path has none.
    pub circuit: Option<CircuitId>,
    /// The verifier; `None`: the circuit's default.
    pub target: Option<Target>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProofQuery {
    circuit: Option<String>,
    target: Option<String>,
}

impl FromRequestParts<AppState> for ProofQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let query = Query::<RawProofQuery>::from_request_parts(parts, state).await;
        let Query(raw) = query.map_err(|_| {
            let detail = "the query allows `target`, as in ?target=evm, and on /v1/proofs `circuit`";
            ApiError::new(ProblemType::InvalidRequest, detail)
        })?;
        let target = raw.target.map(|text| text.parse()).transpose();
        let target = target.map_err(|error: edgeprove_protocol::target::UnknownTarget| {
            ApiError::new(ProblemType::InvalidRequest, format!("`target` in the query: {error}"))
        })?;
        let circuit = raw.circuit.map(|name| name.parse()).transpose();
        // An invalid name cannot be the name of a circuit.
        let circuit = circuit.map_err(|error: edgeprove_protocol::circuit_id::InvalidCircuitId| {
            ApiError::new(ProblemType::CircuitNotFound, error.to_string())
        })?;
        Ok(Self { circuit, target })
    }
}

/// What `Cache-Control` (RFC 9111) allows the proof cache: `no-cache` asks for a new proof, and `no-store` also keeps that
/// proof out of the cache.
#[must_use]
pub fn cache_policy(headers: &HeaderMap) -> CachePolicy {
    let values = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let directives: Vec<_> =
        values.flat_map(|value| value.split(',')).map(|one| one.trim().to_ascii_lowercase()).collect();
    let has = |name: &str| directives.iter().any(|directive| directive == name);
    let store = !has("no-store");
    CachePolicy { read: store && !has("no-cache"), write: store }
}

/// The format of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFormat {
    /// The proof's bytes.
    Bytes,
    /// JSON, with the proof in base64.
    Json,
    /// The proof, its public inputs and its verification key as a tar file.
    Tar,
}

impl AnswerFormat {
    /// Parses `Accept`: the preferred format, and bytes where none is named.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let (mut json, mut tar, mut bytes) = (0.0, 0.0, 0.0);
        let values = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts
                .find_map(|parameter| parameter.strip_prefix("q="))
                .map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0));
            match media.as_str() {
                "application/json" => json = weight.max(json),
                TAR_MEDIA_TYPE => tar = weight.max(tar),
                "application/octet-stream" | "application/*" | "*/*" => bytes = weight.max(bytes),
                _ => {}
            }
        }
        // HTTP libraries that expect JSON send `application/json, */*`.
        match bytes.max(tar).max(json) {
            best if tar > 0.0 && tar >= best => Self::Tar,
            best if json > 0.0 && json >= best => Self::Json,
            _ => Self::Bytes,
        }
    }
}

/// Refuses content types and encodings that cannot be a gzipped witness (415).
pub fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let named =
        |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    let media = named(header::CONTENT_TYPE);
    let media = media.as_deref().map(|value| value.split(';').next().unwrap_or_default().trim());
    match media {
        None | Some("application/gzip" | "application/x-gzip" | "application/octet-stream") => {}
        Some(other) => {
            let hint = match other {
                "application/x-www-form-urlencoded" => {
                    "; with curl: --data-binary @witness.gz -H 'Content-Type: application/gzip' (-d changes the bytes)"
                }
                "multipart/form-data" => "; with curl: --data-binary @witness.gz instead of -F",
                "text/plain" => "; the body is the file that nargo execute or noir_js writes",
                _ => "",
            };
            let sent = match shown(other) {
                empty if empty.is_empty() => "an empty Content-Type".to_owned(),
                other => format!("Content-Type: {other}"),
            };
            let detail = format!(
                "the request has {sent}; send the gzipped witness as Content-Type: application/gzip \
                 (or application/octet-stream), or inputs as application/json{hint}"
            );
            return Err(ApiError::new(ProblemType::UnsupportedMediaType, detail));
        }
    }
    // A client that declares the gzip as an encoding sends the same bytes.
    match named(header::CONTENT_ENCODING).as_deref() {
        None | Some("identity" | "gzip" | "x-gzip") => Ok(()),
        Some(other) => {
            let sent = match shown(other) {
                empty if empty.is_empty() => "an empty Content-Encoding".to_owned(),
                other => format!("Content-Encoding: {other}"),
            };
            let detail = format!(
                "the request has {sent}; send the gzipped witness with Content-Encoding: gzip or none"
            );
            Err(ApiError::new(ProblemType::UnsupportedMediaType, detail))
        }
    }
}

/// The beginning of a header's value, for a message.
fn shown(value: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    value.chars().filter(|character| !character.is_control()).take(CHARACTERS_MAX).collect()
}

/// The `Content-Length` of a request.
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
    fn cache_control_limits_the_proof_cache() {
        let of = |value: &'static str| {
            let headers = [(header::CACHE_CONTROL, HeaderValue::from_static(value))].into_iter().collect();
            let CachePolicy { read, write } = cache_policy(&headers);
            (read, write)
        };
        assert_eq!(of("max-age=0"), (true, true));
        assert_eq!(of("No-Cache"), (false, true));
        assert_eq!(of("private, no-store"), (false, false));
    }

    #[test]
    fn json_is_returned_where_it_is_preferred() {
        for json in ["application/json", "application/json, */*", "text/html, application/JSON;q=0.9"] {
            assert_eq!(format(json), AnswerFormat::Json, "{json}");
        }
        for bytes in ["*/*", "application/octet-stream", "application/*", "", "application/json;q=0"] {
            assert_eq!(format(bytes), AnswerFormat::Bytes, "{bytes}");
        }
        assert_eq!(format("application/json;q=0.5, application/octet-stream"), AnswerFormat::Bytes);
        for tar in
            ["application/x-tar", "application/x-tar, */*", "application/json;q=0.5, Application/X-Tar"]
        {
            assert_eq!(format(tar), AnswerFormat::Tar, "{tar}");
        }
        assert_eq!(format("application/x-tar;q=0.5, application/json"), AnswerFormat::Json);
        assert_eq!(format("application/x-tar;q=0"), AnswerFormat::Bytes);
        assert_eq!(AnswerFormat::from_headers(&HeaderMap::new()), AnswerFormat::Bytes);
    }

    #[test]
    fn a_form_is_not_a_witness() {
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
