//! The probes and metrics of a prover that pulls, which has no other endpoint.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use edgeprove_telemetry::metrics::{self, Exposition, MEDIA_TYPE};
use http::{HeaderValue, StatusCode, header};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::listener::{self, Shutdown};
use crate::engine::Engine;

/// Most connections at the same time.
pub const PROBE_CONNECTIONS_MAX: usize = 64;
/// How often histograms process their samples.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Answers `/livez`, `/readyz` and `/metrics` until the engine's tasks end.
pub fn start(listener: TcpListener, engine: &Arc<Engine>, exposition: Exposition, connections_max: usize) {
    let (supervisor, stop) = (engine.supervisor.clone(), engine.supervisor.stop_token().clone());
    let address = listener.local_addr().ok().map(tracing::field::display);
    tracing::info!(address, "probes are answered");
    let (upkept, until) = (exposition.clone(), stop.clone());
    supervisor.spawn("metrics upkeep", async move {
        while tokio::time::timeout(UPKEEP_EVERY, until.cancelled()).await.is_err() {
            upkept.upkeep();
        }
    });
    let router = router(engine, exposition);
    let owner = supervisor.clone();
    supervisor.spawn("answer probes", async move {
        let shutdown = Shutdown { graceful: stop, immediate: CancellationToken::new() };
        let immediate = shutdown.immediate.clone();
        let _ended = immediate.drop_guard();
        listener::serve(listener, router, connections_max, &owner, shutdown).await;
    });
}

fn router(engine: &Arc<Engine>, exposition: Exposition) -> Router {
    let (ready, measured) = (Arc::clone(engine), Arc::clone(engine));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                if is_ready(&ready) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                let now = measured.proving.scheduler().status();
                metrics::proofs(now.running, now.waiting_by_priority);
                metrics::ready(is_ready(&measured));
                ([(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))], exposition.render())
            }),
        )
}

fn is_ready(engine: &Engine) -> bool {
    engine.proving.backend().is_ready() && !engine.supervisor.stop_token().is_cancelled()
}
