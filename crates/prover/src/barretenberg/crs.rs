//! Finds the common reference string and says how far it reaches.
//!
//! bb reads `bn254_g1.dat` (64 bytes a point) and `bn254_g2.dat` from one folder. A circuit of 2^k rows needs
//! 2^k + 1 points; with fewer, bb would try the network, which the server never lets it come to.

use std::{
    fs,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Size of a point on the wire, in bytes: x, then y, 32 bytes each, big-endian.
pub const POINT_BYTES: u64 = 64;
/// SHA-256 of the ceremony's first so many points, in hexadecimal, from few to many.
const PINS: &[(u64, &str)] = include!(concat!(env!("OUT_DIR"), "/crs_pins.rs"));

/// A CRS folder that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crs {
    /// The folder.
    pub dir: PathBuf,
    /// How many G1 points it has.
    pub points: u64,
}

/// Why a folder is not a CRS.
#[derive(Debug, thiserror::Error)]
pub enum CrsError {
    /// A file is missing or cannot be read.
    #[error(
        "the CRS file {} cannot be read ({reason}): run `cargo xtask setup`, \
         or name a folder with bn254_g1.dat and bn254_g2.dat by CRS_PATH", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("the CRS file {} is damaged: {what}; delete it and run `cargo xtask setup`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Crs {
    /// Looks at a folder, and holds the points against the ceremony's as far as a pin reaches. Wrong ones would make a
    /// wrong key, which is kept and outlives their repair.
    pub fn open(dir: &Path) -> Result<Self, CrsError> {
        let path = dir.join("bn254_g1.dat");
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |reason| CrsError::Unreadable { path, reason }
        };
        let damaged = |path: &Path, what| CrsError::Damaged { path: path.to_owned(), what };
        let mut file = fs::File::open(&path).map_err(unreadable(&path))?;
        let length = file.metadata().map_err(unreadable(&path))?.len();
        if length == 0 || length % POINT_BYTES != 0 {
            return Err(damaged(&path, "its size is not a number of points"));
        }
        let mut first = [0; 64];
        file.read_exact(&mut first).map_err(unreadable(&path))?;
        // BN254's generator is (1, 2), and every ceremony starts from it.
        let (mut one, mut two) = ([0; 32], [0; 32]);
        (one[31], two[31]) = (1, 2);
        if first[..32] != one || first[32..] != two {
            return Err(damaged(&path, "its first point is not the generator of BN254"));
        }
        let g2 = dir.join("bn254_g2.dat");
        if fs::metadata(&g2).map_err(unreadable(&g2))?.len() != 128 {
            return Err(damaged(&g2, "a G2 point has 128 bytes"));
        }
        let points = length / POINT_BYTES;
        if !is_as_pinned(&mut file, points).map_err(unreadable(&path))? {
            return Err(damaged(&path, "its points are not those of the ceremony"));
        }
        Ok(Self { dir: dir.to_owned(), points })
    }

    /// Whether circuits of this many rows can be proved.
    #[must_use]
    pub fn reaches(&self, rows: u64) -> bool {
        self.points > rows
    }

    /// The names of the folder's files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Whether a file of so many points begins with those of the largest pin it covers.
fn is_as_pinned(file: &mut fs::File, points: u64) -> io::Result<bool> {
    let Some((pinned, sha256)) = PINS.iter().rfind(|(pinned, _)| *pinned <= points) else { return Ok(true) };
    file.rewind()?;
    let mut left = file.take(pinned * POINT_BYTES);
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
    use super::*;

    fn folder(g1: &[u8], g2: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("bn254_g1.dat"), g1).unwrap();
        fs::write(dir.path().join("bn254_g2.dat"), g2).unwrap();
        dir
    }

    #[test]
    fn counts_points_and_refuses_what_is_no_crs() {
        let mut g1 = vec![0; 5 * 64];
        (g1[31], g1[63]) = (1, 2);
        let dir = folder(&g1, &[0; 128]);
        let crs = Crs::open(dir.path()).unwrap();
        assert_eq!(crs.points, 5);
        assert!(crs.reaches(4) && !crs.reaches(5));
        assert_eq!(crs.files(), ["bn254_g1.dat", "bn254_g2.dat"]);

        let broken = [folder(&[], &[0; 128]), folder(&g1[1..], &[0; 128]), folder(&g1, &[0; 127])];
        for dir in &broken {
            assert!(matches!(Crs::open(dir.path()), Err(CrsError::Damaged { .. })));
        }
        assert!(matches!(Crs::open(Path::new("/nonexistent")), Err(CrsError::Unreadable { .. })));
    }

    #[test]
    fn points_that_a_pin_covers_must_be_those_of_the_ceremony() {
        let smallest = usize::try_from(PINS[0].0).unwrap();
        let mut g1 = vec![0; smallest * 64];
        (g1[31], g1[63]) = (1, 2);
        let covered = folder(&g1, &[0; 128]);
        let error = Crs::open(covered.path()).unwrap_err().to_string();
        assert!(error.contains("not those of the ceremony"), "{error}");
        g1.truncate((smallest - 1) * 64);
        assert!(Crs::open(folder(&g1, &[0; 128]).path()).is_ok());
    }
}
