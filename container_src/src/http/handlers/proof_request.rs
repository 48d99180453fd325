//! Decides whether a request for a proof is proved while its caller waits, or becomes a job.
//!
//! - `POST /v1/proofs` and `Prefer: respond-async` ask for a job. A server without jobs refuses them.
//! - `Prefer: wait=N` asks for the proof, and accepts a job where that takes too long, also with `respond-async`. A server
//!   without jobs proves while the caller waits, as long as that takes: there is nothing else that it could answer with.
//! - An `Idempotency-Key` makes a job of any request: only a stored job can be recognized.
//! - All other requests are proved while the caller waits.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    response::Response,
};
use edgeprove_protocol::headers;
use http::{HeaderMap, HeaderValue};

use super::{
    prove,
    submit_job::{self, DefaultAnswer},
};
use crate::http::{
    prefer::{Preferences, preferences},
    state::AppState,
};

/// Handles `POST /api/prove` and `POST /api/prove/{circuit}`. See the module.
pub async fn prove(State(app): State<AppState>, request: Request) -> Response {
    respond(&app, request, DefaultAnswer::Proof).await
}

/// Handles `POST /v1/proofs`. See the module.
pub async fn submit_job(State(app): State<AppState>, request: Request) -> Response {
    respond(&app, request, DefaultAnswer::Job).await
}

async fn respond(app: &AppState, request: Request, default: DefaultAnswer) -> Response {
    let preferences = preferences(request.headers());
    if becomes_job(request.headers(), preferences, default, app.jobs().is_ok()) {
        return submit_job::submit(app, request, default).await;
    }
    let arrived = Instant::now();
    let mut response = prove::prove(app, request).await;
    if let Some(wait) = preferences.wait.filter(|wait| arrived.elapsed() <= *wait)
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
        && response.status().is_success()
    {
        response.headers_mut().insert(headers::PREFERENCE_APPLIED, applied);
    }
    response
}

/// Whether the request becomes a job. If it must, although the server has none, it is refused later.
fn becomes_job(
    request_headers: &HeaderMap,
    preferences: Preferences,
    default: DefaultAnswer,
    has_jobs: bool,
) -> bool {
    if request_headers.contains_key(headers::IDEMPOTENCY_KEY) {
        return true;
    }
    let wants_job = default == DefaultAnswer::Job || preferences.wants_a_job();
    wants_job && (has_jobs || preferences.wait.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(sent: &[(&'static str, &'static str)], default: DefaultAnswer) -> [bool; 2] {
        let headers: HeaderMap = sent
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let preferences = preferences(&headers);
        [true, false].map(|has_jobs| becomes_job(&headers, preferences, default, has_jobs))
    }

    #[test]
    fn only_a_caller_that_may_wait_is_proved_for_without_jobs() {
        use DefaultAnswer::{Job, Proof};
        for (sent, default, expected) in [
            (&[][..], Proof, [false, false]),
            (&[], Job, [true, true]),
            (&[("prefer", "wait=5")], Proof, [true, false]),
            (&[("prefer", "wait=5")], Job, [true, false]),
            (&[("prefer", "respond-async")], Proof, [true, true]),
            (&[("prefer", "respond-async, wait=5")], Proof, [true, false]),
            (&[("prefer", "respond-async, wait=5")], Job, [true, false]),
            (&[("prefer", "respond-async, wait=soon")], Proof, [true, true]),
            (&[("idempotency-key", "a")], Proof, [true, true]),
            (&[("prefer", "wait=5"), ("idempotency-key", "a")], Proof, [true, true]),
            (&[("prefer", "return=minimal")], Proof, [false, false]),
        ] {
            assert_eq!(becomes(sent, default), expected, "{sent:?} {default:?}");
        }
    }
}
