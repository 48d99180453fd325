//! Finds the common reference string (CRS) and checks it.
//!
//! With too few points bb would download more. The server refuses a circuit that needs them when the circuit is loaded.
//!
//! - [`ceremony`]: the digests of the ceremony's points.
//! - [`checked_files`]: remembers which files were checked, so that a start need not read them again.

mod ceremony;
mod checked_files;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use edgeprove_files::regular_file;
use edgeprove_protocol::crs::{G1_FILE, G1_GENERATOR, G2_FILE, G2_POINT_BYTES, POINTS_MIN, largest_circuit};
use rustix::fs::Access;
use sha2::{Digest, Sha256};

use ceremony::{COMPRESSED, Format, UNCOMPRESSED};
use checked_files::CheckedFiles;

/// SHA-256 of the ceremony's point of G2, in hexadecimal.
const G2_SHA256: &str = env!("EDGEPROVE_G2_SHA256");

/// A folder with a CRS that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crs {
    /// The folder.
    pub dir: PathBuf,
    /// The number of G1 points.
    pub points: u64,
    /// The number of points, from the first on, that were compared with the ceremony's.
    pub checked_points: u64,
}

/// What is done with the list of files that were checked before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedList {
    /// It is read, and files that are checked now are added.
    ReadAndWrite,
    /// It is only read.
    Read,
}

/// Why a folder has no usable CRS.
#[derive(Debug, thiserror::Error)]
pub enum CrsError {
    /// A file is missing or cannot be read.
    #[error(
        "the CRS file {} cannot be read ({reason})", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// A file has the wrong content.
    #[error("the CRS file {} is damaged: {fault}; delete it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: CrsFault,
    },
    /// There are fewer points than bb works with.
    #[error(
        "the CRS in {} has {points} points, and bb needs at least {POINTS_MIN}", dir.display()
    )]
    TooFew {
        /// The folder.
        dir: PathBuf,
        /// Its number of points.
        points: u64,
    },
    /// The folder has compressed points only, and bb cannot write the uncompressed ones beside them.
    #[error(
        "the CRS folder {} has compressed points only, and bb must write {G1_FILE} beside them: \
         make the folder writable, or run bb once with a copy of it and use that copy", dir.display()
    )]
    NotWritable {
        /// The folder.
        dir: PathBuf,
    },
}

/// What is wrong with a file of the CRS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrsFault {
    /// The length of a G1 file.
    #[error("its size is not a whole number of points")]
    PartialPoint,
    /// The first point of a G1 file.
    #[error("its first point is not the generator of BN254")]
    NotTheGenerator,
    /// The SHA-256 of points of a G1 file.
    #[error(
        "its points are not those of the ceremony (a point from number {from} to {to} is wrong, counted from 0)"
    )]
    NotTheCeremony {
        /// The first of the points that were compared.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// The length of the G2 file.
    #[error("a G2 point has {G2_POINT_BYTES} bytes")]
    G2Length,
    /// The SHA-256 of the G2 file.
    #[error("its point is not that of the ceremony")]
    G2NotTheCeremony,
}

/// What a file of G1 points has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Contents {
    points: u64,
    checked_points: u64,
}

impl Crs {
    /// Opens a folder and compares its points with the ceremony's as far as their digests reach. Wrong points would make
    /// a wrong verification key, and the cached key would outlive the repair of the points.
    ///
    /// bb takes the points of [`G1_FILE`] if they are enough, and else the compressed points of another file, which it then
    /// writes to the other file. It needs no [`G2_FILE`]. `cache_dir` has the list of files that were checked before.
    pub fn open(dir: &Path, cache_dir: Option<&Path>, list: CheckedList) -> Result<Self, CrsError> {
        let mut checked = CheckedFiles::read(cache_dir, list);
        let points = contents(dir, &UNCOMPRESSED, &mut checked)?;
        let compressed = contents(dir, &COMPRESSED, &mut checked)?;
        check_g2(&dir.join(G2_FILE))?;
        let Contents { points, checked_points } = match (points, compressed) {
            (Some(points), Some(compressed)) if compressed.points > points.points => {
                if is_writable(dir) {
                    compressed
                } else {
                    points
                }
            }
            (Some(points), _) => points,
            (None, Some(compressed)) if is_writable(dir) => compressed,
            (None, Some(_)) => return Err(CrsError::NotWritable { dir: dir.to_owned() }),
            (None, None) => {
                let reason = io::Error::from(io::ErrorKind::NotFound);
                return Err(CrsError::Unreadable { path: dir.join(G1_FILE), reason });
            }
        };
        if points < POINTS_MIN {
            return Err(CrsError::TooFew { dir: dir.to_owned(), points });
        }
        Ok(Self { dir: dir.to_owned(), points, checked_points })
    }

    /// Whether bb may use points that were not compared with the ceremony's.
    #[must_use]
    pub fn has_unchecked_points(&self) -> bool {
        largest_circuit(self.points) > self.checked_points
    }

    /// Returns the names of the CRS's files in the folder, sorted. Other files are nobody's business.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> =
            names.filter(|name| name.starts_with("bn254_") || name.starts_with("grumpkin_")).collect();
        names.sort();
        names
    }
}

/// Writes all that bb needs of a CRS to verify proofs: the first point of G1, which is the generator in every CRS. The point
/// of G2 is built into bb.
pub fn write_for_verification(dir: &Path) -> io::Result<()> {
    fs::write(dir.join(G1_FILE), G1_GENERATOR)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> CrsError {
    let path = path.to_owned();
    move |reason| CrsError::Unreadable { path, reason }
}

/// Examines the file of one format; `None` if there is none.
fn contents(dir: &Path, format: &Format, checked: &mut CheckedFiles) -> Result<Option<Contents>, CrsError> {
    let path = dir.join(format.file);
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&path)(error)),
    };
    regular_file::check_path(&path).map_err(unreadable(&path))?;
    let damaged = |fault| CrsError::Damaged { path: path.clone(), fault };
    let points = format.points_in(metadata.len()).ok_or_else(|| damaged(CrsFault::PartialPoint))?;
    if let Some(checked_points) = checked.find(&metadata) {
        return Ok(Some(Contents { points, checked_points }));
    }
    let mut file = regular_file::open(&path).map_err(unreadable(&path))?;
    let checked_points = format.check(&mut file, points).map_err(unreadable(&path))?.map_err(damaged)?;
    // A file that changed meanwhile is checked again at the next start.
    if fs::metadata(&path).is_ok_and(|after| checked_files::is_same(&metadata, &after)) {
        checked.add(&metadata, checked_points);
    }
    Ok(Some(Contents { points, checked_points }))
}

fn check_g2(path: &Path) -> Result<(), CrsError> {
    let damaged = |fault| Err(CrsError::Damaged { path: path.to_owned(), fault });
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // bb has the point built in.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(path)(error)),
    };
    if !metadata.is_file() || metadata.len() != G2_POINT_BYTES {
        return damaged(CrsFault::G2Length);
    }
    let point = regular_file::read(path, G2_POINT_BYTES).map_err(unreadable(path))?;
    if hex::encode(Sha256::digest(point)) == G2_SHA256 { Ok(()) } else { damaged(CrsFault::G2NotTheCeremony) }
}

fn is_writable(dir: &Path) -> bool {
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests;
