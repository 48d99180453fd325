//! Points as bytes: affine coordinates in Montgomery form. All zeros are the point at infinity.

use ark_bn254::{Fq2, G1Affine, G2Affine};
use ark_ec::AffineRepr as _;
use ark_ff::Zero as _;

use crate::field::{self, FIELD_BYTES};

pub(crate) const G1_BYTES: usize = 2 * FIELD_BYTES;
pub(crate) const G2_BYTES: usize = 4 * FIELD_BYTES;

/// A point group whose points are in files.
pub(crate) trait PointBytes<const N: usize>: Copy + Send + Sync {
    /// Reads a point. `None`: a coordinate is not below the modulus.
    fn from_bytes(bytes: &[u8; N]) -> Option<Self>;

    /// The bytes of the point.
    fn to_bytes(self) -> [u8; N];

    /// Whether this is the point at infinity.
    fn is_infinity(&self) -> bool;

    /// Whether the point is on the curve. In G2, it may still be outside the group.
    fn is_curve_point(&self) -> bool;

    /// Whether the point is on the curve and in the right subgroup.
    fn is_valid(&self) -> bool;
}

impl PointBytes<G1_BYTES> for G1Affine {
    fn from_bytes(bytes: &[u8; G1_BYTES]) -> Option<Self> {
        let [x, y] = coordinates(bytes);
        let (x, y) = (field::coordinate_from_montgomery(x)?, field::coordinate_from_montgomery(y)?);
        Some(if x.is_zero() && y.is_zero() { Self::zero() } else { Self::new_unchecked(x, y) })
    }

    fn to_bytes(self) -> [u8; G1_BYTES] {
        let mut bytes = [0; G1_BYTES];
        if let Some((x, y)) = self.xy() {
            write_coordinates(&mut bytes, [x, y]);
        }
        bytes
    }

    fn is_infinity(&self) -> bool {
        self.is_zero()
    }

    fn is_curve_point(&self) -> bool {
        self.is_on_curve()
    }

    fn is_valid(&self) -> bool {
        self.is_zero() || (self.is_on_curve() && self.is_in_correct_subgroup_assuming_on_curve())
    }
}

impl PointBytes<G2_BYTES> for G2Affine {
    fn from_bytes(bytes: &[u8; G2_BYTES]) -> Option<Self> {
        let [x0, x1, y0, y1] = coordinates(bytes);
        let coordinate = field::coordinate_from_montgomery;
        let x = Fq2::new(coordinate(x0)?, coordinate(x1)?);
        let y = Fq2::new(coordinate(y0)?, coordinate(y1)?);
        Some(if x.is_zero() && y.is_zero() { Self::zero() } else { Self::new_unchecked(x, y) })
    }

    fn to_bytes(self) -> [u8; G2_BYTES] {
        let mut bytes = [0; G2_BYTES];
        if let Some((x, y)) = self.xy() {
            write_coordinates(&mut bytes, [x.c0, x.c1, y.c0, y.c1]);
        }
        bytes
    }

    fn is_infinity(&self) -> bool {
        self.is_zero()
    }

    fn is_curve_point(&self) -> bool {
        self.is_on_curve()
    }

    fn is_valid(&self) -> bool {
        self.is_zero() || (self.is_on_curve() && self.is_in_correct_subgroup_assuming_on_curve())
    }
}

/// Splits the bytes of a point, which have exactly `C` coordinates.
fn coordinates<const N: usize, const C: usize>(bytes: &[u8; N]) -> [&[u8; FIELD_BYTES]; C] {
    const { assert!(N == C * FIELD_BYTES) };
    let chunks = bytes.as_chunks().0;
    std::array::from_fn(|index| &chunks[index])
}

fn write_coordinates<const N: usize, const C: usize>(bytes: &mut [u8; N], coordinates: [ark_bn254::Fq; C]) {
    for (bytes, coordinate) in bytes.as_chunks_mut().0.iter_mut().zip(&coordinates) {
        *bytes = field::coordinate_to_montgomery(coordinate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_round_trip() {
        for point in [G1Affine::generator(), G1Affine::zero()] {
            assert_eq!(G1Affine::from_bytes(&point.to_bytes()), Some(point));
            assert!(point.is_valid());
        }
        for point in [G2Affine::generator(), G2Affine::zero()] {
            assert_eq!(G2Affine::from_bytes(&point.to_bytes()), Some(point));
            assert!(point.is_valid());
        }
    }

    #[test]
    fn points_off_the_curve_are_noticed() {
        let mut bytes = G1Affine::generator().to_bytes();
        bytes[0] ^= 1;
        assert!(!G1Affine::from_bytes(&bytes).unwrap().is_valid());
        assert_eq!(G1Affine::from_bytes(&[0xff; G1_BYTES]), None);
    }
}
