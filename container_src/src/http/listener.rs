//! Accepts connections, bounds them, serves them, and closes them in order.
//!
//! axum's own loop bounds neither the read buffer of a connection, which would grow to hundreds of kilobytes per upload,
//! nor the time that a client may take to send a head (docs/decisions/0004). This loop uses hyper directly.

use std::{sync::Arc, time::Duration};

use axum::Router;
use edgeprove_telemetry::Supervisor;
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

/// Read buffer of a connection, in bytes. An upload arrives in pieces of at most this size.
const READ_BUFFER_BYTES: usize = 32 << 10;
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after the system had no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How serving ends: first gracefully, then at once.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Cancelled: no new connection is accepted, idle ones are closed, busy ones may finish their request.
    pub graceful: CancellationToken,
    /// Cancelled: every remaining connection is closed.
    pub immediate: CancellationToken,
}

/// Serves until `shutdown.graceful` is cancelled and the last connection has closed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    supervisor: &Supervisor,
    shutdown: Shutdown,
) {
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(READ_BUFFER_BYTES);
    let connections = Arc::new(Semaphore::new(connections_max));
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = shutdown.graceful.cancelled() => break,
            next = next => next,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers must not wait for more data. A connection where this fails is only slower.
        let _ = stream.set_nodelay(true);
        let with_peer = move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            request
        };
        let service = TowerToHyperService::new(router.clone().map_request(with_peer));
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        let immediate = shutdown.immediate.clone();
        supervisor.spawn("connection", async move {
            tokio::select! {
                // An error means that the client broke the connection, which is no fault of the server.
                _ = connection => {}
                () = immediate.cancelled() => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
