//! A server in place of the prover. It reports what reached it, and it responds in ways that a prover does not on
//! demand.
//!
//! | path | response |
//! |---|---|
//! | `POST /api/prove` | what arrived: the headers, and the length of the body |
//! | `POST /v1/proofs` | the same, but the body is read at no more than 20 MB a second |
//! | `GET`, `DELETE` `/v1/proofs/hang`, `POST /api/prove/hang` | none |
//! | `GET /v1/proofs/steps/events` | server-sent events: one after each `DELETE /v1/proofs/steps`, five in all |
//! | `GET /v1/proofs/endless/proof` | a body without an end |
//! | `GET /v1/proofs/socket/events` | a WebSocket that sends every message back |
//! | `GET /problems/cors` | CORS headers that allow a page with credentials |

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        Request, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use edgeprove_protocol::{Load, headers};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

/// Number of events of `/v1/proofs/steps/events`.
pub const EVENTS: usize = 5;

/// A slow reader pauses after this many bytes.
const SLOW_BYTES: usize = 1 << 20;
/// The length of that pause.
const SLOW_PAUSE: Duration = Duration::from_millis(50);

/// The state that requests share.
#[derive(Debug, Clone)]
struct Shared {
    /// Requests whose response has not ended.
    open_requests: Arc<AtomicUsize>,
    /// One permit for each event that may be sent.
    steps: Arc<Semaphore>,
}

impl Shared {
    fn new() -> Self {
        Self { open_requests: Arc::default(), steps: Arc::new(Semaphore::new(0)) }
    }

    fn count_request(&self) -> OpenRequest {
        self.open_requests.fetch_add(1, Ordering::SeqCst);
        OpenRequest(Arc::clone(&self.open_requests))
    }
}

/// Counts as an open request until it is dropped.
struct OpenRequest(Arc<AtomicUsize>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running test upstream.
#[derive(Debug)]
pub struct TestUpstream {
    address: SocketAddr,
    shared: Shared,
}

impl TestUpstream {
    /// Starts one in a thread. It lives as long as the process of the test.
    #[track_caller]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("the listener can be made non-blocking");
        let address = listener.local_addr().expect("the listener has an address");
        let shared = Shared::new();
        let router = router(shared.clone());
        thread::spawn(move || run(listener, router));
        Self { address, shared }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Number of requests to `hang`, `endless` and `socket` that have not ended.
    pub fn open_requests(&self) -> usize {
        self.shared.open_requests.load(Ordering::SeqCst)
    }
}

/// Serves a test upstream on this listener without an end.
pub fn serve(listener: std::net::TcpListener) {
    run(listener, router(Shared::new()));
}

fn run(listener: std::net::TcpListener, router: Router) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio starts");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("tokio takes over the listener");
        axum::serve(listener, router).await.expect("the server runs");
    });
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/readyz", get(ready))
        .route("/livez", get(ready))
        .route("/api/health", get(ready))
        .route("/api/prove", post(report))
        .route("/api/prove/hang", post(hang))
        .route("/v1/proofs", post(report_slowly))
        .route("/v1/proofs/hang", get(hang).delete(hang))
        .route("/v1/proofs/steps", get(ready).delete(step))
        .route("/v1/proofs/steps/events", get(events))
        .route("/v1/proofs/endless/proof", get(endless))
        .route("/v1/proofs/socket/events", get(socket))
        .route("/problems/cors", get(cors))
        .with_state(shared)
}

async fn ready() -> impl IntoResponse {
    let load = Load { running: 0, waiting: 0, cores: 2 };
    ([(headers::PROVER_LOAD, load.to_string())], Json(json!({ "running": 0 })))
}

async fn cors() -> impl IntoResponse {
    let headers = [
        ("access-control-allow-origin", "https://page.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-inner"),
    ];
    (headers, Json(json!({})))
}

async fn report(headers: HeaderMap, body: Body) -> Json<Value> {
    let length = read(body, None).await;
    Json(describe(&headers, length))
}

async fn report_slowly(headers: HeaderMap, body: Body) -> Json<Value> {
    let length = read(body, Some(SLOW_PAUSE)).await;
    Json(describe(&headers, length))
}

fn describe(headers: &HeaderMap, body_bytes: usize) -> Value {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    json!({ "headers": headers, "body_bytes": body_bytes })
}

async fn read(body: Body, pause: Option<Duration>) -> usize {
    let mut pieces = body.into_data_stream();
    let (mut length, mut paused_at) = (0, 0);
    while let Some(Ok(piece)) = pieces.next().await {
        length += piece.len();
        if let Some(pause) = pause.filter(|_| length - paused_at >= SLOW_BYTES) {
            paused_at = length;
            tokio::time::sleep(pause).await;
        }
    }
    length
}

async fn hang(State(shared): State<Shared>, request: Request) -> Response {
    let _open = shared.count_request();
    drop(request);
    std::future::pending().await
}

async fn step(State(shared): State<Shared>) -> Json<Value> {
    shared.steps.add_permits(1);
    Json(json!({}))
}

async fn events(
    State(shared): State<Shared>,
) -> Sse<impl futures_util::Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::iter(0..EVENTS).then(move |number| {
        let steps = Arc::clone(&shared.steps);
        async move {
            steps.acquire_owned().await.expect("the semaphore is never closed").forget();
            Ok(Event::default().id(number.to_string()).data(format!("event {number}")))
        }
    }))
}

async fn endless(State(shared): State<Shared>) -> Body {
    let open = shared.count_request();
    Body::from_stream(stream::repeat(Bytes::from_static(&[0; 1024])).then(move |piece| {
        let _ = &open;
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, Infallible>(piece)
        }
    }))
}

async fn socket(State(shared): State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        let _open = shared.count_request();
        while let Some(Ok(message)) = socket.recv().await {
            let echo = match message {
                Message::Text(text) => Message::Text(text),
                Message::Binary(bytes) => Message::Binary(bytes),
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => break,
            };
            if socket.send(echo).await.is_err() {
                break;
            }
        }
    })
}
