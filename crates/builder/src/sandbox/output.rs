//! What a tool prints: both streams are read all the time, within one bound.

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::ToolOutput;

/// The bytes of both streams.
#[derive(Debug)]
pub(super) struct Captured {
    max_bytes: usize,
    printed: Mutex<ToolOutput>,
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Out,
    Err,
}

impl Captured {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, printed: Mutex::new(ToolOutput { stdout: Vec::new(), stderr: Vec::new() }) }
    }

    /// Reads both streams to their ends. False: there were more bytes than allowed, and nothing further is read.
    pub(super) async fn read(
        &self,
        stdout: Option<impl AsyncRead + Unpin>,
        stderr: Option<impl AsyncRead + Unpin>,
    ) -> bool {
        let streams = (self.read_one(stdout, Stream::Out), self.read_one(stderr, Stream::Err));
        // The first one that fails ends the other.
        tokio::try_join!(streams.0, streams.1).is_ok()
    }

    async fn read_one(&self, stream: Option<impl AsyncRead + Unpin>, which: Stream) -> Result<(), ()> {
        let Some(mut stream) = stream else { return Ok(()) };
        // On the heap, so that the future stays small.
        let mut piece = vec![0; 8192];
        loop {
            // A failure to read is the end of the stream.
            let read = stream.read(&mut piece).await.unwrap_or(0);
            if read == 0 {
                return Ok(());
            }
            let mut printed = self.printed.lock();
            if printed.stdout.len() + printed.stderr.len() + read > self.max_bytes {
                return Err(());
            }
            match which {
                Stream::Out => printed.stdout.extend_from_slice(&piece[..read]),
                Stream::Err => printed.stderr.extend_from_slice(&piece[..read]),
            }
        }
    }

    /// What was read so far.
    pub(super) fn take_output(&self) -> ToolOutput {
        let empty = ToolOutput { stdout: Vec::new(), stderr: Vec::new() };
        std::mem::replace(&mut *self.printed.lock(), empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_streams_share_one_bound() {
        let output = Captured::new(10);
        assert!(output.read(Some(b"12345".as_slice()), Some(b"67890".as_slice())).await);
        let printed = output.take_output();
        assert_eq!((printed.stdout.as_slice(), printed.stderr.as_slice()), (&b"12345"[..], &b"67890"[..]));

        let output = Captured::new(10);
        // The other stream has no end.
        assert!(!output.read(Some(tokio::io::repeat(b'x')), Some(b"6".as_slice())).await);
        assert!(output.take_output().stdout.len() <= 10);
    }
}
