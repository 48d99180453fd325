//! The body of a request, also when the request is refused before all of it has arrived.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use edgeprove_protocol::limits;
use edgeprove_telemetry::{Supervisor, metrics};
use futures_util::{Stream, StreamExt};
use http::{header, request::Parts};

/// Most bytes of a refused upload that are read after the refusal: as many as an upload may have. Many clients send all of
/// it before they look at the answer.
const DISCARD_MAX_BYTES: u64 = limits::UPLOAD_MAX_BYTES;

/// A request body, as a stream of pieces. Every piece is counted in `edgeprove_upload_bytes_total`.
pub struct RequestBody {
    body: BodyDataStream,
    has_started: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
}

impl RequestBody {
    /// The body of a request whose head is `parts`.
    #[must_use]
    pub fn new(parts: &Parts, body: Body) -> Self {
        let expects_continue = parts.headers.contains_key(header::EXPECT);
        Self { body: body.into_data_stream(), has_started: false, expects_continue }
    }

    /// Reads and discards the rest of a refused upload, for some seconds and up to some bytes, in the background. Without this the connection
    /// closes while the client still sends, and the client sees a broken connection instead of the answer.
    pub fn discard(mut self, supervisor: &Supervisor) {
        const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
        // A client that got a refusal instead of `100 Continue` sends nothing. Reading would make hyper send the 100.
        if self.expects_continue && !self.has_started {
            return;
        }
        let stop = supervisor.stop_token().clone();
        supervisor.spawn("discard refused upload", async move {
            let rest = async {
                let mut discarded = 0;
                while let Some(Ok(piece)) = self.next().await {
                    discarded += piece.len() as u64;
                    if discarded > DISCARD_MAX_BYTES {
                        break;
                    }
                }
            };
            tokio::select! {
                () = rest => {}
                () = tokio::time::sleep(DISCARD_TIMEOUT) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.body.poll_next_unpin(context);
        self.has_started |= matches!(next, Poll::Ready(Some(_)));
        if let Poll::Ready(Some(Ok(piece))) = &next {
            metrics::uploaded(piece.len());
        }
        next
    }
}
