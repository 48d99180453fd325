//! What callers may ask for, as `GET /` lists it. Edge and server both answer these, and each some of its own besides.

use serde::Serialize;

/// One endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its method.
    pub method: &'static str,
    /// The pattern of its path.
    pub path: &'static str,
    /// What it does, for people.
    pub does: &'static str,
}

impl Endpoint {
    /// One of these.
    #[must_use]
    pub const fn new(method: &'static str, path: &'static str, does: &'static str) -> Self {
        Self { method, path, does }
    }
}

/// Those that both answer.
pub const SHARED: [Endpoint; 10] = [
    Endpoint::new(
        "POST",
        "/api/prove",
        "proves a gzipped witness of the default circuit; answers the proof's bytes, or JSON by Accept: application/json; \
         ?target=evm for Solidity verifiers",
    ),
    Endpoint::new("POST", "/api/prove/{circuit}", "the same for a circuit by name"),
    Endpoint::new(
        "POST",
        "/v1/proofs",
        "takes a gzipped witness for ?circuit=NAME and answers 202 with a job; so does /api/prove with Prefer: respond-async",
    ),
    Endpoint::new("GET", "/v1/proofs", "the caller's jobs; ?status=, ?circuit=, ?limit=, ?after="),
    Endpoint::new("GET", "/v1/proofs/{id}", "a job: status, stage, place in the queue, estimate"),
    Endpoint::new("GET", "/v1/proofs/{id}/proof", "its proof"),
    Endpoint::new(
        "GET",
        "/v1/proofs/{id}/events",
        "what happens to it, as server-sent events or over a WebSocket",
    ),
    Endpoint::new("DELETE", "/v1/proofs/{id}", "calls it off"),
    Endpoint::new("GET", "/v1/queue", "how many jobs there are and how long they wait"),
    Endpoint::new("GET", "/problems/{code}", "what an error's code means"),
];
