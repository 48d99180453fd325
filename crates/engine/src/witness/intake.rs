//! Streams an upload into the spool while it checks that the upload is one gzip stream of an allowed size.
//!
//! Every chunk is decompressed when it arrives, into a buffer that is discarded. A bomb, a wrong file or a damaged file is
//! refused at the first byte that shows it, before memory or disk run out. An upload of any size holds a few tens of
//! kilobytes of memory: the window that DEFLATE needs, one small write buffer, and the last chunk of the body.

mod decompression;
mod error;
mod gzip_header;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edgeprove_protocol::limits;
use futures_util::{Stream, StreamExt as _};

use decompression::{Decompression, Progress};
pub use error::{BeginsAs, BodyError, Damage, IntakeError, LooksLike, SizeLimit};

use edgeprove_spool::{Spool, SpoolFile};

/// Smaller chunks are gathered before they are written, so that an upload in single bytes does not cost one write each.
const GATHERED_BYTES: usize = 16 * 1024;

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
    /// Longest pause between two chunks.
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
/// 2. A pause beyond the limit is [`IntakeError::Stalled`]; a body that fails is [`IntakeError::BodyFailed`].
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
    let mut decompression = Decompression::new(limits, circuit_max_bytes);
    let mut file = spool.create()?;
    let mut gathered = BytesMut::new();
    let mut received = 0;
    loop {
        let next = tokio::time::timeout(limits.idle, body.next()).await;
        let chunk = match next.map_err(|_| IntakeError::Stalled { received, idle: limits.idle })? {
            None => break,
            Some(Err(error)) => return Err(IntakeError::BodyFailed { received, source: error.into() }),
            Some(Ok(chunk)) => chunk,
        };
        received += chunk.len() as u64;
        bounds.check(received, None)?;
        // A chunk is written only after it was checked.
        decompression.begin(&chunk)?;
        let mut left = &chunk[..];
        while let Progress::More(rest) = decompression.advance(left)? {
            left = rest;
            tokio::task::yield_now().await;
        }
        write(&mut file, &mut gathered, chunk).await?;
    }
    let decompressed_bytes = decompression.finish()?;
    if !gathered.is_empty() {
        file.append(gathered.freeze()).await?;
    }
    Ok(SpooledWitness { compressed_bytes: file.len(), file, decompressed_bytes })
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

/// Writes large chunks at once, and gathers small ones.
async fn write(file: &mut SpoolFile, gathered: &mut BytesMut, chunk: Bytes) -> Result<(), IntakeError> {
    if gathered.len() + chunk.len() > GATHERED_BYTES && !gathered.is_empty() {
        file.append(std::mem::take(gathered).freeze()).await?;
    }
    if chunk.len() >= GATHERED_BYTES {
        file.append(chunk).await?;
    } else {
        gathered.reserve(GATHERED_BYTES.saturating_sub(gathered.len()));
        gathered.extend_from_slice(&chunk);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
