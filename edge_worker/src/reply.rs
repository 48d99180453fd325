//! Answers of the edge's own.

use std::time::Duration;

use edgeprove_protocol::{
    ProblemType,
    endpoints::{self, Endpoint},
    headers, problem,
};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{edge_error::EdgeError, lifecycle::Status};

/// An answer with a body that is at hand.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: String,
}

/// One container, as `/edge/health` tells of it.
#[derive(Debug, Clone, Serialize)]
pub struct ContainerHealth {
    /// Its number.
    pub instance: u16,
    /// What its object says; `None` where that does not answer.
    pub status: Option<Status>,
}

impl Reply {
    /// No body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: String::new() }
    }

    /// A JSON document that no cache may keep.
    #[must_use]
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // What is answered here has text keys and no failing serialiser of its own.
        Self { status, headers, body: serde_json::to_string(body).unwrap_or_default() }
    }

    /// A failure's problem document.
    #[must_use]
    pub fn problem(error: &EdgeError, request_id: &str) -> Self {
        let mut reply = Self::json(error.kind.status(), &error.problem(request_id));
        reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
        if let Some(time) = error.retry_after {
            reply.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(time)));
        }
        if let Some(allow) = error.allow {
            reply.headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if error.kind.status() == 401 {
            reply.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        reply
    }

    /// `GET /`: the endpoints.
    #[must_use]
    pub fn index() -> Self {
        let endpoints: Vec<&Endpoint> = endpoints::at_edge().collect();
        Self::json(
            200,
            &json!({
                "name": "edgeprove",
                "version": env!("CARGO_PKG_VERSION"),
                "endpoints": endpoints,
            }),
        )
    }

    /// `GET /edge/health`: that the edge works; and to whoever may know, how its containers are and what is doubtful.
    #[must_use]
    pub fn health(details: Option<(&[ContainerHealth], &[String], Option<&str>)>) -> Self {
        let mut body = json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") });
        if let Some((containers, warnings, upstream)) = details {
            body["containers"] = json!(containers);
            body["warnings"] = json!(warnings);
            body["upstream"] = upstream.map_or(Value::Null, Value::from);
        }
        Self::json(200, &body)
    }
}

/// Makes an answer of a server fit for the caller: what the edge and the server say only to each other is taken away.
pub fn strip_inner_headers(answer: &mut HeaderMap) {
    for name in [headers::PROVER_LOAD, headers::EDGE_SECRET, FAULT] {
        answer.remove(name);
    }
}

/// Whether an answer may be a server's refusal of the edge itself. Only then its body is worth a look.
#[must_use]
pub fn may_refuse_the_edge(status: u16, content_type: Option<&str>) -> bool {
    let media_type = content_type.and_then(|content_type| content_type.split(';').next());
    status == ProblemType::NotFromTheEdge.status()
        && media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(problem::MEDIA_TYPE))
}

/// Whether such an answer is one, by its body. The answer to a `HEAD` has none to say so, and counts as one: no server
/// of ours has another 403 for the edge.
#[must_use]
pub fn refuses_the_edge(body: &[u8]) -> bool {
    let code = |body| serde_json::from_slice::<Value>(body).ok()?.get("code")?.as_str().map(str::to_owned);
    body.is_empty() || code(body).as_deref() == Some(ProblemType::NotFromTheEdge.code())
}

/// Tells the Worker that an answer is its own object's problem and not the container's, and which.
pub const FAULT: &str = "x-edge-fault";

/// Gives a header one value and no other. A value that cannot be one leaves the header out.
pub fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.remove(name);
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whole seconds, at least one.
fn seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::Problem;

    use super::*;
    use crate::router::NoRoute;

    #[test]
    fn a_failure_says_what_to_do() {
        let reply = Reply::problem(&EdgeError::rate_limited(), "r1");
        assert_eq!((reply.status, reply.headers[header::RETRY_AFTER].to_str().unwrap()), (429, "60"));
        assert_eq!(reply.headers[header::CONTENT_TYPE], problem::MEDIA_TYPE);
        let problem: Problem = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((problem.code, problem.request_id.as_deref()), (ProblemType::RateLimited, Some("r1")));

        let wrong_method = Reply::problem(&NoRoute::MethodNotAllowed { allow: "POST, OPTIONS" }.into(), "r2");
        assert_eq!(wrong_method.headers[header::ALLOW], "POST, OPTIONS");
        let no_key = Reply::problem(&crate::access::Denied::NoKey.into(), "r3");
        assert_eq!(
            (no_key.status, no_key.headers[header::WWW_AUTHENTICATE].to_str().unwrap()),
            (401, "Bearer")
        );
    }

    #[test]
    fn health_tells_strangers_only_that_it_works() {
        let told = Reply::health(None).body;
        assert!(!told.contains("warnings") && !told.contains("containers"), "{told}");
        let warnings = ["API_KEYS is not set".to_owned()];
        let told = Reply::health(Some((&[], &warnings, None))).body;
        assert!(told.contains("API_KEYS"), "{told}");
    }

    #[test]
    fn only_a_servers_refusal_of_the_edge_is_taken_for_one() {
        assert!(may_refuse_the_edge(403, Some(problem::MEDIA_TYPE)));
        assert!(may_refuse_the_edge(403, Some("Application/Problem+JSON; charset=utf-8")));
        assert!(!may_refuse_the_edge(401, Some(problem::MEDIA_TYPE)));
        assert!(!may_refuse_the_edge(403, Some("application/json")));
        assert!(!may_refuse_the_edge(403, None));

        for &kind in ProblemType::ALL {
            let body = serde_json::to_vec(&Problem::new(kind, "what", Some("id".to_owned()))).unwrap();
            assert_eq!(refuses_the_edge(&body), kind == ProblemType::NotFromTheEdge, "{kind:?}");
        }
        assert!(refuses_the_edge(b""), "the answer to a HEAD");
        for other in ["{}", "[]", "not_from_the_edge", r#"{"code":7}"#, r#"{"code":"not_from_the_edge""#] {
            assert!(!refuses_the_edge(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_is_said_between_edge_and_server_goes_no_further() {
        let mut answer = HeaderMap::new();
        set(&mut answer, headers::PROVER_LOAD, "running=1, waiting=0, cores=2");
        set(&mut answer, FAULT, "container_lost");
        set(&mut answer, headers::VK_HASH, "00");
        strip_inner_headers(&mut answer);
        assert_eq!(answer.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), [headers::VK_HASH]);
    }
}
