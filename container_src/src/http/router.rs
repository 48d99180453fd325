//! Every route on one page, grouped by caller, and the layers around them.

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state, map_response_with_state},
    routing::{get, post},
};
use edgeprove_protocol::headers;
use http::{HeaderName, Method, StatusCode};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

use super::{
    caller::identify,
    edge::{recognise, require_edge_secret, tell_load},
    handlers::{audit, health, index, metrics, problems, proof_events, proofs, prove, queue},
    middleware::{finish, panicked, span},
    request_id::{FreshRequestId, refuse_unfit_request_id},
    state::{AppState, HttpOptions},
};

const REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);

/// The whole HTTP side.
pub fn router(app: AppState) -> Router {
    let timeout = |limit| TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, limit);

    // For pages, back ends and the edge.
    let proving = Router::new()
        .route("/api/prove", post(prove::prove))
        .route("/api/prove/{circuit}", post(prove::prove))
        .route("/v1/proofs", post(proofs::submit))
        .layer(timeout(app.options.prove_request_timeout));

    // For whoever watches. Open like the probes; where there are keys, the role that may watch is asked for here.
    let watching = Router::new().route("/metrics", get(metrics::metrics));

    let others = Router::new()
        .route("/", get(index::index))
        .route("/problems/{code}", get(problems::problem))
        .route("/v1/proofs", get(proofs::list))
        .route("/v1/proofs/{id}", get(proofs::get).delete(proofs::cancel))
        .route("/v1/proofs/{id}/proof", get(proofs::proof))
        .route("/v1/proofs/{id}/events", get(proof_events::events))
        .route("/v1/queue", get(queue::queue))
        // For operators.
        .route("/api/health", get(health::health))
        .route("/health", get(health::health))
        .route("/v1/audit", get(audit::export))
        // For probes.
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .merge(watching)
        .layer(timeout(app.options.other_request_timeout));

    let layers = ServiceBuilder::new()
        .layer(from_fn(refuse_unfit_request_id))
        .layer(SetRequestIdLayer::new(REQUEST_ID, FreshRequestId))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|request: &http::Request<_>| span(request))
                .on_request(())
                .on_response(())
                .on_body_chunk(())
                .on_eos(())
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(map_response_with_state(app.clone(), tell_load))
        .layer(from_fn_with_state(app.clone(), recognise))
        .layer(from_fn_with_state(app.clone(), identify))
        .layer(from_fn(finish))
        .layer(from_fn_with_state(app.clone(), require_edge_secret))
        .option_layer(cors(&app.options))
        .layer(CatchPanicLayer::custom(panicked));

    proving
        .merge(others)
        .fallback(|| async { StatusCode::NOT_FOUND })
        .method_not_allowed_fallback(|| async { StatusCode::METHOD_NOT_ALLOWED })
        .layer(layers)
        .with_state(app)
}

/// Pages of the named origins may call; without any, no page of another origin may.
fn cors(options: &HttpOptions) -> Option<CorsLayer> {
    if options.cors_origins.is_empty() {
        return None;
    }
    let any = options.cors_origins.iter().any(|origin| origin == "*");
    let origins =
        if any { AllowOrigin::any() } else { AllowOrigin::list(options.cors_origins.iter().cloned()) };
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(headers::ALLOWED_FROM_PAGES.map(HeaderName::from_static))
            .expose_headers(headers::EXPOSED_TO_PAGES.map(HeaderName::from_static))
            .max_age(std::time::Duration::from_hours(1)),
    )
}
