//! Accepts connections, bounds them, serves them, and closes them in order.
//!
//! axum's own loop bounds neither the read buffer of a connection, which would grow to hundreds of kilobytes per upload,
//! nor the time that a client may take to send a head (docs/decisions/0004). This loop uses hyper directly. It serves
//! HTTP/1.1 only: a client that begins with the preface of HTTP/2 is disconnected.
//!
//! No connection can stay for ever without use: a head must arrive within [`HEAD_TIMEOUT`], which also bounds the pause
//! between two requests, and a client that stops reading is disconnected ([`stream`]). [`slots`] decides who must leave
//! when too many are open, and [`time_share`] who must wait; [`accounts`] counts the connections and requests of each
//! address.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use edgeprove_telemetry::Supervisor;
use http::{Method, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{caller::Peer, guarded_body::guarded, request_id::PROBES};
use accounts::Share;
use slots::{Slot, Slots};
use stream::Stream;

pub mod accounts;
pub mod slots;
pub mod stream;
mod time_share;

/// Read buffer of a connection, in bytes. An upload arrives in pieces of at most this size.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// How long a client may take to send the head of a request, and how long a connection may wait for its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after the system had no free file descriptor, and between two attempts to get a slot.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that wait for a slot. Their addresses have most of the slots, and use them all.
const WAITING_MAX: usize = 64;

/// Open files beside those of connections: sockets and pipes of provers, uploads, databases.
pub const OTHER_FILES: u64 = 256;

/// Endpoints that report the health, beside the probes.
const HEALTH: [&str; 2] = ["/api/health", "/health"];

/// Allows the process as many open files as the system permits. Many systems begin with 1,024, which is fewer than the
/// connections and uploads of a busy server need.
pub fn raise_open_files_limit(connections_max: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // A system that refuses keeps the lower limit, about which the log then warns.
    let is_raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let allowed = if is_raised { maximum } else { current };
    let connections_max = u64::try_from(connections_max).unwrap_or(u64::MAX);
    if let Some(allowed) = allowed.filter(|&allowed| allowed < connections_max.saturating_add(OTHER_FILES)) {
        tracing::warn!(
            allowed,
            connections_max,
            "the system allows too few open files for so many connections"
        );
    }
}

/// How serving ends: first gracefully, then at once.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Cancelled: no new connection is accepted, idle ones are closed, busy ones may finish their request.
    pub graceful: CancellationToken,
    /// Cancelled: every remaining connection is closed.
    pub immediate: CancellationToken,
}

/// Extension of a request on a reserved connection. Only probes are answered there.
#[derive(Debug, Clone, Copy)]
pub struct OnlyProbes;

/// Serves until `shutdown.graceful` is cancelled and the last connection has closed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    supervisor: &Supervisor,
    shutdown: Shutdown,
) {
    let slots = Slots::new(connections_max, Handle::current().metrics().num_workers());
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.graceful.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                // The usual reason is that no file descriptor is free.
                slots.close_one_idle();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let peer = Peer(peer.ip());
        // Small answers must not wait for more data. A connection where this fails is only slower.
        let _ = stream.set_nodelay(true);
        let (router, shutdown) = (router.clone(), shutdown.clone());
        if let Some(slot) = slots.take(peer.0) {
            supervisor.spawn("connection", serve_connection(stream, peer, slot, router, shutdown));
        } else if let Ok(place) = Arc::clone(&waiting).try_acquire_owned() {
            let slots = slots.clone();
            supervisor.spawn("waiting connection", async move {
                let slot = wait_for_slot(&slots, peer, &shutdown).await;
                drop(place);
                if let Some(slot) = slot {
                    serve_connection(stream, peer, slot, router, shutdown).await;
                }
            });
        }
        // Any other one is closed. That disturbs nobody but its own address.
    }
    drop(listener);
    // hyper closes connections between two requests, but waits for the first request of a silent one.
    slots.close_idle();
    slots.all_closed().await;
}

/// A slot for a connection, unless there is none for as long as a head may take, or the server stops.
async fn wait_for_slot(slots: &Slots, peer: Peer, shutdown: &Shutdown) -> Option<Slot> {
    let slot = async {
        loop {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            if let Some(slot) = slots.take(peer.0) {
                break slot;
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.graceful.cancelled() => None,
        slot = tokio::time::timeout(HEAD_TIMEOUT, slot) => slot.ok(),
    }
}

async fn serve_connection(stream: TcpStream, peer: Peer, slot: Slot, router: Router, shutdown: Shutdown) {
    let io = TokioIo::new(Stream::new(stream, slot.clone()));
    let requests = slot.clone();
    let service = service_fn(move |request| answer(request, peer, requests.clone(), router.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(READ_BUFFER_BYTES)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        // An error means that the client broke the connection, which is no fault of the server.
        _ = connection.as_mut() => true,
        () = slot.displaced() => true,
        () = shutdown.immediate.cancelled() => true,
        () = shutdown.graceful.cancelled() => false,
    };
    if ended {
        return;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = slot.displaced() => {}
        () = shutdown.immediate.cancelled() => {}
    }
}

/// Answers one request of a connection. An error closes the connection without an answer.
async fn answer(
    mut request: http::Request<Incoming>,
    peer: Peer,
    slot: Slot,
    router: Router,
) -> Result<axum::response::Response, Displaced> {
    // A connection whose request waits is not idle: it stays open, also when the server stops.
    let in_progress = slot.start_request().ok_or(Displaced)?;
    let turn = in_progress.charge(share_of(&request));
    if !turn.wait().await {
        return Err(Displaced);
    }
    request.extensions_mut().insert(peer);
    if in_progress.is_reserved {
        request.extensions_mut().insert(OnlyProbes);
    }
    let response = turn.handle(router.oneshot(request.map(Body::new))).await;
    let response = response.unwrap_or_else(|never: Infallible| match never {});
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        in_progress.keep_slot();
        return Ok(response);
    }
    Ok(guarded(response, in_progress))
}

/// Probes and requests for the health must be answered soon, however much else comes from their address: where they are not,
/// a platform takes the server for dead.
fn share_of<B>(request: &http::Request<B>) -> Share {
    let path = request.uri().path();
    let is_probe = PROBES.contains(&path) || HEALTH.contains(&path);
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if is_probe && reads { Share::Probes } else { Share::Requests }
}

/// Another connection took the slot of this one.
#[derive(Debug, thiserror::Error)]
#[error("another connection took the slot of this one")]
struct Displaced;
