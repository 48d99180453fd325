//! The digests of the ceremony's points, and the comparison of a file with them.

use std::io::{self, Read, Seek};

use edgeprove_protocol::crs::{
    G1_COMPRESSED_FILE, G1_COMPRESSED_POINT_BYTES, G1_FILE, G1_GENERATOR, G1_POINT_BYTES,
    compressed_points_in, points_in,
};
use sha2::{Digest, Sha256};

use super::CrsFault;

/// The digests, as `versions.toml` has them.
pub(super) struct Pins {
    /// The number of points in a piece.
    piece_points: u64,
    points: Digests,
    compressed: Digests,
}

/// Digests of the points in one format, in hexadecimal.
struct Digests {
    /// For some numbers of points, ascending, the SHA-256 of the first points.
    prefixes: &'static [(u64, &'static str)],
    /// The SHA-256 of each piece, from the first on.
    pieces: &'static [&'static str],
}

#[expect(clippy::unreadable_literal, reason = "the build script writes it")]
const PINS: Pins = include!(concat!(env!("OUT_DIR"), "/crs_pins.rs"));

/// A format of the G1 points.
pub(super) struct Format {
    /// The name of the file.
    pub(super) file: &'static str,
    point_bytes: u64,
    generator: &'static [u8],
    digests: Digests,
}

/// x and y, 64 bytes.
pub(super) const UNCOMPRESSED: Format =
    Format { file: G1_FILE, point_bytes: G1_POINT_BYTES, generator: &G1_GENERATOR, digests: PINS.points };

/// x and the parity of y, 32 bytes.
pub(super) const COMPRESSED: Format = Format {
    file: G1_COMPRESSED_FILE,
    point_bytes: G1_COMPRESSED_POINT_BYTES,
    generator: &COMPRESSED_GENERATOR,
    digests: PINS.compressed,
};

/// The generator (1, 2): y is even.
const COMPRESSED_GENERATOR: [u8; 32] = {
    let mut point = [0; 32];
    point[31] = 1;
    point
};

impl Format {
    /// The number of points in a file of this length; `None` if it is not a whole number, or 0.
    pub(super) fn points_in(&self, bytes: u64) -> Option<u64> {
        if self.point_bytes == G1_POINT_BYTES { points_in(bytes) } else { compressed_points_in(bytes) }
    }

    /// Compares a file of so many points with the ceremony. Returns how many points the digests cover, from the first on.
    pub(super) fn check(
        &self,
        file: &mut (impl Read + Seek),
        points: u64,
    ) -> io::Result<Result<u64, CrsFault>> {
        let mut first = vec![0; self.generator.len()];
        file.read_exact(&mut first)?;
        if first != self.generator {
            return Ok(Err(CrsFault::NotTheGenerator));
        }
        file.rewind()?;
        let Digests { prefixes, pieces } = &self.digests;
        if points < PINS.piece_points {
            let Some((covered, sha256)) = prefixes.iter().rfind(|(covered, _)| *covered <= points) else {
                return Ok(Ok(0));
            };
            return Ok(if self.digest_of_next(file, *covered)? == *sha256 {
                Ok(*covered)
            } else {
                Err(CrsFault::NotTheCeremony { from: 0, to: covered - 1 })
            });
        }
        let mut covered = 0;
        for sha256 in *pieces {
            let end = covered + PINS.piece_points;
            if end > points {
                break;
            }
            if self.digest_of_next(file, PINS.piece_points)? != *sha256 {
                return Ok(Err(CrsFault::NotTheCeremony { from: covered, to: end - 1 }));
            }
            covered = end;
        }
        Ok(Ok(covered))
    }

    fn digest_of_next(&self, file: &mut impl Read, points: u64) -> io::Result<String> {
        let mut left = file.by_ref().take(points * self.point_bytes);
        let mut digest = Sha256::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            match left.read(&mut piece)? {
                0 => return Ok(hex::encode(digest.finalize())),
                read => digest.update(&piece[..read]),
            }
        }
    }
}

/// Identifies the digests, so that a file that was checked with others is checked again.
pub(super) fn identity() -> String {
    let mut digest = Sha256::new();
    for Digests { prefixes, pieces } in [&PINS.points, &PINS.compressed] {
        for sha256 in prefixes.iter().map(|(_, sha256)| sha256).chain(pieces.iter()) {
            digest.update(sha256);
        }
    }
    hex::encode(&digest.finalize()[..8])
}
