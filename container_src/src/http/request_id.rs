//! What a request is called, and which route it takes.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use edgeprove_protocol::headers;
use http::{HeaderMap, HeaderValue};
use tower_http::request_id::{MakeRequestId, RequestId};

/// Ids of requests that bring none of their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct FreshRequestId;

impl MakeRequestId for FreshRequestId {
    fn make_request_id<B>(&mut self, _request: &http::Request<B>) -> Option<RequestId> {
        let id = uuid::Uuid::new_v4().to_string();
        HeaderValue::from_str(&id).ok().map(RequestId::new)
    }
}

/// Takes away a request id that must not enter a log line, so that a fresh one is made.
pub async fn refuse_unfit_request_id(mut request: Request, next: Next) -> Response {
    let id = request.headers().get(headers::REQUEST_ID);
    if id.is_some_and(|id| !headers::is_acceptable_request_id(id.as_bytes())) {
        request.headers_mut().remove(headers::REQUEST_ID);
    }
    next.run(request).await
}

/// The request's id, once tower-http has set it.
#[must_use]
pub fn request_id<B>(request: &http::Request<B>) -> String {
    id_of(request.headers())
}

/// The same from a request's headers.
#[must_use]
pub fn id_of(asked: &HeaderMap) -> String {
    let id = asked.get(headers::REQUEST_ID);
    id.and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
}

/// Routes that tell how the server is, and are asked without a pause.
pub const PROBES: [&str; 3] = ["/livez", "/metrics", "/readyz"];

/// The pattern of the path that a request takes.
pub fn route(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str)
}

/// Whether a request only asks how the server is.
#[must_use]
pub fn is_probe(request: &Request) -> bool {
    PROBES.contains(&route(request))
}
