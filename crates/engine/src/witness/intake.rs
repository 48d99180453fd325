//! Streams an upload into the spool while it checks that the upload is one gzip stream of an allowed size.
//!
//! Every chunk is decompressed when it arrives, into a buffer that is discarded; small ones are gathered for a moment. A
//! bomb, a wrong file or a damaged file is refused at the first bytes that show it, before memory or disk run out. An upload of any size holds a few tens of
//! kilobytes of memory: the window that DEFLATE needs, one small buffer, and the last chunk of the body.

mod decompression;
mod error;
mod gzip_header;
mod pace;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edgeprove_protocol::limits;
use futures_util::{Stream, StreamExt as _};

use decompression::{Decompression, Progress};
pub use error::{BeginsAs, BodyError, Damage, IntakeError, LooksLike, SizeLimit};
pub use pace::{Pace, TooSlow};
use tokio::time::Instant;

use edgeprove_spool::{Spool, SpoolFile};

/// Smaller chunks are gathered before they are checked and written, so that an upload in single bytes does not cost one
/// check and one write each.
const GATHERED_BYTES: usize = 16 * 1024;
/// The longest time that gathered bytes wait, so that a refusal does not wait for more of them.
const HOLD: Duration = Duration::from_millis(50);

/// The limits of an upload's size and speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntakeLimits {
    /// Largest upload, in compressed bytes.
    pub upload_max_bytes: u64,
    /// Largest decompressed size, in bytes.
    pub decompressed_max_bytes: u64,
    /// Largest ratio of decompressed to compressed bytes, checked beyond the floor.
    pub ratio_max: u64,
    /// Decompressed bytes up to which any ratio is allowed.
    pub ratio_floor_bytes: u64,
    /// Longest pause between two chunks. After this time an upload also needs a minimum speed: see [`Pace`].
    pub idle: Duration,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        Self {
            upload_max_bytes: limits::UPLOAD_MAX_BYTES,
            decompressed_max_bytes: limits::DECOMPRESSED_MAX_BYTES,
            ratio_max: limits::COMPRESSION_RATIO_MAX,
            ratio_floor_bytes: limits::COMPRESSION_RATIO_FLOOR_BYTES,
            idle: Duration::from_millis(limits::UPLOAD_IDLE_MS),
        }
    }
}

/// An upload that is complete, undamaged and of an allowed size.
#[derive(Debug)]
pub struct SpooledWitness {
    /// The gzip stream as the client sent it.
    pub file: SpoolFile,
    /// Its size, in bytes.
    pub compressed_bytes: u64,
    /// Its decompressed size, in bytes.
    pub decompressed_bytes: u64,
}

/// Receives an upload into the spool.
///
/// `declared_length` is the length that the client announced, `circuit_max_bytes` the largest decompressed size of a
/// witness of the circuit. It bounds the compressed size as well: no compressor adds much to what it compresses. On any
/// error, and if the future is dropped, the spooled bytes are wiped.
///
/// 1. An announced length of zero or beyond a limit is refused before anything is read.
/// 2. A pause beyond the limit is [`IntakeError::Stalled`], a body below the minimum speed [`IntakeError::TooSlow`]; a body that fails is [`IntakeError::BodyFailed`].
/// 3. The first bytes must be gzip's, the header must not be too long, each chunk must decompress, and neither the
///    compressed nor the decompressed size may pass its limit at any moment.
/// 4. At the end the stream must be complete, its checksum and length must be right, and nothing may follow it.
pub async fn receive<S, E>(
    spool: &Spool,
    limits: &IntakeLimits,
    declared_length: Option<u64>,
    circuit_max_bytes: Option<u64>,
    body: S,
) -> Result<SpooledWitness, IntakeError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BodyError>,
{
    let bounds = CompressedBounds::new(limits, circuit_max_bytes);
    match declared_length {
        Some(0) => return Err(IntakeError::Empty),
        Some(bytes) => bounds.check(bytes, Some(bytes))?,
        None => {}
    }
    let mut body = std::pin::pin!(body);
    let decompression = Decompression::new(limits, circuit_max_bytes);
    let mut upload = Upload { decompression, file: spool.create()?, gathered: BytesMut::new() };
    let mut pace = Pace::new(limits.idle);
    // One timer for the whole upload, because a client may send millions of chunks. It is set again when it fires.
    let mut alarm = std::pin::pin!(tokio::time::sleep_until(pace.silent_at()));
    let mut hold_until = None;
    let end = loop {
        let next = tokio::select! {
            biased;
            next = body.next() => next,
            () = alarm.as_mut() => {
                if hold_until.take_if(|until| *until <= Instant::now()).is_some() {
                    upload.pass_on().await?;
                }
                if pace.silent_at() <= Instant::now() {
                    break Err(IntakeError::Stalled { received: pace.received, idle: limits.idle });
                }
                alarm.as_mut().reset(hold_until.unwrap_or_else(|| pace.silent_at()));
                continue;
            }
        };
        let chunk = match next {
            None => break Ok(()),
            Some(Err(error)) => {
                break Err(IntakeError::BodyFailed { received: pace.received, source: error.into() });
            }
            Some(Ok(chunk)) => chunk,
        };
        if let Err(TooSlow) = pace.receive(chunk.len()) {
            break Err(IntakeError::TooSlow { received: pace.received, seconds: pace.seconds() });
        }
        if let Err(too_large) = bounds.check(pace.received, None) {
            break Err(too_large);
        }
        upload.receive(chunk).await?;
        if upload.gathered.is_empty() {
            hold_until = None;
        } else if hold_until.is_none() {
            let until = Instant::now() + HOLD;
            hold_until = Some(until);
            alarm.as_mut().reset(until.min(pace.silent_at()));
        }
    };
    // What arrived may show a better reason.
    upload.pass_on().await?;
    end?;
    let decompressed_bytes = upload.decompression.finish()?;
    let file = upload.file;
    Ok(SpooledWitness { compressed_bytes: file.len(), file, decompressed_bytes })
}

/// An upload that arrives.
struct Upload<'limits> {
    decompression: Decompression<'limits>,
    file: SpoolFile,
    /// Small chunks that were not checked yet.
    gathered: BytesMut,
}

impl Upload<'_> {
    /// Checks and writes large chunks at once, and gathers small ones.
    async fn receive(&mut self, chunk: Bytes) -> Result<(), IntakeError> {
        if self.gathered.len() + chunk.len() > GATHERED_BYTES {
            self.pass_on().await?;
        }
        if chunk.len() >= GATHERED_BYTES {
            return self.check_and_write(chunk).await;
        }
        self.gathered.reserve(GATHERED_BYTES.saturating_sub(self.gathered.len()));
        self.gathered.extend_from_slice(&chunk);
        Ok(())
    }

    /// Checks and writes what was gathered.
    async fn pass_on(&mut self) -> Result<(), IntakeError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered).freeze();
        self.check_and_write(gathered).await
    }

    /// Writes bytes after they were checked.
    async fn check_and_write(&mut self, bytes: Bytes) -> Result<(), IntakeError> {
        self.decompression.begin(&bytes)?;
        let mut left = &bytes[..];
        while let Progress::More(rest) = self.decompression.advance(left)? {
            left = rest;
            tokio::task::yield_now().await;
        }
        Ok(self.file.append(bytes).await?)
    }
}

/// The largest compressed sizes, in bytes.
struct CompressedBounds {
    server: u64,
    circuit: Option<u64>,
}

impl CompressedBounds {
    fn new(limits: &IntakeLimits, circuit_max_bytes: Option<u64>) -> Self {
        Self { server: limits.upload_max_bytes, circuit: circuit_max_bytes.map(limits::compressed_max_bytes) }
    }

    fn check(&self, bytes: u64, announced: Option<u64>) -> Result<(), IntakeError> {
        let too_large = |max_bytes, limit| Err(IntakeError::TooLarge { announced, max_bytes, limit });
        match self.circuit {
            _ if bytes > self.server => too_large(self.server, SizeLimit::Server),
            Some(circuit) if bytes > circuit => too_large(circuit, SizeLimit::Circuit),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
