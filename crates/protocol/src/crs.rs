//! The files of the common reference string (CRS) of BN254, as bb reads them: sizes and checks.
//!
//! One folder holds the points of G1 in [`G1_FILE`], in [`G1_COMPRESSED_FILE`], or in both. It may hold the one point of
//! G2 in [`G2_FILE`]; bb has that point built in. A circuit of dyadic size 2^k needs 2^k points of G1, and at least
//! [`POINTS_MIN`].
//!
//! ```
//! use edgeprove_protocol::crs;
//!
//! assert_eq!(crs::points_needed(4096), 4096);
//! assert_eq!(crs::points_in(4097 * crs::G1_POINT_BYTES), Some(4097));
//! assert_eq!(crs::largest_circuit(4097), 4096);
//! ```

/// Name of the file with the points of G1.
pub const G1_FILE: &str = "bn254_g1.dat";
/// Name of the file with the points of G1 in compressed form. bb downloads this file, and writes [`G1_FILE`] from it.
pub const G1_COMPRESSED_FILE: &str = "bn254_g1_compressed.dat";
/// Name of the file with the one point of G2.
pub const G2_FILE: &str = "bn254_g2.dat";

/// Size of a G1 point, in bytes: x, then y, 32 bytes each, big-endian.
pub const G1_POINT_BYTES: u64 = 64;
/// Size of a compressed G1 point, in bytes: x, big-endian, with [`G1_ODD_BIT`] set where y is odd.
pub const G1_COMPRESSED_POINT_BYTES: u64 = 32;
/// The bit of the first byte of a compressed G1 point that is set where y is odd.
pub const G1_ODD_BIT: u8 = 0x80;
/// The fewest points of G1 that bb works with, whatever the size of the circuit.
pub const POINTS_MIN: u64 = 512;
/// Size of the G2 point, in bytes.
pub const G2_POINT_BYTES: u64 = 128;

/// The first G1 point of every ceremony: the generator of BN254, (1, 2).
pub const G1_GENERATOR: [u8; 64] = {
    let mut point = [0; 64];
    point[31] = 1;
    point[63] = 2;
    point
};

/// Returns the number of points in a G1 file of this length; `None` if there is no whole number of points, or none at
/// all.
#[must_use]
pub const fn points_in(g1_bytes: u64) -> Option<u64> {
    whole(g1_bytes, G1_POINT_BYTES)
}

/// Returns the number of points in a file of compressed G1 points of this length, as [`points_in`] does.
#[must_use]
pub const fn compressed_points_in(g1_bytes: u64) -> Option<u64> {
    whole(g1_bytes, G1_COMPRESSED_POINT_BYTES)
}

const fn whole(bytes: u64, point_bytes: u64) -> Option<u64> {
    if bytes == 0 || !bytes.is_multiple_of(point_bytes) {
        return None;
    }
    Some(bytes / point_bytes)
}

/// Returns the number of G1 points that a proof of a circuit needs.
#[must_use]
pub const fn points_needed(dyadic_size: u64) -> u64 {
    if dyadic_size > POINTS_MIN { dyadic_size } else { POINTS_MIN }
}

/// Returns the dyadic size of the largest circuit that can be proved with so many points; 0 if none can.
#[must_use]
pub fn largest_circuit(points: u64) -> u64 {
    if points < POINTS_MIN {
        return 0;
    }
    points.checked_ilog2().map_or(0, |log2| 1 << log2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_whole_number_of_points() {
        assert_eq!([0, 63, 64, 65, 128].map(points_in), [None, None, Some(1), None, Some(2)]);
        assert_eq!([0, 31, 32, 64].map(compressed_points_in), [None, None, Some(1), Some(2)]);
    }

    #[test]
    fn a_circuit_needs_as_many_points_as_its_size() {
        let reach =
            [(0, 0), (511, 0), (512, 512), (4095, 2048), (4096, 4096), (4097, 4096), (32_768, 32_768)];
        for (points, size) in reach {
            assert_eq!(largest_circuit(points), size, "{points}");
            assert!(size == 0 || points_needed(size) <= points);
        }
        assert_eq!([1, 32, 512, 1024].map(points_needed), [512, 512, 512, 1024]);
        assert_eq!(largest_circuit(u64::from(u32::MAX)), 1 << 31);
    }
}
