//! Responses that the edge writes itself.

use std::time::Duration;

use edgeprove_protocol::{
    endpoints::{self, Endpoint},
    problem,
};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde_json::json;

use crate::edge_error::EdgeError;

/// A response with its body in memory.
#[derive(Debug, Clone)]
pub struct EdgeResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: String,
    /// The name of the file of the page that is the body instead.
    pub file: Option<&'static str>,
}

impl EdgeResponse {
    /// A response without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: String::new(), file: None }
    }

    /// A JSON document that no cache may store.
    #[must_use]
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Serialising cannot fail: every body has text keys and derived serialisers.
        Self { status, headers, body: serde_json::to_string(body).unwrap_or_default(), file: None }
    }

    /// The problem document of a failure.
    #[must_use]
    pub fn problem(error: &EdgeError, request_id: &str) -> Self {
        let problem = error.problem(request_id);
        let mut response = Self::json(problem.status, &problem);
        let headers = &mut response.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
        if let Some(time) = error.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(time)));
        }
        if let Some(allow) = error.allow().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if problem.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// `GET /`: the endpoints of the edge.
    #[must_use]
    pub fn endpoint_list() -> Self {
        let endpoints: Vec<&Endpoint> = endpoints::at_edge().collect();
        let body = json!({
            "name": "edgeprove",
            "version": env!("CARGO_PKG_VERSION"),
            "endpoints": endpoints,
        });
        Self::json(200, &body)
    }
}

/// At least one second.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::Problem;

    use super::*;
    use crate::{api_keys::Denied, router::RouteError};

    #[test]
    fn a_problem_has_the_headers_for_a_retry_or_a_key() {
        let limited = EdgeResponse::problem(&EdgeError::RateLimited, "r1");
        assert_eq!((limited.status, limited.headers[header::RETRY_AFTER].to_str().unwrap()), (429, "60"));
        assert_eq!(limited.headers[header::CONTENT_TYPE], problem::MEDIA_TYPE);
        let problem: Problem = serde_json::from_str(&limited.body).unwrap();
        assert_eq!((problem.code.as_str(), problem.request_id.as_deref()), ("rate_limited", Some("r1")));

        let not_allowed = RouteError::MethodNotAllowed { allow: "POST, OPTIONS".to_owned() };
        let wrong_method = EdgeResponse::problem(&not_allowed.into(), "r2");
        assert_eq!(wrong_method.headers[header::ALLOW], "POST, OPTIONS");
        let no_key = EdgeResponse::problem(&Denied::NoKey.into(), "r3");
        let authenticate = no_key.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
        assert_eq!((no_key.status, authenticate), (401, "Bearer"));
    }

    #[test]
    fn the_list_has_the_endpoints_of_the_edge_only() {
        let list = EdgeResponse::endpoint_list().body;
        for endpoint in endpoints::ALL {
            let row = serde_json::to_string(endpoint).unwrap();
            assert_eq!(list.contains(&row), endpoint.is_at_edge(), "{row}");
        }
    }
}
