//! The id of a request, and the route that it takes.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use edgeprove_protocol::{TraceContext, headers, trace_context::TRACEPARENT};
use http::{HeaderMap, HeaderValue};
use tower_http::request_id::{MakeRequestId, RequestId};

/// Makes an id for each request that has none: a random UUID.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomRequestId;

impl MakeRequestId for RandomRequestId {
    fn make_request_id<B>(&mut self, _request: &http::Request<B>) -> Option<RequestId> {
        let id = uuid::Uuid::new_v4().to_string();
        HeaderValue::from_str(&id).ok().map(RequestId::new)
    }
}

/// Removes a caller's request id that must not enter a log line. The next layer then makes a new one.
pub async fn remove_invalid_request_id(mut request: Request, next: Next) -> Response {
    let id = request.headers().get(headers::REQUEST_ID);
    if id.is_some_and(|id| !headers::is_acceptable_request_id(id.as_bytes())) {
        request.headers_mut().remove(headers::REQUEST_ID);
    }
    next.run(request).await
}

/// The request's id. Empty before tower-http has set it.
#[must_use]
pub fn request_id<B>(request: &http::Request<B>) -> String {
    request_id_of(request.headers())
}

/// The trace that the request belongs to; `None` without exactly one valid `traceparent`.
#[must_use]
pub fn trace_of(request_headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = request_headers.get_all(TRACEPARENT).into_iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()?.trim().parse().ok()
}

/// The request's id, from its headers.
#[must_use]
pub fn request_id_of(request_headers: &HeaderMap) -> String {
    let id = request_headers.get(headers::REQUEST_ID);
    id.and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
}

/// The route of a request for which there is none.
pub const UNKNOWN_ROUTE: &str = "unknown";

/// Routes that monitors and platforms call all the time.
pub const PROBES: [&str; 3] = ["/livez", "/metrics", "/readyz"];

/// The pattern of the route that a request takes, such as `/v1/proofs/{id}`; `unknown` where there is none.
pub fn route(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or(UNKNOWN_ROUTE, MatchedPath::as_str)
}

/// Whether the request is a probe.
#[must_use]
pub fn is_probe(request: &Request) -> bool {
    PROBES.contains(&route(request))
}
