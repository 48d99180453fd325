//! The byte stream of a connection: it holds the connection's slot. It ends where its client stops reading, and when
//! another connection takes the slot.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::slots::Slot;

/// How long a write may wait for a client that reads nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection's stream. An upgraded connection keeps it, and so its slot. Nothing else ends such a connection when it
/// loses the slot.
#[derive(Debug)]
pub struct Stream {
    timed: Pin<Box<TimeoutStream<TcpStream>>>,
    displaced: Pin<Box<WaitForCancellationFutureOwned>>,
    slot: Slot,
}

impl Stream {
    /// The stream of an accepted connection.
    #[must_use]
    pub fn new(stream: TcpStream, slot: Slot) -> Self {
        let mut timed = TimeoutStream::new(stream);
        timed.set_write_timeout(Some(WRITE_TIMEOUT));
        Self { timed: Box::pin(timed), displaced: Box::pin(slot.until_displaced()), slot }
    }

    /// Fails if another connection took the slot, and otherwise wakes the task when one does. Reads and writes of a
    /// connection belong to one task.
    fn check_slot(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.displaced.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_slot(context)?;
        self.timed.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_slot(context)?;
        self.timed.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_slot(context)?;
        self.timed.as_mut().poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.timed.is_write_vectored()
    }

    /// hyper flushes when it has written a response, and also where there is nothing to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.timed.as_mut().poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.slot.responses_written();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.timed.as_mut().poll_shutdown(context)
    }
}
