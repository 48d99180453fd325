//! Why the spool could not do something, told apart by what an operator has to do about it.

use edgeprove_protocol::{HasProblemType, ProblemType};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The spool failed.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// No space or quota is left.
    #[error("no space is left for {}: free some, or give the spool a larger file system", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system is read-only, or the server may not write there.
    #[error(
        "{} cannot be written: point the spool at a directory this user owns on a writable file system",
        path.display()
    )]
    NotWritable {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a symbolic link or a file.
    #[error("{} is not a directory: give the spool one of its own, no file and no symbolic link", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory serves another purpose, which closing it to others could harm.
    #[error(
        "{} is open to others and holds other files, such as {}: give the spool a directory of its own",
        path.display(),
        example.display()
    )]
    HoldsOtherFiles {
        /// The directory.
        path: PathBuf,
        /// One thing in it that no spool put there.
        example: PathBuf,
    },
    /// Anything else.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SpoolError {
    /// Sorts a failed system call by what an operator can do about it. `doing` is a verb, such as `read`.
    #[must_use]
    pub fn of(doing: &'static str, path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let path = path.to_owned();
        match source.kind() {
            StorageFull | QuotaExceeded => Self::Full { path, source },
            ReadOnlyFilesystem | PermissionDenied => Self::NotWritable { path, source },
            _ => Self::Io { doing, path, source },
        }
    }
}

impl HasProblemType for SpoolError {
    fn kind(&self) -> ProblemType {
        ProblemType::SpoolUnavailable
    }
}
