//! Connections: accepted, bounded, served, and let go in order.
//!
//! axum's own loop offers no bound on a connection's read buffer, which would grow to hundreds of kilobytes an upload,
//! and none on how long a client may take to send a head. Hence hyper's, put together here.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::caller::Peer;
use edgeprove_telemetry::supervisor::Supervisor;

/// Largest read buffer of a connection, in bytes. It is also the largest piece an upload arrives in.
const READ_BUFFER_BYTES: usize = 32 << 10;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the loop rests when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How serving ends.
#[derive(Debug, Clone)]
pub struct End {
    /// No new connection is taken, idle ones are closed and busy ones may finish their request.
    pub quiet: CancellationToken,
    /// Whatever connection is left is broken off.
    pub cut: CancellationToken,
}

/// Serves until it is told to end, and the last connection has.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    supervisor: &Supervisor,
    end: End,
) {
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(READ_BUFFER_BYTES);
    let places = Arc::new(Semaphore::new(connections_max));
    loop {
        let next = async {
            // A semaphore is only closed by whoever owns it.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = end.quiet.cancelled() => break,
            next = next => next,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers are not to wait for more to send; a connection without this is only slower.
        let _ = stream.set_nodelay(true);
        let with_peer = move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            request
        };
        let service = TowerToHyperService::new(router.clone().map_request(with_peer));
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        let cut = end.cut.clone();
        supervisor.spawn("connection", async move {
            tokio::select! {
                // A client that breaks off is no fault of the server.
                _ = connection => {}
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
