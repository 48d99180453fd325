//! A server in the prover's place, which shows what reached it and answers in ways a prover does not on demand.
//!
//! | path | |
//! |---|---|
//! | `POST /api/prove` | what was sent: headers as the server got them, and how much of a body |
//! | `POST /v1/proofs` | the same, for a body that is read at 20 MB a second |
//! | `GET`, `DELETE` `/v1/proofs/hang`, `POST /api/prove/hang` | no answer |
//! | `GET /v1/proofs/five/events` | server-sent events: five, 200 ms apart |
//! | `GET /v1/proofs/endless/proof` | a body without an end |
//! | `GET /v1/proofs/socket/events` | a WebSocket that says everything back |

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
use tokio::net::TcpListener;

/// How much a slow reader takes at a time, and how long it then waits.
const SLOW_BYTES: usize = 1 << 20;
const SLOW_PAUSE: Duration = Duration::from_millis(50);
/// Between two events.
const EVENT_PAUSE: Duration = Duration::from_millis(200);

/// How many requests are under way.
#[derive(Debug, Clone, Default)]
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(&self) -> Stay {
        self.0.fetch_add(1, Ordering::SeqCst);
        Stay(self.0.clone())
    }
}

/// Counts for as long as it lives.
struct Stay(Arc<AtomicUsize>);

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A stand-in in a thread of the test.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    under_way: UnderWay,
}

impl StandIn {
    /// Starts one. It lives as long as the test's process.
    #[track_caller]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("it can be awaited");
        let address = listener.local_addr().expect("it has an address");
        let under_way = UnderWay::default();
        let router = router(under_way.clone());
        thread::spawn(move || run(listener, router));
        Self { address, under_way }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many of its long answers are being given.
    pub fn under_way(&self) -> usize {
        self.under_way.0.load(Ordering::SeqCst)
    }
}

/// Serves a stand-in on this listener, for ever.
pub fn serve(listener: std::net::TcpListener) {
    run(listener, router(UnderWay::default()));
}

fn run(listener: std::net::TcpListener, router: Router) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio starts");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("it can be awaited");
        axum::serve(listener, router).await.expect("it serves");
    });
}

fn router(under_way: UnderWay) -> Router {
    Router::new()
        .route("/readyz", get(ready))
        .route("/livez", get(ready))
        .route("/api/health", get(ready))
        .route("/api/prove", post(show))
        .route("/api/prove/hang", post(hang))
        .route("/v1/proofs", post(slow))
        .route("/v1/proofs/hang", get(hang).delete(hang))
        .route("/v1/proofs/five/events", get(events))
        .route("/v1/proofs/endless/proof", get(endless))
        .route("/v1/proofs/socket/events", get(socket))
        .with_state(under_way)
}

async fn ready() -> impl IntoResponse {
    let load = Load { running: 0, waiting: 0, cores: 2 };
    ([(headers::PROVER_LOAD, load.to_string())], Json(json!({ "running": 0 })))
}

async fn show(headers: HeaderMap, body: Body) -> Json<Value> {
    let length = read(body, None).await;
    Json(shown(&headers, length))
}

async fn slow(headers: HeaderMap, body: Body) -> Json<Value> {
    let length = read(body, Some(SLOW_PAUSE)).await;
    Json(shown(&headers, length))
}

fn shown(headers: &HeaderMap, body_bytes: usize) -> Value {
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

async fn hang(State(under_way): State<UnderWay>, request: Request) -> Response {
    let _stay = under_way.begin();
    drop(request);
    std::future::pending().await
}

async fn events() -> Sse<impl futures_util::Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::iter(0..5).then(async |number| {
        tokio::time::sleep(EVENT_PAUSE).await;
        Ok(Event::default().id(number.to_string()).data(format!("event {number}")))
    }))
}

async fn endless(State(under_way): State<UnderWay>) -> Body {
    let stay = under_way.begin();
    Body::from_stream(stream::repeat(Bytes::from_static(&[0; 1024])).then(move |piece| {
        let _ = &stay;
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, Infallible>(piece)
        }
    }))
}

async fn socket(State(under_way): State<UnderWay>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        let _stay = under_way.begin();
        while let Some(Ok(message)) = socket.recv().await {
            let again = match message {
                Message::Text(text) => Message::Text(text),
                Message::Binary(bytes) => Message::Binary(bytes),
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => break,
            };
            if socket.send(again).await.is_err() {
                break;
            }
        }
    })
}
