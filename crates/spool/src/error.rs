//! Errors of the spool, by the action that an operator has to take.

use std::{
    io,
    path::{Path, PathBuf},
};

use edgeprove_protocol::{HasProblemType, ProblemType};

/// The spool failed.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk or the quota is full.
    #[error("no space is left for {}: free some, or give the spool a larger file system", path.display())]
    Full {
        /// The file that was written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file system is read-only, or the server has no permission.
    #[error(
        "{} cannot be written: point the spool at a directory this user owns on a writable file system",
        path.display()
    )]
    NotWritable {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path is a symbolic link or a file.
    #[error("{} is not a directory: give the spool a directory of its own, not a file or symbolic link", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory is open to other users and serves another purpose, which closing it could harm.
    #[error(
        "{} is open to others and holds other files, such as {}: give the spool a directory of its own",
        path.display(),
        example.display()
    )]
    ContainsOtherFiles {
        /// The directory.
        path: PathBuf,
        /// An entry of it that no spool created.
        example: PathBuf,
    },
    /// The file was wiped while it was written.
    #[error("{} was wiped before the write", path.display())]
    Wiped {
        /// The file.
        path: PathBuf,
    },
    /// Another failure.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// The action, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl SpoolError {
    /// The error of a failed system call, by the action that an operator has to take. `doing` is a verb, such as
    /// `read`.
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
