//! The files of the common reference string (CRS) of BN254, as bb reads them: sizes and checks.
//!
//! One folder holds [`G1_FILE`] and [`G2_FILE`]. A circuit of dyadic size 2^k needs 2^k + 1 points of G1.
//!
//! ```
//! use edgeprove_protocol::crs;
//!
//! assert_eq!(crs::points_needed(4096), 4097);
//! assert_eq!(crs::points_in(4097 * crs::G1_POINT_BYTES), Some(4097));
//! assert_eq!(crs::largest_circuit(4097), 4096);
//! ```

/// Name of the file with the points of G1.
pub const G1_FILE: &str = "bn254_g1.dat";
/// Name of the file with the one point of G2.
pub const G2_FILE: &str = "bn254_g2.dat";

/// Size of a G1 point, in bytes: x, then y, 32 bytes each, big-endian.
pub const G1_POINT_BYTES: u64 = 64;
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
    if g1_bytes == 0 || !g1_bytes.is_multiple_of(G1_POINT_BYTES) {
        return None;
    }
    Some(g1_bytes / G1_POINT_BYTES)
}

/// Returns the number of G1 points that a proof of a circuit needs.
#[must_use]
pub const fn points_needed(dyadic_size: u64) -> u64 {
    dyadic_size.saturating_add(1)
}

/// Returns the dyadic size of the largest circuit that can be proved with so many points; 0 if none can.
#[must_use]
pub fn largest_circuit(points: u64) -> u64 {
    points.checked_sub(1).and_then(u64::checked_ilog2).map_or(0, |log2| 1 << log2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_whole_number_of_points() {
        assert_eq!([0, 63, 64, 65, 128].map(points_in), [None, None, Some(1), None, Some(2)]);
    }

    #[test]
    fn a_circuit_needs_one_point_more_than_its_size() {
        let reach = [(0, 0), (1, 0), (2, 1), (4096, 2048), (4097, 4096), (32_769, 32_768)];
        for (points, size) in reach {
            assert_eq!(largest_circuit(points), size, "{points}");
            assert!(size == 0 || points_needed(size) <= points);
        }
        assert_eq!(largest_circuit(u64::from(u32::MAX)), 1 << 31);
    }
}
