//! A response body that keeps a value until it was sent, or until its client is gone.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use hyper::body::{Frame, SizeHint};

struct GuardedBody<G> {
    body: Body,
    _guard: G,
}

/// The same response. Its body drops the guard at its end.
pub fn guarded<G: Unpin + Send + 'static>(response: Response, guard: G) -> Response {
    response.map(|body| Body::new(GuardedBody { body, _guard: guard }))
}

impl<G: Unpin> HttpBody for GuardedBody<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
