//! Counts points and compares them with the pins.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use edgeprove_protocol::crs::{G1_POINT_BYTES, points_in};

use crate::{digest, versions::Prefix};

/// Whether a file contains the ceremony's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// It begins with the ceremony's points, as far as a pin covers them.
    Valid,
    /// It has fewer points than the smallest pin.
    TooFew,
    /// It has other bytes, or an incomplete point at its end.
    Damaged,
}

/// Compares a file with the largest pin that it covers.
pub(super) fn validity(path: &Path, pins: &[Prefix]) -> anyhow::Result<Validity> {
    let length = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?.len();
    let Some(pin) = largest_within(pins, length / G1_POINT_BYTES) else { return Ok(Validity::TooFew) };
    let is_valid = points_in(length).is_some()
        && digest::of_prefix(path, u64::from(pin.points) * G1_POINT_BYTES)? == pin.sha256;
    Ok(if is_valid { Validity::Valid } else { Validity::Damaged })
}

/// Compares points in memory with the largest pin that they cover.
pub(super) fn verify(points: &[u8], pins: &[Prefix]) -> anyhow::Result<()> {
    let count = points.len() as u64 / G1_POINT_BYTES;
    let Some(pin) = largest_within(pins, count) else {
        bail!("{count} points are fewer than any pin covers")
    };
    let covered = usize::try_from(u64::from(pin.points) * G1_POINT_BYTES)?;
    let found = digest::of_bytes(&points[..covered]);
    if found != pin.sha256 {
        bail!(
            "the first {} points have the SHA-256 {found}, but versions.toml pins {}",
            pin.points,
            pin.sha256
        );
    }
    Ok(())
}

fn largest_within(pins: &[Prefix], points: u64) -> Option<&Prefix> {
    pins.iter().rev().find(|pin| u64::from(pin.points) <= points)
}

/// The next number of points that a pin covers. Beyond the largest pin, `points` itself.
pub(super) fn round_up_to_pinned(points: u32, pins: &[Prefix]) -> u32 {
    pins.iter().map(|pin| pin.points).find(|&pinned| pinned >= points).unwrap_or(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins() -> Vec<Prefix> {
        [2, 4]
            .map(|points| Prefix { points, sha256: digest::of_bytes(&vec![7; points as usize * 64]) })
            .into()
    }

    #[test]
    fn points_are_compared_with_the_largest_pin() {
        let mut points = vec![7; 5 * 64];
        verify(&points, &pins()).unwrap();
        points[4 * 64] = 8;
        verify(&points, &pins()).unwrap();
        points[3 * 64] = 8;
        assert!(verify(&points, &pins()).unwrap_err().to_string().starts_with("the first 4 points"));
        verify(&points[..3 * 64], &pins()).unwrap();
        assert!(verify(&points[..64], &pins()).is_err());
    }

    #[test]
    fn requests_are_rounded_up_to_the_next_pin() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(|n| round_up_to_pinned(n, &pins())), [2, 2, 2, 4, 4, 5]);
    }
}
