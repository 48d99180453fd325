//! A request's body, and what becomes of it when the request is refused.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{header, request::Parts};

use edgeprove_telemetry::{metrics, supervisor::Supervisor};

/// A request's body as it arrives.
pub struct Incoming {
    body: BodyDataStream,
    /// Whether any of it has come.
    begun: bool,
    /// Whether the client sends nothing until it is told to go on.
    asked_first: bool,
}

impl Incoming {
    /// The body of a request that was taken into its parts.
    #[must_use]
    pub fn new(parts: &Parts, body: Body) -> Self {
        let asked_first = parts.headers.contains_key(header::EXPECT);
        Self { body: body.into_data_stream(), begun: false, asked_first }
    }

    /// Takes in what a refused client still sends, for a while: answered and cut off at once, it would see a broken
    /// connection instead of its answer.
    pub fn read_to_the_end(mut self, supervisor: &Supervisor) {
        const PATIENCE: Duration = Duration::from_secs(5);
        // A client that asked first and was told no sends nothing; reading would make hyper tell it to go on.
        if self.asked_first && !self.begun {
            return;
        }
        let stop = supervisor.stop_token().clone();
        supervisor.spawn("refused upload", async move {
            let rest = async { while let Some(Ok(_)) = self.next().await {} };
            tokio::select! {
                () = rest => {}
                () = tokio::time::sleep(PATIENCE) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.body.poll_next_unpin(context);
        self.begun |= matches!(next, Poll::Ready(Some(_)));
        if let Poll::Ready(Some(Ok(piece))) = &next {
            metrics::uploaded(piece.len());
        }
        next
    }
}
