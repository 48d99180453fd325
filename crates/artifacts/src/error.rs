//! Errors of artifacts and of their store, by the person who can act on them.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use edgeprove_files::trusted_path::UntrustedPath;
use edgeprove_protocol::{HasProblemType, ProblemType};

use crate::{encryption_keys::KeyId, name::ArtifactName};

/// An artifact, or the store of all artifacts, failed.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// No artifact has this name.
    #[error("there is no artifact {name}")]
    Missing {
        /// The name.
        name: ArtifactName,
    },
    /// The stored bytes are not the ones that were written: changed, cut off, reordered, of another kind, or the bytes
    /// of another artifact under this name.
    #[error("artifact {name} was changed in its store, from chunk {chunk} on")]
    Damaged {
        /// The name.
        name: ArtifactName,
        /// The first wrong chunk, counted from 0.
        chunk: u64,
    },
    /// A newer server wrote it.
    #[error("artifact {name} has format {version}, which this server does not know")]
    UnknownFormat {
        /// The name.
        name: ArtifactName,
        /// The first byte.
        version: u8,
    },
    /// It is encrypted under a key that this server does not have.
    #[error("artifact {name} is encrypted under key {key}, which this server does not have")]
    UnknownKey {
        /// The name.
        name: ArtifactName,
        /// The key's public id.
        key: KeyId,
    },
    /// Its content is larger than the reader accepts.
    #[error("artifact {name} is larger than {max_bytes} bytes")]
    TooLarge {
        /// The name.
        name: ArtifactName,
        /// The reader's limit.
        max_bytes: usize,
    },
    /// The content is larger than the format allows, which is 256 TiB.
    #[error("the content has more than 256 TiB, which is the most that an artifact can store")]
    TooLong,
    /// The system returns no random bytes.
    #[error("the system returns no random bytes")]
    NoRandomness(#[source] getrandom::Error),
    /// The content to store could not be read.
    #[error("the content to store could not be read")]
    Source(#[source] io::Error),
    /// The content was read from the store, but could not be written to its destination.
    #[error("the artifact's content could not be written to its destination")]
    Destination(#[source] Box<dyn Error + Send + Sync>),
    /// The folder's disk or quota is full.
    #[error("no space is left for {}: free some, or give the artifacts a larger file system", path.display())]
    Full {
        /// The file that was written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder's file system is read-only, or the server has no permission.
    #[error(
        "{} cannot be written: the artifacts need a folder that this user owns on a writable file system",
        path.display()
    )]
    NotWritable {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another failure of the file system.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// The action, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The bucket refuses the request: it does not exist, or credentials or permissions are wrong.
    #[error("the artifacts' bucket refuses to {doing}: check its name, region, credentials and permissions")]
    Refused {
        /// The action, as a verb.
        doing: &'static str,
        /// The bucket's answer.
        source: object_store::Error,
    },
    /// The bucket did not answer, or answered with an error, after all retries.
    #[error("the artifacts' bucket is unavailable: could not {doing}")]
    Unavailable {
        /// The action, as a verb.
        doing: &'static str,
        /// The last error.
        source: object_store::Error,
    },
    /// The bucket took too long, all tries together.
    #[error("the artifacts' bucket took longer than {} s to {doing}", limit.as_secs_f64())]
    TooSlow {
        /// The action, as a verb.
        doing: &'static str,
        /// The time limit.
        limit: Duration,
    },
}

impl ArtifactError {
    /// Whether the store failed and not the artifact: the same call may succeed once the store works again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownKey { .. }
            | Self::TooLong
            | Self::TooLarge { .. } => false,
            Self::NoRandomness(_)
            | Self::Source(_)
            | Self::Destination(_)
            | Self::Full { .. }
            | Self::NotWritable { .. }
            | Self::Io { .. }
            | Self::Refused { .. }
            | Self::Unavailable { .. }
            | Self::TooSlow { .. } => true,
        }
    }

    pub(crate) fn of_file(doing: &'static str, path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let path = path.to_owned();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { path, source },
            ReadOnlyFilesystem | PermissionDenied => Self::NotWritable { path, source },
            // The list of kinds is open: a later version of Rust may add to it.
            _ => Self::Io { doing, path, source },
        }
    }

    pub(crate) fn of_bucket(doing: &'static str, source: object_store::Error) -> Self {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        match source {
            NotFound { .. } | PermissionDenied { .. } | Unauthenticated { .. } => {
                Self::Refused { doing, source }
            }
            // The list of errors is open: a later version of object_store may add to it.
            _ => Self::Unavailable { doing, source },
        }
    }
}

impl HasProblemType for ArtifactError {
    fn kind(&self) -> ProblemType {
        if self.is_retryable() { ProblemType::ArtifactUnavailable } else { ProblemType::StoredDataDamaged }
    }
}

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("the artifacts' folder cannot be used")]
    Folder(#[from] ArtifactError),
    /// The folder is open to other users and serves another purpose, which closing it could harm.
    #[error(
        "{} is open to others and holds other files, such as {}: give the artifacts a folder of their own",
        path.display(),
        example.display()
    )]
    ContainsOtherFiles {
        /// The folder.
        path: PathBuf,
        /// An entry of it that is no artifact.
        example: PathBuf,
    },
    /// Another user could exchange or change the artifacts' folder or their key.
    #[error("the artifacts are not safe from other users")]
    Untrusted(#[from] UntrustedPath),
    /// No temporary folder can be created.
    #[error("no temporary folder can be created for artifacts")]
    TemporaryFolder(#[source] io::Error),
    /// The system returns no random bytes for a new key.
    #[error("the system returns no random bytes")]
    NoRandomness(#[source] getrandom::Error),
    /// The key file of the data folder cannot be read or created.
    #[error("the artifacts' key cannot be read from or written to {}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The key file does not contain a key. The server does not replace it, because artifacts that the old key
    /// encrypted could then never be read again.
    #[error("{} does not contain a key of 32 bytes in hex or base64: restore it from a backup", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The key file of the data folder is missing, and there are artifacts that it encrypted. A new key would make them
    /// unreadable for ever, and nobody would notice before the first job fails.
    #[error(
        "{} is missing, but {} has artifacts: restore the key from a backup, or remove the artifacts to give them up",
        path.display(),
        folder.display()
    )]
    KeyMissing {
        /// The file.
        path: PathBuf,
        /// The folder of the artifacts.
        folder: PathBuf,
    },
    /// The bucket's settings are invalid.
    #[error("the settings of the artifacts' bucket are invalid")]
    Bucket(#[source] object_store::Error),
}
