//! Decompresses an upload to check and count it: one gzip stream, chunk by chunk, with every bound checked at each step.

use edgeprove_protocol::limits::compressed_max_bytes;
use edgeprove_spool::gunzip::{WINDOW_BITS, wipe_window};
use flate2::{Decompress, FlushDecompress, Status};
use zeroize::Zeroize as _;

use super::{
    IntakeError, IntakeLimits, LooksLike,
    error::{BeginsAs, Damage, WITNESS_HEAD},
    gzip_header::{GzipHeader, HEADER_MAX_BYTES, HeaderTooLong},
};

/// The first bytes of a gzip stream: its magic, and DEFLATE, the only method.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Decompressed bytes between two checks of the bounds.
const STEP_BYTES: usize = 16 * 1024;
/// Most steps before other tasks get their turn: about a quarter of a millisecond.
const STEPS_AT_ONCE: usize = 32;

/// How much of a chunk was decompressed.
pub(super) enum Progress<'chunk> {
    /// These bytes are left; other tasks get their turn first.
    More(&'chunk [u8]),
    /// All of it.
    Done,
}

/// A gzip stream that arrives.
pub(super) struct Decompression<'limits> {
    limits: &'limits IntakeLimits,
    circuit_max_bytes: Option<u64>,
    stream: Decompress,
    header: GzipHeader,
    /// The first bytes, until they are known to be gzip's magic.
    magic: Vec<u8>,
    /// The first decompressed bytes. They distinguish the witness of a larger circuit from other uploads that are too
    /// large.
    head: Vec<u8>,
    has_ended: bool,
}

impl<'limits> Decompression<'limits> {
    pub(super) fn new(limits: &'limits IntakeLimits, circuit_max_bytes: Option<u64>) -> Self {
        Self {
            limits,
            circuit_max_bytes,
            stream: Decompress::new_gzip(WINDOW_BITS),
            header: GzipHeader::new(),
            magic: Vec::new(),
            head: Vec::new(),
            has_ended: false,
        }
    }

    /// Checks the first bytes of the stream. Called with every chunk of the upload, before it is decompressed.
    pub(super) fn begin(&mut self, chunk: &[u8]) -> Result<(), IntakeError> {
        let missing = MAGIC.len() - self.magic.len();
        self.magic.extend(chunk.iter().take(missing));
        if !MAGIC.starts_with(&self.magic) {
            return Err(IntakeError::NotGzip { looks_like: LooksLike::of(&self.magic) });
        }
        let too_long = |HeaderTooLong| IntakeError::HeaderTooLong { max_bytes: HEADER_MAX_BYTES };
        self.header.advance(chunk).map_err(too_long)?;
        if self.header.has_undefined_flags() {
            return Err(IntakeError::Corrupt { what: Damage::HeaderFlags, at: MAGIC.len() as u64 });
        }
        Ok(())
    }

    /// Decompresses some of a chunk.
    pub(super) fn advance<'chunk>(&mut self, chunk: &'chunk [u8]) -> Result<Progress<'chunk>, IntakeError> {
        let mut left = chunk;
        let mut output = [0; STEP_BYTES];
        for _ in 0..STEPS_AT_ONCE {
            if self.has_ended {
                let at = self.stream.total_in();
                return if left.is_empty() {
                    Ok(Progress::Done)
                } else {
                    Err(IntakeError::BytesAfterEnd { at })
                };
            }
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status =
                self.stream.decompress(left, &mut output, FlushDecompress::None).map_err(|error| {
                    output.zeroize();
                    let what = Damage::Decoder(error.message().unwrap_or("it is not DEFLATE").to_owned());
                    IntakeError::Corrupt { what, at: self.stream.total_in() }
                })?;
            let decompressed = usize::try_from(self.stream.total_out() - written).unwrap_or_default();
            let missing = WITNESS_HEAD.len() - self.head.len();
            self.head.extend(output[..decompressed].iter().take(missing));
            // Only what was written is wiped: a client may send single bytes.
            output[..decompressed].zeroize();
            self.check_bounds()?;
            self.has_ended = status == Status::StreamEnd;
            left = usize::try_from(self.stream.total_in() - read).map_or(&[], |read| &left[read..]);
            let is_filled = decompressed == output.len();
            if left.is_empty() && !is_filled {
                return Ok(Progress::Done);
            }
        }
        Ok(Progress::More(left))
    }

    /// Ends the stream and returns its decompressed size in bytes.
    pub(super) fn finish(&self) -> Result<u64, IntakeError> {
        let (compressed, decompressed) = (self.stream.total_in(), self.stream.total_out());
        match (self.has_ended, compressed) {
            (true, _) => Ok(decompressed),
            (false, 0) => Err(IntakeError::Empty),
            (false, _) => Err(IntakeError::Truncated { compressed, decompressed }),
        }
    }

    fn check_bounds(&self) -> Result<(), IntakeError> {
        let (compressed, decompressed) = (self.stream.total_in(), self.stream.total_out());
        let IntakeLimits { decompressed_max_bytes, ratio_max, ratio_floor_bytes, .. } = *self.limits;
        if let Some(max_bytes) = self.circuit_max_bytes
            && decompressed > max_bytes
        {
            Err(IntakeError::BeyondCircuit { max_bytes, begins_as: BeginsAs::of(&self.head) })
        } else if decompressed > decompressed_max_bytes {
            Err(IntakeError::BeyondCap { max_bytes: decompressed_max_bytes })
        } else if decompressed > ratio_floor_bytes && decompressed > compressed.saturating_mul(ratio_max) {
            Err(IntakeError::BeyondRatio { compressed, decompressed, ratio_max })
        } else if compressed > compressed_max_bytes(decompressed) {
            let max_bytes = compressed_max_bytes(decompressed);
            Err(IntakeError::Padded { compressed, decompressed, max_bytes })
        } else {
            Ok(())
        }
    }
}

impl Drop for Decompression<'_> {
    fn drop(&mut self) {
        wipe_window(&mut self.stream);
    }
}
