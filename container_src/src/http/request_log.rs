//! One log line and one count per request, and the problem document of every failure.

use std::{net::IpAddr, time::Instant};

use axum::{
    body::Body,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{ProblemType, TraceContext, answer::Timings, problem};
use edgeprove_telemetry::metrics;
use http::{HeaderValue, Method, StatusCode, header};
use tracing::{Instrument, Span, field::DisplayValue};

use super::{
    api_error::ApiError,
    caller::caller_name,
    milliseconds,
    request_id::{PROBES, request_id, route, trace_of},
    trusted_edge::reported_caller,
};

/// The tracing span of a request. Every log line within it has the request's id, and the ids of its trace.
pub fn span<B>(request: &http::Request<B>) -> Span {
    let trace = trace_of(request.headers());
    let (trace_id, span_id) =
        (trace.as_ref().map(TraceContext::trace_id), trace.as_ref().map(TraceContext::span_id));
    tracing::info_span!("request", request_id = request_id(request), trace_id, span_id)
}

/// Runs the request, writes the problem document of a failure, and logs and counts the outcome. A request whose client
/// disconnects is logged and counted too.
pub async fn log_request(request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let mut line = LogLine {
        started: Instant::now(),
        method: known_method(request.method()),
        // The pattern and not the path, so that no caller's text enters the log.
        route: route(&request).to_owned(),
        client_ip: reported_caller(request.extensions()).ip,
        user: caller_name(&request),
        is_written: false,
    };
    let response = next.run(request).instrument(Span::current()).await;
    let response = with_problem(response, &id);
    line.write(&response);
    response
}

struct LogLine {
    started: Instant,
    method: &'static str,
    route: String,
    client_ip: Option<IpAddr>,
    user: Option<String>,
    is_written: bool,
}

impl LogLine {
    fn write(&mut self, response: &Response) {
        self.is_written = true;
        let (method, route, status) = (self.method, &self.route, response.status().as_u16());
        let (client_ip, user) = self.caller_fields();
        let total_ms = rounded(milliseconds(self.started.elapsed()));
        let failure = response.extensions().get::<ApiError>();
        let problem = failure.map(|failure| failure.kind);
        metrics::http_request(route, Some(status), problem, self.started.elapsed());
        let code = failure.map(|failure| failure.kind.code());
        match (failure.and_then(|failure| failure.cause.as_deref()), response.extensions().get::<Timings>()) {
            (Some(cause), _) => {
                tracing::error!(method, route, status, total_ms, client_ip, user, code, cause, "request");
            }
            (None, Some(timings)) => tracing::info!(
                method,
                route,
                status,
                total_ms,
                client_ip,
                user,
                upload_ms = rounded(timings.upload_ms),
                queue_ms = rounded(timings.queue_ms),
                prove_ms = rounded(timings.prove_ms),
                verify_ms = rounded(timings.verify_ms),
                "request"
            ),
            // Probes arrive every second or two and would fill the log.
            (None, None) if PROBES.contains(&route.as_str()) => {
                tracing::debug!(method, route, status, total_ms, client_ip, user, code, "request");
            }
            (None, None) => {
                tracing::info!(method, route, status, total_ms, client_ip, user, code, "request");
            }
        }
    }

    fn caller_fields(&self) -> (Option<DisplayValue<IpAddr>>, Option<&str>) {
        (self.client_ip.map(tracing::field::display), self.user.as_deref())
    }
}

/// A line that was not written belongs to a request whose client disconnected before the answer.
impl Drop for LogLine {
    fn drop(&mut self) {
        if self.is_written {
            return;
        }
        metrics::http_request(&self.route, None, None, self.started.elapsed());
        let total_ms = rounded(milliseconds(self.started.elapsed()));
        let (method, route) = (self.method, &self.route);
        let (client_ip, user) = self.caller_fields();
        tracing::info!(method, route, total_ms, client_ip, user, "request abandoned by its client");
    }
}

/// The method's name. A method that HTTP does not define is a text of the caller, which must not enter the log.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("OTHER")
}

fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// Adds the problem document to a failure. Where a layer or the router failed, only the status is known.
fn with_problem(response: Response, request_id: &str) -> Response {
    let failure = match response.extensions().get::<ApiError>() {
        Some(failure) => failure.clone(),
        None => match failure_of_status(&response) {
            Some(failure) => failure,
            None => return response,
        },
    };
    let (mut parts, _) = response.into_parts();
    let body = serde_json::to_vec(&failure.problem(request_id)).unwrap_or_default();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = failure.retry_after_header() {
        parts.headers.insert(header::RETRY_AFTER, seconds);
    }
    parts.extensions.insert(failure);
    Response::from_parts(parts, Body::from(body))
}

fn failure_of_status(response: &Response) -> Option<ApiError> {
    let (kind, detail) = match response.status() {
        StatusCode::NOT_FOUND => (ProblemType::NotFound, "GET / lists the endpoints"),
        StatusCode::METHOD_NOT_ALLOWED => {
            (ProblemType::MethodNotAllowed, "the Allow header lists the methods")
        }
        StatusCode::GATEWAY_TIMEOUT => {
            (ProblemType::RequestTimeout, "the request exceeded its time limit and was stopped")
        }
        status if status.is_server_error() => {
            (ProblemType::Internal, "the server failed; its log has the cause")
        }
        status if status.is_client_error() => {
            (ProblemType::InvalidRequest, "the request could not be understood")
        }
        _ => return None,
    };
    // A response with a content type has a body that a handler wrote.
    let has_body = response.headers().contains_key(header::CONTENT_TYPE);
    (!has_body).then(|| ApiError::new(kind, detail))
}

/// The answer to a request whose handler panicked.
#[expect(clippy::needless_pass_by_value, reason = "tower-http passes the panic by value")]
pub fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let message =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    let mut failure = ApiError::new(ProblemType::Internal, "the server failed; its log has the cause");
    failure.cause = Some(format!("panic: {}", message.unwrap_or("no message")).into());
    failure.into_response()
}
