//! What happens to every request: it gets an id, a span, and in the end one line in the log; a failure gets its body.

use std::{net::IpAddr, time::Instant};

use axum::{
    body::Body,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{Problem, ProblemType, answer::Timings, problem};
use http::{HeaderValue, StatusCode, header};
use tracing::{Instrument, Span, field::DisplayValue};

use super::{
    api_error::ApiError,
    caller::caller_name,
    edge::said_by_the_edge,
    request_id::{PROBES, request_id, route},
};
use edgeprove_engine::proving::milliseconds;
use edgeprove_telemetry::metrics;

/// The span that every line of a request is logged in.
pub fn span<B>(request: &http::Request<B>) -> Span {
    tracing::info_span!("request", request_id = request_id(request))
}

/// Writes the body of failures, and the one line of the log.
pub async fn finish(request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let mut line = LogLine {
        started: Instant::now(),
        method: request.method().to_string(),
        // The pattern and not the path: a caller's text stays out of the log.
        route: route(&request).to_owned(),
        client_ip: said_by_the_edge(&request).ip,
        user: caller_name(&request),
        told: false,
    };
    let response = next.run(request).instrument(Span::current()).await;
    let response = with_problem(response, &id);
    line.tell(&response);
    response
}

struct LogLine {
    started: Instant,
    method: String,
    route: String,
    client_ip: Option<IpAddr>,
    user: Option<String>,
    told: bool,
}

impl LogLine {
    fn tell(&mut self, response: &Response) {
        self.told = true;
        let (method, route, status) = (&self.method, &self.route, response.status().as_u16());
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
            // Probes come every second or two, and are of interest only to whoever debugs them.
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

impl Drop for LogLine {
    fn drop(&mut self) {
        if !self.told {
            metrics::http_request(&self.route, None, None, self.started.elapsed());
            let total_ms = rounded(milliseconds(self.started.elapsed()));
            let (method, route) = (&self.method, &self.route);
            let (client_ip, user) = self.caller_fields();
            tracing::info!(
                method,
                route,
                total_ms,
                client_ip,
                user,
                "request: the client left before it was answered"
            );
        }
    }
}

fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// Gives a failure its problem document, also where a layer or the router failed and knew only a status.
fn with_problem(response: Response, request_id: &str) -> Response {
    let failure = match response.extensions().get::<ApiError>() {
        Some(failure) => failure.clone(),
        None => match bare_failure(&response) {
            Some(failure) => failure,
            None => return response,
        },
    };
    let mut problem = Problem::new(failure.kind, failure.detail.clone(), Some(request_id.to_owned()));
    problem.fallback_circuit.clone_from(&failure.fallback_circuit);
    let (mut parts, _) = response.into_parts();
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    parts.extensions.insert(failure);
    Response::from_parts(parts, Body::from(body))
}

fn bare_failure(response: &Response) -> Option<ApiError> {
    let (kind, detail) = match response.status() {
        StatusCode::NOT_FOUND => (ProblemType::NotFound, "GET / lists the endpoints"),
        StatusCode::METHOD_NOT_ALLOWED => {
            (ProblemType::MethodNotAllowed, "the Allow header lists the methods")
        }
        StatusCode::GATEWAY_TIMEOUT => {
            (ProblemType::RequestTimeout, "the request took too long and was given up")
        }
        status if status.is_server_error() => (ProblemType::Internal, "the server failed; its log says why"),
        status if status.is_client_error() => {
            (ProblemType::InvalidRequest, "the request could not be understood")
        }
        _ => return None,
    };
    // An answer with a body of its own is one that a handler meant.
    let meant = response.headers().contains_key(header::CONTENT_TYPE);
    (!meant).then(|| ApiError::new(kind, detail))
}

/// What a request is answered whose handler panicked.
#[expect(clippy::needless_pass_by_value, reason = "tower-http hands the panic over")]
pub fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    let mut failure = ApiError::new(ProblemType::Internal, "the server failed; its log says why");
    failure.cause = Some(format!("panic: {}", words.unwrap_or("without words")).into());
    failure.into_response()
}
