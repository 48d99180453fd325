//! The body of a request, also when the request is refused before all of it has arrived.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use edgeprove_engine::witness::intake::{IntakeError, Pace, TooSlow};
use edgeprove_protocol::{ProblemType, limits};
use edgeprove_telemetry::{Supervisor, metrics};
use futures_util::{Stream, StreamExt};
use http::{header, request::Parts};

use super::{api_error::ApiError, sealed_body::SealedBody};

/// Most bytes of a refused upload that are read after the refusal: as many as an upload may have. Many clients send all of
/// it before they look at the answer.
const DISCARD_MAX_BYTES: u64 = limits::UPLOAD_MAX_BYTES;

/// A request body, as a stream of pieces. Of a sealed body, the pieces are what was sealed.
pub struct RequestBody {
    arriving: ArrivingBody,
    sealed: Option<Box<SealedBody>>,
}

/// A body as it arrives. Every piece is counted in `edgeprove_upload_bytes_total`.
pub struct ArrivingBody {
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
        let body = body.into_data_stream();
        Self { arriving: ArrivingBody { body, has_started: false, expects_continue }, sealed: None }
    }

    /// From now on, the pieces are what was sealed.
    pub fn unseal(&mut self, sealed: SealedBody) {
        self.sealed = Some(Box::new(sealed));
    }

    /// The longest pause between two pieces, for whoever reads them. A sealed body checks its own pace, because its pieces
    /// come in large chunks.
    #[must_use]
    pub fn idle(&self, idle: Duration) -> Duration {
        if self.sealed.is_some() { SealedBody::NO_PAUSE } else { idle }
    }

    /// The reason why a sealed body failed, in place of the error that this caused for whoever read its pieces.
    pub fn failure(&mut self, error: ApiError) -> ApiError {
        self.sealed.as_mut().and_then(|sealed| sealed.take_failure()).unwrap_or(error)
    }

    /// Reads the rest of a sealed body, which shows that it is complete. It is empty or short where everything that was needed
    /// has been read.
    pub async fn finish_unsealing(&mut self, rest_max_bytes: usize) -> Result<(), ApiError> {
        if self.sealed.is_none() {
            return Ok(());
        }
        let mut rest = 0;
        while let Some(piece) = self.next().await {
            let broken = |_| ApiError::new(ProblemType::SealedBodyInvalid, "the body broke off");
            rest += piece.map_err(|error| self.failure(broken(error)))?.len();
            if rest > rest_max_bytes {
                let detail = format!("more than {rest_max_bytes} bytes follow the end of the form");
                return Err(ApiError::new(ProblemType::InvalidRequest, detail));
            }
        }
        Ok(())
    }

    /// Receives all of the body. `admit` gets the number of bytes that have arrived and those of the newest piece, before the
    /// piece is added. The body must arrive without long pauses and fast enough (408), and not break off (400).
    pub async fn collect(
        &mut self,
        idle: Duration,
        mut admit: impl FnMut(u64, u64) -> Result<(), ApiError>,
    ) -> Result<Vec<u8>, ApiError> {
        let idle = self.idle(idle);
        let (mut bytes, mut pace) = (Vec::new(), Pace::new(idle));
        loop {
            let next = tokio::time::timeout_at(pace.silent_at(), self.next()).await;
            let next = next.map_err(|_| IntakeError::Stalled { received: pace.received, idle })?;
            let Some(piece) = next else { return Ok(bytes) };
            let piece: Bytes = piece.map_err(|_| {
                let detail = format!("the body broke off after {} bytes", pace.received);
                self.failure(ApiError::new(ProblemType::InvalidRequest, detail))
            })?;
            if let Err(TooSlow) = pace.receive(piece.len()) {
                return Err(IntakeError::TooSlow { received: pace.received, seconds: pace.seconds() }.into());
            }
            admit(pace.received, piece.len() as u64)?;
            bytes.extend_from_slice(&piece);
        }
    }

    /// Reads and discards the rest of a refused upload, for some seconds and up to some bytes, in the background. Without this the connection
    /// closes while the client still sends, and the client sees a broken connection instead of the answer.
    pub fn discard(self, supervisor: &Supervisor) {
        const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
        let mut arriving = self.arriving;
        // A client that got a refusal instead of `100 Continue` sends nothing. Reading would make hyper send the 100.
        if arriving.expects_continue && !arriving.has_started {
            return;
        }
        let stop = supervisor.stop_token().clone();
        supervisor.spawn("discard refused upload", async move {
            let rest = async {
                let mut discarded = 0;
                while let Some(Ok(piece)) = arriving.next().await {
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
        let Self { arriving, sealed } = &mut *self;
        match sealed {
            Some(sealed) => sealed.poll_plaintext(arriving, context),
            None => arriving.poll_next_unpin(context),
        }
    }
}

impl Stream for ArrivingBody {
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
