//! Errors of the spool, by the action that an operator has to take.

use std::{
    io,
    path::{Path, PathBuf},
};

use edgeprove_files::trusted_path::UntrustedPath;
use edgeprove_protocol::{HasProblemType, ProblemType};

use crate::budget::Bound;

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
    /// Another user could exchange the directory or what is in it.
    #[error("the spool's directory (--spool-dir, EDGEPROVE_SPOOL_DIR) is not safe from other users")]
    Untrusted(#[from] UntrustedPath),
    /// A file was exchanged for another one.
    #[error("{} is not the file that was written: someone exchanged it", path.display())]
    Replaced {
        /// The path.
        path: PathBuf,
    },
    /// The files in the spool have as many bytes as they may. The text has no path, because callers get it.
    #[error(
        "{}; the server stores at most {max_bytes} bytes of unfinished uploads and witnesses",
        match .bound {
            Bound::All => "too many uploads and witnesses are unfinished",
            Bound::Owner => "this caller has too many unfinished uploads and witnesses",
        }
    )]
    OverBudget {
        /// Whose bytes are too many.
        bound: Bound,
        /// The most bytes of all files together.
        max_bytes: u64,
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
        match self {
            Self::OverBudget { .. } => ProblemType::TooManyUploads,
            Self::Full { .. }
            | Self::NotWritable { .. }
            | Self::NotADirectory { .. }
            | Self::ContainsOtherFiles { .. }
            | Self::Untrusted(_)
            | Self::Replaced { .. }
            | Self::Wiped { .. }
            | Self::Io { .. } => ProblemType::SpoolUnavailable,
        }
    }
}
