//! Paths, queries and headers become types here; no raw text of a caller passes this file.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use edgeprove_job_rules::idempotency::IdempotencyKey;
use edgeprove_protocol::{CircuitId, JobId, ProblemType, Target, headers};
use http::{HeaderMap, header, request::Parts};
use serde::Deserialize;

use super::{api_error::ApiError, state::AppState};
use edgeprove_engine::proof_cache::CachePolicy;

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

/// The job a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedJob(pub JobId);

impl FromRequestParts<AppState> for NamedJob {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        // A name that no job can have is the name of no job.
        let Path(name) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| ApiError::no_such_job())?;
        name.parse().map(Self).map_err(|_| ApiError::no_such_job())
    }
}

/// The caller's own name for its request, and whether it is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobWish {
    /// The caller's own name for the request.
    pub key: Option<IdempotencyKey>,
    /// `Prefer: respond-async`: not at all.
    pub respond_async: bool,
    /// `Prefer: wait=N`: for so long, and no longer than a request may take.
    pub wait: Option<Duration>,
}

impl FromRequestParts<AppState> for JobWish {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let key = text(&parts.headers, headers::IDEMPOTENCY_KEY).map(str::parse).transpose();
        let key = key.map_err(|error| {
            ApiError::new(ProblemType::InvalidRequest, format!("Idempotency-Key: {error}"))
        })?;
        let preferences = Preferences::of(&parts.headers);
        let longest = state.options.prove_request_timeout.mul_f64(WAIT_PART);
        let wait = preferences.wait.map(|wait| wait.min(longest));
        Ok(Self { key, respond_async: preferences.respond_async, wait })
    }
}

/// For how long the caller has use for the proof: `X-Deadline`, in seconds.
pub fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(text) = text(headers, headers::DEADLINE) else { return Ok(None) };
    let seconds = text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let wrong =
        || ApiError::new(ProblemType::InvalidRequest, "X-Deadline is a number of seconds, such as 30");
    seconds.map(Some).ok_or_else(wrong)
}

/// How much of a request's longest time may be spent on waiting for a job: the rest is for its upload and its answer.
const WAIT_PART: f64 = 0.75;

/// What `Prefer` says (RFC 7240), as far as it is understood; the rest is passed over, as it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preferences {
    /// The answer need not be waited for.
    pub respond_async: bool,
    /// The answer may be waited for so long.
    pub wait: Option<Duration>,
}

impl Preferences {
    /// From the headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut preferences = Self::default();
        let values = headers.get_all(headers::PREFER).into_iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split(',')) {
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => preferences.respond_async = true,
                // Of two that differ the first holds.
                "wait" if preferences.wait.is_none() => {
                    preferences.wait = value.trim().trim_matches('"').parse().ok().map(Duration::from_secs);
                }
                _ => {}
            }
        }
        preferences
    }

    /// Whether the caller wants a job rather than to wait for as long as it takes.
    #[must_use]
    pub fn wants_a_job(self) -> bool {
        self.respond_async || self.wait.is_some()
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"))
}

/// What the query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The circuit, where the path names none.
    pub circuit: Option<CircuitId>,
    /// The verifier; `None` leaves it to the circuit.
    pub target: Option<Target>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWish {
    circuit: Option<String>,
    target: Option<String>,
}

impl FromRequestParts<AppState> for Wish {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let query = Query::<RawWish>::from_request_parts(parts, state).await;
        let Query(raw) = query.map_err(|_| {
            let detail = "the query may hold `target`, as in ?target=evm, and on /v1/proofs `circuit`";
            ApiError::new(ProblemType::InvalidRequest, detail)
        })?;
        let target = raw.target.map(|text| text.parse()).transpose();
        let target = target.map_err(|error: edgeprove_protocol::target::UnknownTarget| {
            ApiError::new(ProblemType::InvalidRequest, format!("in ?target=: {error}"))
        })?;
        let circuit = raw.circuit.map(|name| name.parse()).transpose();
        // A name that no circuit can have is the name of no circuit.
        let circuit = circuit.map_err(|error: edgeprove_protocol::circuit_id::InvalidCircuitId| {
            ApiError::new(ProblemType::CircuitNotFound, error.to_string())
        })?;
        Ok(Self { circuit, target })
    }
}

/// What `Cache-Control` (RFC 9111) allows the proof cache: `no-cache` asks for a new proof, and `no-store` also keeps that
/// proof out of the cache.
#[must_use]
pub fn cache_wish(headers: &HeaderMap) -> CachePolicy {
    let values = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let directives: Vec<_> =
        values.flat_map(|value| value.split(',')).map(|one| one.trim().to_ascii_lowercase()).collect();
    let has = |name: &str| directives.iter().any(|directive| directive == name);
    let keep = !has("no-store");
    CachePolicy { read: keep && !has("no-cache"), write: keep }
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

    fn preferring(values: &[&'static str]) -> Preferences {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(headers::PREFER, HeaderValue::from_static(value));
        }
        Preferences::of(&headers)
    }

    #[test]
    fn preferences_are_read_and_others_passed_over() {
        let wait = |seconds| Some(Duration::from_secs(seconds));
        for (values, respond_async, waits) in [
            (&["respond-async"][..], true, None),
            (&["Respond-Async, wait=10"], true, wait(10)),
            (&["return=minimal", "wait=\"5\"; x=y"], false, wait(5)),
            (&["wait=3, wait=4"], false, wait(3)),
            (&["wait=soon"], false, None),
            (&["handling=raw_setting"], false, None),
            (&[], false, None),
        ] {
            assert_eq!(preferring(values), Preferences { respond_async, wait: waits }, "{values:?}");
        }
    }

    fn format(accept: &'static str) -> AnswerFormat {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        AnswerFormat::from_headers(&headers)
    }

    #[test]
    fn the_cache_is_left_alone_where_that_is_wanted() {
        let of = |value: &'static str| {
            let headers = [(header::CACHE_CONTROL, HeaderValue::from_static(value))].into_iter().collect();
            let CachePolicy { read: find, write: keep } = cache_wish(&headers);
            (find, keep)
        };
        assert_eq!(of("max-age=0"), (true, true));
        assert_eq!(of("No-Cache"), (false, true));
        assert_eq!(of("private, no-store"), (false, false));
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
