//! Every route on one page, grouped by caller, and the layers around them.
//!
//! The table of endpoints in [`edgeprove_protocol::endpoints`] names every method and path. A test compares the
//! routes with it.

use axum::{
    Router,
    handler::Handler,
    middleware::{from_fn, from_fn_with_state, map_response_with_state},
    routing::{MethodFilter, MethodRouter, on},
};
use edgeprove_protocol::{
    endpoints::{self, Class, Method},
    headers,
};
use http::{HeaderName, StatusCode};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

use super::{
    caller::identify,
    concurrent_requests::limit_concurrent_requests,
    handlers::{
        audit, board_batch, board_events, calldata, cancel_job, circuit_events, circuit_files,
        circuit_request, circuits, claim_work, deploy_circuit, estimate, get_job, get_proof, health, index,
        job_counts, job_events, list_jobs, local_prover, metrics, mint_voucher, openapi, page, problems,
        proof_request, remove_circuit, retry_job, scale, service, stats, templates, verification_key, verify,
        work_heartbeat, work_outcome, work_witness,
    },
    origin_check::{allows_any, refuse_foreign_pages},
    request_id::{RandomRequestId, remove_invalid_request_id},
    request_log::{log_request, panicked, span},
    state::{AppState, HttpOptions},
    trusted_edge::{check_edge_secret, report_load, require_edge_secret},
};

const REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);

/// The handler of one method and path.
struct Route {
    method: Method,
    path: &'static str,
    handler: MethodRouter<AppState>,
}

impl Route {
    fn new<H, T>(method: Method, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let filter = match method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Delete => MethodFilter::DELETE,
        };
        Self { method, path, handler: on(filter, handler) }
    }
}

/// Every route. A row of the table of endpoints belongs to each line.
fn routes() -> Vec<Route> {
    use Method::{Delete, Get, Post};
    vec![
        // For pages, back ends and the edge.
        Route::new(Get, "/", index::index),
        Route::new(Get, "/openapi.json", openapi::document),
        Route::new(Get, "/docs", openapi::reader),
        Route::new(Get, "/assets/{name}", page::asset),
        Route::new(Get, "/local-prover", local_prover::local_prover),
        Route::new(Get, "/local-prover/{name}", local_prover::file),
        Route::new(Get, "/.well-known/edgeprove", service::service),
        Route::new(Post, "/api/prove", proof_request::prove),
        Route::new(Post, "/api/prove/{circuit}", proof_request::prove),
        Route::new(Post, "/v1/proofs", proof_request::submit_job),
        Route::new(Get, "/v1/proofs", list_jobs::list_jobs),
        Route::new(Get, "/v1/proofs/{id}", get_job::get_job),
        Route::new(Delete, "/v1/proofs/{id}", cancel_job::cancel_job),
        Route::new(Get, "/v1/proofs/{id}/proof", get_proof::get_proof),
        Route::new(Get, "/v1/proofs/{id}/calldata", calldata::get_calldata),
        Route::new(Post, "/v1/proofs/{id}/retry", retry_job::retry_job),
        Route::new(Get, "/v1/proofs/{id}/events", job_events::job_events),
        Route::new(Get, "/v1/queue", job_counts::job_counts),
        Route::new(Get, "/v1/circuits", circuits::list_circuits),
        Route::new(Post, "/v1/circuits", circuit_request::request_circuit),
        Route::new(Get, "/v1/circuits/{circuit}", circuits::circuit),
        Route::new(Get, "/v1/circuits/{circuit}/events", circuit_events::circuit_events),
        Route::new(Get, "/v1/circuits/{circuit}/program", local_prover::program),
        Route::new(Get, "/v1/circuits/{circuit}/vk", verification_key::verification_key),
        Route::new(Get, "/v1/circuits/{circuit}/verifier.sol", circuit_files::contract),
        Route::new(Get, "/v1/circuits/{circuit}/artifacts/{name}", circuit_files::artifact),
        Route::new(Post, "/v1/verify/{circuit}", verify::verify),
        Route::new(Get, "/v1/templates", templates::list_templates),
        Route::new(Get, "/v1/templates/{name}", templates::template),
        Route::new(Post, "/v1/vouchers", mint_voucher::mint_voucher),
        Route::new(Get, "/v1/stats", stats::stats),
        Route::new(Get, "/v1/board/events", board_events::board_events),
        Route::new(Get, "/v1/estimate", estimate::estimate),
        Route::new(Get, "/problems/{code}", problems::problem),
        // For provers that pull.
        Route::new(Post, "/v1/work/claims", claim_work::claim),
        Route::new(Get, "/v1/work/{job}/witness", work_witness::witness),
        Route::new(Post, "/v1/work/{job}/heartbeat", work_heartbeat::heartbeat),
        Route::new(Post, "/v1/work/{job}/outcome", work_outcome::outcome),
        // For operators.
        Route::new(Get, "/v1/scale", scale::scale),
        Route::new(Get, "/api/health", health::health),
        Route::new(Get, "/health", health::health),
        Route::new(Get, "/v1/audit", audit::export),
        Route::new(Post, "/v1/board/cancel", board_batch::cancel),
        Route::new(Post, "/v1/board/retry", board_batch::retry),
        Route::new(Delete, "/v1/circuits/{circuit}", remove_circuit::remove_circuit),
        Route::new(Post, "/v1/circuits/{circuit}/deploy", deploy_circuit::deploy_circuit),
        // For probes.
        Route::new(Get, "/livez", health::live),
        Route::new(Get, "/readyz", health::ready),
        // For monitoring. It is open like the probes; where there are keys, its handler requires a role.
        Route::new(Get, "/metrics", metrics::metrics),
    ]
}

/// The whole HTTP side.
pub fn router(app: AppState) -> Router {
    router_of(app, |_| true)
}

/// The probes only, for a listener of their own.
pub fn probe_router(app: AppState) -> Router {
    router_of(app, |class| class == Some(Class::Probe))
}

fn router_of(app: AppState, is_wanted: impl Fn(Option<Class>) -> bool) -> Router {
    let mut router = Router::new();
    for Route { method, path, handler } in routes() {
        let class = endpoints::find_on_server(method, path).map(|endpoint| endpoint.class);
        if !is_wanted(class) {
            continue;
        }
        let limit = if class.is_some_and(Class::has_long_limit) {
            app.options.prove_request_timeout
        } else {
            app.options.other_request_timeout
        };
        let timeout = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, limit);
        router = router.route(path, handler.layer(timeout));
    }

    let layers = ServiceBuilder::new()
        .layer(from_fn(remove_invalid_request_id))
        .layer(SetRequestIdLayer::new(REQUEST_ID, RandomRequestId))
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
        .layer(map_response_with_state(app.clone(), report_load))
        .layer(from_fn_with_state(app.clone(), check_edge_secret))
        .layer(from_fn_with_state(app.clone(), identify))
        .layer(from_fn(log_request))
        .layer(from_fn_with_state(app.clone(), require_edge_secret))
        .layer(from_fn_with_state(app.clone(), limit_concurrent_requests))
        .layer(from_fn_with_state(app.clone(), refuse_foreign_pages))
        .option_layer(cors(&app.options))
        .layer(CatchPanicLayer::custom(panicked));

    router
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
    let (origins, request_headers) = if allows_any(&options.cors_origins) {
        (AllowOrigin::any(), AllowHeaders::mirror_request())
    } else {
        let named = headers::ALLOWED_FROM_PAGES.map(HeaderName::from_static);
        (AllowOrigin::list(options.cors_origins.iter().cloned()), named.into())
    };
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([http::Method::GET, http::Method::POST, http::Method::DELETE])
            .allow_headers(request_headers)
            .expose_headers(headers::EXPOSED_TO_PAGES.map(HeaderName::from_static))
            .max_age(std::time::Duration::from_hours(1)),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::request_id::PROBES;

    #[test]
    fn the_router_has_exactly_the_endpoints_of_the_table() {
        let routed: Vec<_> = routes().iter().map(|route| (route.method, route.path)).collect();
        let expected: BTreeSet<_> =
            endpoints::on_server().map(|endpoint| (endpoint.method, endpoint.path)).collect();
        assert_eq!(routed.len(), expected.len(), "a route stands twice: {routed:?}");
        assert_eq!(BTreeSet::from_iter(routed), expected);
    }

    #[test]
    fn the_probes_are_those_of_the_table() {
        let probes: BTreeSet<_> = endpoints::patterns_of(Class::Probe).collect();
        assert_eq!(BTreeSet::from(PROBES), probes);
    }
}
