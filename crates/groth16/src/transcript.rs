//! Points in the transcripts of ceremonies: hashed in one of two forms, and hashed to.
//!
//! Both forms have the most significant byte first, and the second part of a coordinate in G2 before the first. The short
//! form is the x coordinate with the sign of y in its highest bit.

use ark_bn254::{Fq, Fq2, G1Affine, G2Affine};
use ark_ec::{AffineRepr as _, CurveGroup as _};
use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit as _, StreamCipher as _},
};

use crate::{
    blake2b::{Blake2b, DIGEST_BYTES},
    curve::{G1_BYTES, G2_BYTES},
    field::{self, FIELD_BYTES},
};

/// The bit of the short form that states that y is the larger of the two possible values.
const LARGER: u8 = 0x80;
/// The bit of the short form of the point at infinity.
const INFINITY: u8 = 0x40;

/// A point that transcripts contain.
pub(crate) trait TranscriptPoint<const N: usize>: Send + Sync {
    /// Appends both coordinates. The point at infinity is all zeros.
    fn append(&self, bytes: &mut Vec<u8>);

    /// Appends the short form.
    fn append_short(&self, bytes: &mut Vec<u8>);
}

impl TranscriptPoint<G1_BYTES> for G1Affine {
    fn append(&self, bytes: &mut Vec<u8>) {
        match self.xy() {
            Some((x, y)) => [x, y].iter().for_each(|value| bytes.extend(field::to_word(value))),
            None => bytes.extend([0; G1_BYTES]),
        }
    }

    fn append_short(&self, bytes: &mut Vec<u8>) {
        match self.xy() {
            Some((x, y)) => append_short(bytes, &[x], y > -y),
            None => append_infinity(bytes, G1_BYTES / 2),
        }
    }
}

impl TranscriptPoint<G2_BYTES> for G2Affine {
    fn append(&self, bytes: &mut Vec<u8>) {
        match self.xy() {
            Some((x, y)) => {
                for value in [x.c1, x.c0, y.c1, y.c0] {
                    bytes.extend(field::to_word(&value));
                }
            }
            None => bytes.extend([0; G2_BYTES]),
        }
    }

    fn append_short(&self, bytes: &mut Vec<u8>) {
        match self.xy() {
            Some((x, y)) => append_short(bytes, &[x.c1, x.c0], y > -y),
            None => append_infinity(bytes, G2_BYTES / 2),
        }
    }
}

fn append_short(bytes: &mut Vec<u8>, x: &[Fq], is_larger: bool) {
    let start = bytes.len();
    for value in x {
        bytes.extend(field::to_word(value));
    }
    if is_larger {
        bytes[start] |= LARGER;
    }
}

fn append_infinity(bytes: &mut Vec<u8>, length: usize) {
    let start = bytes.len();
    bytes.resize(start + length, 0);
    bytes[start] = INFINITY;
}

impl Blake2b {
    /// Hashes both coordinates of points.
    pub(crate) fn points<'a, const N: usize, P: TranscriptPoint<N> + 'a>(
        &mut self,
        points: impl IntoIterator<Item = &'a P>,
    ) {
        let mut bytes = Vec::with_capacity(N);
        for point in points {
            bytes.clear();
            point.append(&mut bytes);
            self.update(&bytes);
        }
    }

    /// Hashes the short forms of points.
    pub(crate) fn short_points<'a, const N: usize, P: TranscriptPoint<N> + 'a>(
        &mut self,
        points: impl IntoIterator<Item = &'a P>,
    ) {
        let mut bytes = Vec::with_capacity(N);
        for point in points {
            bytes.clear();
            point.append_short(&mut bytes);
            self.update(&bytes);
        }
    }
}

/// The point of G2 that follows from a digest, and whose logarithm nobody knows: the first one that a generator of random
/// numbers leads to whose seed is the digest. As snarkjs computes it.
pub(crate) fn hash_to_g2(digest: &[u8; DIGEST_BYTES]) -> G2Affine {
    let mut words = Words::seeded(digest);
    loop {
        let x = Fq2::new(words.coordinate(), words.coordinate());
        let is_larger = words.next() & 1 == 1;
        if let Some(point) = G2Affine::get_point_from_x_unchecked(x, is_larger) {
            return point.mul_by_cofactor_to_group().into_affine();
        }
    }
}

/// Random 32-bit words: the key stream of `ChaCha20` with the start of a digest as key.
struct Words(ChaCha20);

impl Words {
    fn seeded(digest: &[u8; DIGEST_BYTES]) -> Self {
        let mut key = [0; 32];
        for (key, word) in key.as_chunks_mut::<4>().0.iter_mut().zip(digest.as_chunks::<4>().0) {
            *key = *word;
            // The words of the seed have their most significant byte first, and those of a key their least significant one.
            key.reverse();
        }
        Self(ChaCha20::new(&key.into(), &[0; 12].into()))
    }

    fn next(&mut self) -> u32 {
        let mut word = [0; 4];
        self.0.apply_keystream(&mut word);
        u32::from_le_bytes(word)
    }

    /// A coordinate, whose Montgomery form is the random number.
    fn coordinate(&mut self) -> Fq {
        loop {
            let mut bytes = [0; FIELD_BYTES];
            for limb in bytes.as_chunks_mut::<8>().0 {
                let (high, low) = (self.next(), self.next());
                *limb = (u64::from(high) << 32 | u64::from(low)).to_le_bytes();
            }
            // The modulus has 254 bits.
            bytes[FIELD_BYTES - 1] &= 0x3f;
            if let Some(coordinate) = field::coordinate_from_montgomery(&bytes) {
                return coordinate;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::PointBytes as _;

    #[test]
    fn hashed_points_are_in_the_group_and_differ() {
        let [first, second] = [1, 2].map(|byte| hash_to_g2(&[byte; DIGEST_BYTES]));
        assert!(first.is_valid() && second.is_valid() && first != second);
        assert_eq!(first, hash_to_g2(&[1; DIGEST_BYTES]));
    }

    #[test]
    fn short_forms_have_x_and_the_sign() {
        let forms = [G1Affine::generator(), -G1Affine::generator(), G1Affine::zero()].map(|point| {
            let mut bytes = Vec::new();
            point.append_short(&mut bytes);
            bytes
        });
        assert_eq!(forms.each_ref().map(|form| form[0]), [0, LARGER, INFINITY]);
        assert_eq!(forms[0][31], 1);
        let mut bytes = Vec::new();
        G2Affine::generator().append_short(&mut bytes);
        assert_eq!(bytes.len(), 64);
    }
}
