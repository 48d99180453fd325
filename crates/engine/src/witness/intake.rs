//! Streams an upload into the spool while checking that it is one sound gzip stream of a sensible size.
//!
//! Every piece is inflated as it comes, into a buffer that is thrown away, so that a bomb, a wrong file or a damaged
//! one is refused at the first byte that gives it away and never by running out of something. An upload holds a
//! few tens of kilobytes of memory whatever its size: the window that DEFLATE needs, one small write buffer, and the
//! piece that the body yielded last.

mod error;
mod gzip;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edgeprove_protocol::limits;
use futures_util::{Stream, StreamExt as _};

pub use error::{IntakeError, LooksLike};
use gzip::{Inflation, Progress};

use edgeprove_spool::{Spool, SpoolFile};

/// Pieces smaller than this are gathered before they are written, so that an upload in single bytes does not cost
/// one trip to the disk each.
const GATHERED_BYTES: usize = 16 * 1024;

/// How large and how slow an upload may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntakeLimits {
    /// Largest upload, in compressed bytes.
    pub upload_max_bytes: u64,
    /// Largest inflated size, in bytes.
    pub inflated_max_bytes: u64,
    /// Most inflated bytes for each compressed one, looked at beyond the floor.
    pub ratio_max: u64,
    /// Inflated bytes up to which any ratio will do.
    pub ratio_floor_bytes: u64,
    /// Longest silence between two pieces.
    pub idle: Duration,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        Self {
            upload_max_bytes: limits::UPLOAD_MAX_BYTES,
            inflated_max_bytes: limits::DECOMPRESSED_MAX_BYTES,
            ratio_max: limits::COMPRESSION_RATIO_MAX,
            ratio_floor_bytes: limits::COMPRESSION_RATIO_FLOOR_BYTES,
            idle: Duration::from_millis(limits::UPLOAD_IDLE_MS),
        }
    }
}

/// An upload that is complete, undamaged and no larger than it may be.
#[derive(Debug)]
pub struct SpooledWitness {
    /// The gzip stream as it was sent.
    pub file: SpoolFile,
    /// Its size.
    pub compressed_bytes: u64,
    /// Its size once inflated.
    pub inflated_bytes: u64,
}

/// Takes an upload in. `declared_length` is the size the client announced, `inflated_bound` the most that a witness
/// of this circuit can inflate to. On any error, and if the future is dropped, the spooled bytes are wiped.
///
/// 1. An announced size of zero or beyond the cap is refused before anything is read.
/// 2. Silence beyond the limit is [`IntakeError::Stalled`]; a body that fails is [`IntakeError::BodyFailed`].
/// 3. The first bytes must be gzip's, each piece must inflate, and neither size, compressed or inflated, may pass
///    its cap at any moment.
/// 4. At the end the stream must be complete, checksum and length right, and nothing may follow it.
pub async fn receive<S, E>(
    spool: &Spool,
    limits: &IntakeLimits,
    declared_length: Option<u64>,
    inflated_bound: Option<u64>,
    body: S,
) -> Result<SpooledWitness, IntakeError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match declared_length {
        Some(0) => return Err(IntakeError::Empty),
        Some(bytes) if bytes > limits.upload_max_bytes => {
            return Err(IntakeError::TooLarge { announced: Some(bytes), max_bytes: limits.upload_max_bytes });
        }
        _ => {}
    }
    let mut body = std::pin::pin!(body);
    let mut inflation = Inflation::new(limits, inflated_bound);
    let mut file = spool.create()?;
    let mut gathered = BytesMut::new();
    let mut received = 0;
    loop {
        let next = tokio::time::timeout(limits.idle, body.next()).await;
        let piece = match next.map_err(|_| IntakeError::Stalled { received, idle: limits.idle })? {
            None => break,
            Some(Err(error)) => return Err(IntakeError::BodyFailed { received, source: error.into() }),
            Some(Ok(piece)) => piece,
        };
        received += piece.len() as u64;
        if received > limits.upload_max_bytes {
            return Err(IntakeError::TooLarge { announced: None, max_bytes: limits.upload_max_bytes });
        }
        // What shows itself here as no witness is never written.
        let mut left = &piece[..];
        while let Progress::More(rest) = inflation.advance(left)? {
            left = rest;
            tokio::task::yield_now().await;
        }
        gather(&mut file, &mut gathered, piece).await?;
    }
    let inflated_bytes = inflation.finish()?;
    if !gathered.is_empty() {
        file.append(gathered.freeze()).await?;
    }
    Ok(SpooledWitness { compressed_bytes: file.len(), file, inflated_bytes })
}

/// Writes large pieces as they are, and small ones together.
async fn gather(file: &mut SpoolFile, gathered: &mut BytesMut, piece: Bytes) -> Result<(), IntakeError> {
    if gathered.len() + piece.len() > GATHERED_BYTES && !gathered.is_empty() {
        file.append(std::mem::take(gathered).freeze()).await?;
    }
    if piece.len() >= GATHERED_BYTES {
        file.append(piece).await?;
    } else {
        gathered.reserve(GATHERED_BYTES.saturating_sub(gathered.len()));
        gathered.extend_from_slice(&piece);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
