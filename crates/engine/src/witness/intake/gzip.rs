//! Inflating to count: one gzip stream, piece by piece, with every bound held at every step.

use flate2::{Decompress, FlushDecompress, Status};

use super::{IntakeError, IntakeLimits, LooksLike, error::WITNESS_HEAD};

/// What a gzip stream begins with: its magic and DEFLATE, the one method there is.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// The largest window, which gzip streams may ask for.
const WINDOW_BITS: u8 = 15;
/// Inflated bytes between two looks at the bounds.
const STEP_BYTES: usize = 16 * 1024;
/// Steps taken at most before other tasks get their turn: about a quarter of a millisecond.
const STEPS_AT_ONCE: usize = 32;

/// How far a piece has been inflated.
pub(super) enum Progress<'piece> {
    /// This much of it is left; let others have their turn first.
    More(&'piece [u8]),
    /// All of it is taken.
    Done,
}

/// A gzip stream under way.
pub(super) struct Inflation<'limits> {
    limits: &'limits IntakeLimits,
    circuit_max_bytes: Option<u64>,
    stream: Decompress,
    /// The first bytes, until they are known to be gzip's.
    magic: Vec<u8>,
    /// The first inflated bytes, which tell a larger circuit's witness from anything else that is too large.
    head: Vec<u8>,
    ended: bool,
}

impl<'limits> Inflation<'limits> {
    pub(super) fn new(limits: &'limits IntakeLimits, circuit_max_bytes: Option<u64>) -> Self {
        let stream = Decompress::new_gzip(WINDOW_BITS);
        Self { limits, circuit_max_bytes, stream, magic: Vec::new(), head: Vec::new(), ended: false }
    }

    /// Inflates some of a piece.
    pub(super) fn advance<'piece>(&mut self, piece: &'piece [u8]) -> Result<Progress<'piece>, IntakeError> {
        self.see_magic(piece)?;
        let mut left = piece;
        let mut counted = [0; STEP_BYTES];
        for _ in 0..STEPS_AT_ONCE {
            if self.ended {
                let at = self.stream.total_in();
                return if left.is_empty() {
                    Ok(Progress::Done)
                } else {
                    Err(IntakeError::BytesAfterEnd { at })
                };
            }
            let (taken, given) = (self.stream.total_in(), self.stream.total_out());
            let status =
                self.stream.decompress(left, &mut counted, FlushDecompress::None).map_err(|error| {
                    let what = error.message().unwrap_or("it is no DEFLATE").to_owned();
                    IntakeError::Corrupt { what, at: self.stream.total_in() }
                })?;
            let inflated = usize::try_from(self.stream.total_out() - given).unwrap_or_default();
            let missing = WITNESS_HEAD.len() - self.head.len();
            self.head.extend(counted[..inflated].iter().take(missing));
            self.hold_bounds()?;
            self.ended = status == Status::StreamEnd;
            left = usize::try_from(self.stream.total_in() - taken).map_or(&[], |taken| &left[taken..]);
            let filled = inflated == counted.len();
            if left.is_empty() && !filled {
                return Ok(Progress::Done);
            }
        }
        Ok(Progress::More(left))
    }

    /// Ends the stream and returns how much it inflated to.
    pub(super) fn finish(self) -> Result<u64, IntakeError> {
        let (compressed, inflated) = (self.stream.total_in(), self.stream.total_out());
        match (self.ended, compressed) {
            (true, _) => Ok(inflated),
            (false, 0) => Err(IntakeError::Empty),
            (false, _) => Err(IntakeError::Truncated { compressed, inflated }),
        }
    }

    fn see_magic(&mut self, piece: &[u8]) -> Result<(), IntakeError> {
        let missing = MAGIC.len() - self.magic.len();
        self.magic.extend(piece.iter().take(missing));
        if MAGIC.starts_with(&self.magic) {
            Ok(())
        } else {
            Err(IntakeError::NotGzip { looks_like: LooksLike::of(&self.magic) })
        }
    }

    fn hold_bounds(&self) -> Result<(), IntakeError> {
        let (compressed, inflated) = (self.stream.total_in(), self.stream.total_out());
        let IntakeLimits { inflated_max_bytes, ratio_max, ratio_floor_bytes, .. } = *self.limits;
        if let Some(max_bytes) = self.circuit_max_bytes
            && inflated > max_bytes
        {
            Err(IntakeError::BeyondCircuit { max_bytes, witness: self.head == WITNESS_HEAD })
        } else if inflated > inflated_max_bytes {
            Err(IntakeError::BeyondCap { max_bytes: inflated_max_bytes })
        } else if inflated > ratio_floor_bytes && inflated > compressed.saturating_mul(ratio_max) {
            Err(IntakeError::BeyondRatio { compressed, inflated, ratio_max })
        } else {
            Ok(())
        }
    }
}
