//! Finds the common reference string (CRS) and checks it.
//!
//! With too few points bb would download more. The server refuses a circuit that needs them when the circuit is loaded.

use std::{
    fs,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use edgeprove_protocol::crs::{G1_FILE, G1_GENERATOR, G1_POINT_BYTES, G2_FILE, G2_POINT_BYTES, points_in};
use sha2::{Digest, Sha256};

/// For some numbers of points, ascending, the SHA-256 of the ceremony's first points in hexadecimal.
const PINS: &[(u64, &str)] = include!(concat!(env!("OUT_DIR"), "/crs_pins.rs"));

/// A folder with a CRS that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crs {
    /// The folder.
    pub dir: PathBuf,
    /// The number of G1 points.
    pub points: u64,
}

/// Why a folder has no usable CRS.
#[derive(Debug, thiserror::Error)]
pub enum CrsError {
    /// A file is missing or cannot be read.
    #[error(
        "the CRS file {} cannot be read ({reason}): run `cargo xtask setup`, \
         or set CRS_PATH to a folder with bn254_g1.dat and bn254_g2.dat", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// A file has the wrong content.
    #[error("the CRS file {} is damaged: {fault}; delete it and run `cargo xtask setup`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: CrsFault,
    },
}

/// What is wrong with a file of the CRS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrsFault {
    /// The length of the G1 file.
    #[error("its size is not a whole number of points")]
    PartialPoint,
    /// The first point of the G1 file.
    #[error("its first point is not the generator of BN254")]
    NotTheGenerator,
    /// The SHA-256 of the G1 file's first points.
    #[error("its points are not those of the ceremony")]
    NotTheCeremony,
    /// The length of the G2 file.
    #[error("a G2 point has {G2_POINT_BYTES} bytes")]
    G2Length,
}

impl Crs {
    /// Opens a folder and compares its points with the ceremony's as far as a pin reaches. Wrong points would make a
    /// wrong verification key, and the cached key would outlive the repair of the points.
    pub fn open(dir: &Path) -> Result<Self, CrsError> {
        let (g1, g2) = (dir.join(G1_FILE), dir.join(G2_FILE));
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |reason| CrsError::Unreadable { path, reason }
        };
        let damaged = |path: &Path, fault| CrsError::Damaged { path: path.to_owned(), fault };
        let mut file = fs::File::open(&g1).map_err(unreadable(&g1))?;
        let length = file.metadata().map_err(unreadable(&g1))?.len();
        let points = points_in(length).ok_or_else(|| damaged(&g1, CrsFault::PartialPoint))?;
        let mut first = [0; G1_GENERATOR.len()];
        file.read_exact(&mut first).map_err(unreadable(&g1))?;
        if first != G1_GENERATOR {
            return Err(damaged(&g1, CrsFault::NotTheGenerator));
        }
        if fs::metadata(&g2).map_err(unreadable(&g2))?.len() != G2_POINT_BYTES {
            return Err(damaged(&g2, CrsFault::G2Length));
        }
        if !matches_pin(&mut file, points).map_err(unreadable(&g1))? {
            return Err(damaged(&g1, CrsFault::NotTheCeremony));
        }
        Ok(Self { dir: dir.to_owned(), points })
    }

    /// Returns the names of the folder's files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Whether a file of so many points starts with those of the largest pin that it covers.
fn matches_pin(file: &mut fs::File, points: u64) -> io::Result<bool> {
    let Some((pinned, sha256)) = PINS.iter().rfind(|(pinned, _)| *pinned <= points) else { return Ok(true) };
    file.rewind()?;
    let mut left = file.take(pinned * G1_POINT_BYTES);
    let mut digest = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match left.read(&mut piece)? {
            0 => break,
            read => digest.update(&piece[..read]),
        }
    }
    Ok(hex::encode(digest.finalize()) == *sha256)
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::crs::points_needed;

    use super::*;

    fn folder(g1: &[u8], g2: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(G1_FILE), g1).unwrap();
        fs::write(dir.path().join(G2_FILE), g2).unwrap();
        dir
    }

    /// A G1 file that starts with the generator.
    fn g1(points: usize) -> Vec<u8> {
        let mut bytes = vec![0; points * 64];
        bytes[..64].copy_from_slice(&G1_GENERATOR);
        bytes
    }

    #[test]
    fn points_are_counted_and_damage_is_named() {
        let g1 = g1(5);
        let dir = folder(&g1, &[0; 128]);
        let crs = Crs::open(dir.path()).unwrap();
        assert_eq!(crs.points, 5);
        assert!((points_needed(4)..points_needed(5)).contains(&crs.points));
        assert_eq!(crs.files(), [G1_FILE, G2_FILE]);

        let broken = [
            (folder(&[], &[0; 128]), CrsFault::PartialPoint),
            (folder(&g1[1..], &[0; 128]), CrsFault::PartialPoint),
            (folder(&g1[64..], &[0; 128]), CrsFault::NotTheGenerator),
            (folder(&g1, &[0; 127]), CrsFault::G2Length),
        ];
        for (dir, expected) in &broken {
            let error = Crs::open(dir.path()).unwrap_err();
            assert!(matches!(error, CrsError::Damaged { fault, .. } if fault == *expected), "{error}");
        }
        assert!(matches!(Crs::open(Path::new("/nonexistent")), Err(CrsError::Unreadable { .. })));
    }

    #[test]
    fn pinned_points_must_be_those_of_the_ceremony() {
        let smallest = usize::try_from(PINS[0].0).unwrap();
        let mut g1 = g1(smallest);
        let covered = folder(&g1, &[0; 128]);
        let error = Crs::open(covered.path()).unwrap_err();
        assert!(matches!(error, CrsError::Damaged { fault: CrsFault::NotTheCeremony, .. }), "{error}");
        g1.truncate((smallest - 1) * 64);
        assert!(Crs::open(folder(&g1, &[0; 128]).path()).is_ok());
    }
}
