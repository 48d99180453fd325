//! Bodies that a client sealed for this server alone: docs/SEALING.md. They are opened while they arrive, and everything after
//! that gets what was sealed, as if the client had sent it in the clear.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use edgeprove_engine::witness::intake::{IntakeError, Pace, TooSlow};
use edgeprove_protocol::{CircuitId, ProblemType, Target, service::SEALED_MEDIA_TYPE};
use edgeprove_sealing::{Arrival, Binding, UnsealError, Unsealer, format::plaintext_bytes};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use tokio::time::{Instant, Sleep};

use super::{
    api_error::ApiError,
    caller::Identity,
    extract::declared_length,
    form::{parameters, value_of},
    request_body::ArrivingBody,
    state::AppState,
    trusted_edge::reported_caller,
};
use crate::access::{
    Caller,
    sealed_arrivals::{ArrivalError, SealedArrivals},
};

/// The parameter of the media type that names the media type of what is sealed.
const CONTENT: &str = "content";

/// What the head of a request reveals of a sealed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedContent {
    /// The media type of what is sealed, as the client wrote it.
    content: String,
}

impl SealedContent {
    /// Recognizes a sealed body by its content type (400, 415). The headers then have the type and the length of what is
    /// sealed, so that all later code treats the request as one in the clear.
    pub fn take(headers: &mut HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut types = headers.get_all(header::CONTENT_TYPE).into_iter();
        let media = types.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut parameters = parameters(media);
        if !parameters.next().is_some_and(|media| media.eq_ignore_ascii_case(SEALED_MEDIA_TYPE)) {
            return Ok(None);
        }
        let unsupported = |detail: String| ApiError::new(ProblemType::UnsupportedMediaType, detail);
        let is_repeated = types.next().is_some();
        if is_repeated {
            return Err(unsupported("send Content-Type only once".to_owned()));
        }
        let content = parameters.find_map(|parameter| value_of(&parameter, CONTENT));
        let value = content.as_deref().and_then(|content| HeaderValue::from_str(content).ok());
        let (Some(content), Some(value)) = (content.filter(|content| !content.is_empty()), value) else {
            return Err(unsupported(format!(
                "{SEALED_MEDIA_TYPE} needs the type of what is sealed: {SEALED_MEDIA_TYPE}; \
                 {CONTENT}=\"application/gzip\""
            )));
        };
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err(unsupported("a sealed body must have no Content-Encoding".to_owned()));
        }
        if let Some(sealed) = declared_length(headers) {
            let plaintext = plaintext_bytes(sealed).ok_or(UnsealError::Truncated)?;
            headers.insert(header::CONTENT_LENGTH, plaintext.into());
        }
        headers.insert(header::CONTENT_TYPE, value);
        Ok(Some(Self { content }))
    }

    /// The body, bound to this request.
    pub fn body(
        self,
        app: &AppState,
        parts: &Parts,
        caller: &Caller,
        circuit: Option<&CircuitId>,
        target: Option<Target>,
    ) -> Result<SealedBody, ApiError> {
        let unsealing = app.unsealing.as_ref().ok_or(UnsealError::Disabled)?;
        let binding = Binding {
            content: self.content,
            circuit: circuit.map(ToString::to_string).unwrap_or_default(),
            target: target.map(|target| target.as_str().to_owned()).unwrap_or_default(),
            credential: parts
                .extensions
                .get::<Identity>()
                .and_then(|identity| Some(identity.presented?.bytes())),
        };
        let account = Arc::from(caller.share_account().as_ref());
        let mut unsealer = Unsealer::new(Arc::clone(unsealing), binding, account);
        if let Some(arrived_ms) = reported_caller(&parts.extensions).sealed_arrival_ms {
            unsealer = unsealer.of_stored_body(arrived_ms);
        }
        Ok(SealedBody::new(unsealer, app.sealed_arrivals.clone(), app.options.intake.idle))
    }
}

/// The first chunk of a body, while the database is asked whether the body has arrived before.
struct FirstChunk {
    chunk: Bytes,
    check: BoxFuture<'static, Result<(), ArrivalError>>,
    since: Instant,
}

impl FirstChunk {
    fn new(chunk: Bytes, arrivals: SealedArrivals, arrival: Arrival) -> Self {
        let check = async move { arrivals.remember(arrival).await }.boxed();
        Self { chunk, check, since: Instant::now() }
    }
}

/// A sealed body that arrives.
pub struct SealedBody {
    unsealer: Unsealer,
    arrivals: Option<SealedArrivals>,
    /// The first chunk, until it is known that the body has not arrived at another server.
    first: Option<FirstChunk>,
    pace: Pace,
    idle: Duration,
    alarm: Pin<Box<Sleep>>,
    failure: Option<ApiError>,
    has_started: bool,
    has_ended: bool,
}

impl SealedBody {
    /// A pause that no body reaches: requests have a time limit.
    pub const NO_PAUSE: Duration = Duration::from_hours(24);

    fn new(unsealer: Unsealer, arrivals: Option<SealedArrivals>, idle: Duration) -> Self {
        let pace = Pace::new(idle);
        let alarm = Box::pin(tokio::time::sleep_until(pace.silent_at()));
        Self {
            unsealer,
            arrivals,
            first: None,
            pace,
            idle,
            alarm,
            failure: None,
            has_started: false,
            has_ended: false,
        }
    }

    /// Why it failed, once.
    pub fn take_failure(&mut self) -> Option<ApiError> {
        self.failure.take()
    }

    /// The next piece of what was sealed.
    pub fn poll_plaintext(
        &mut self,
        arriving: &mut ArrivingBody,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, axum::Error>>> {
        if !self.has_started {
            // To load the circuit may have taken a while, in which nothing was read.
            self.has_started = true;
            self.pace = Pace::new(self.idle);
        }
        loop {
            if let Some(mut first) = self.first.take() {
                let Poll::Ready(checked) = first.check.poll_unpin(context) else {
                    self.first = Some(first);
                    return Poll::Pending;
                };
                self.pace.leave_out(first.since.elapsed());
                match checked {
                    Ok(()) if first.chunk.is_empty() => continue,
                    Ok(()) => return Poll::Ready(Some(Ok(first.chunk))),
                    Err(error) => return self.fail(error.into()),
                }
            }
            match self.unsealer.next_chunk(unix_ms()) {
                Ok(Some(chunk)) => match (self.unsealer.take_arrival(), &self.arrivals) {
                    (Some(arrival), Some(arrivals)) => {
                        self.first = Some(FirstChunk::new(chunk, arrivals.clone(), arrival));
                        continue;
                    }
                    _ if chunk.is_empty() => continue,
                    _ => return Poll::Ready(Some(Ok(chunk))),
                },
                Ok(None) if self.has_ended => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return self.fail(error.into()),
            }
            let next = match arriving.poll_next_unpin(context) {
                Poll::Ready(next) => next,
                Poll::Pending => return self.poll_pause(context),
            };
            match next {
                None => {
                    self.has_ended = true;
                    if let Err(error) = self.unsealer.finish() {
                        return self.fail(error.into());
                    }
                }
                Some(Err(error)) => {
                    let (received, source) = (self.pace.received, error.into());
                    return self.fail(IntakeError::BodyFailed { received, source }.into());
                }
                Some(Ok(piece)) => {
                    if let Err(TooSlow) = self.pace.receive(piece.len()) {
                        let (received, seconds) = (self.pace.received, self.pace.seconds());
                        return self.fail(IntakeError::TooSlow { received, seconds }.into());
                    }
                    self.unsealer.push(&piece);
                }
            }
        }
    }

    /// Waits, and fails when nothing has arrived for too long.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        loop {
            ready!(self.alarm.poll_unpin(context));
            if self.pace.silent_at() <= Instant::now() {
                let (received, idle) = (self.pace.received, self.idle);
                return self.fail(IntakeError::Stalled { received, idle }.into());
            }
            self.alarm.as_mut().reset(self.pace.silent_at());
        }
    }

    fn fail(&mut self, error: ApiError) -> Poll<Option<Result<Bytes, axum::Error>>> {
        self.has_ended = true;
        let detail = error.detail.clone();
        self.failure = Some(error);
        Poll::Ready(Some(Err(axum::Error::new(detail))))
    }
}

/// The present, by the machine's clock, in milliseconds since 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(
        pairs: &[(header::HeaderName, &'static str)],
    ) -> (Result<Option<SealedContent>, ApiError>, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        (SealedContent::take(&mut headers), headers)
    }

    #[test]
    fn the_headers_become_those_of_what_is_sealed() {
        let sealed = "application/vnd.edgeprove.sealed; content=\"multipart/form-data; boundary=x\"";
        let (content, headers) = take(&[(header::CONTENT_TYPE, sealed), (header::CONTENT_LENGTH, "179")]);
        assert_eq!(content.unwrap().unwrap().content, "multipart/form-data; boundary=x");
        assert_eq!(headers[header::CONTENT_TYPE], "multipart/form-data; boundary=x");
        assert_eq!(headers[header::CONTENT_LENGTH], "100");
        let (content, headers) = take(&[(header::CONTENT_TYPE, "application/gzip")]);
        assert_eq!(
            (content.unwrap(), headers[header::CONTENT_TYPE].as_bytes()),
            (None, &b"application/gzip"[..])
        );
    }

    #[test]
    fn a_sealed_body_without_its_content_is_refused() {
        let plain = (header::CONTENT_TYPE, "application/vnd.edgeprove.sealed");
        let full = (header::CONTENT_TYPE, "application/vnd.edgeprove.sealed; content=application/gzip");
        for (pairs, kind) in [
            (&[plain][..], ProblemType::UnsupportedMediaType),
            (&[full.clone(), (header::CONTENT_ENCODING, "gzip")], ProblemType::UnsupportedMediaType),
            (&[full.clone(), (header::CONTENT_TYPE, "application/gzip")], ProblemType::UnsupportedMediaType),
            (&[full, (header::CONTENT_LENGTH, "78")], ProblemType::SealedBodyInvalid),
        ] {
            assert_eq!(take(pairs).0.unwrap_err().kind, kind, "{pairs:?}");
        }
    }
}
