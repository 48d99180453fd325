//! Why an artefact cannot be had or kept, told apart by who can do something about it.

use edgeprove_protocol::{HasProblemType, ProblemType};
use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{ArtifactName, keys::KeyId};

/// Something failed with an artefact, or with the store of all of them.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// There is none of this name.
    #[error("there is no artefact {name}")]
    Missing {
        /// The name.
        name: ArtifactName,
    },
    /// It is not what was written: changed, cut short, put together anew, of another kind, or another artefact's bytes
    /// under this name.
    #[error("artefact {name} is not what was written, from chunk {chunk} on")]
    Damaged {
        /// The name.
        name: ArtifactName,
        /// The first chunk that is wrong, counted from 0.
        chunk: u64,
    },
    /// A newer server wrote it.
    #[error("artefact {name} is of format {version}, which this server does not know")]
    UnknownFormat {
        /// The name.
        name: ArtifactName,
        /// The first byte.
        version: u8,
    },
    /// It is encrypted under a key that this server was not given.
    #[error("artefact {name} is encrypted under key {key}, which this server does not have")]
    UnknownKey {
        /// The name.
        name: ArtifactName,
        /// The key's public name.
        key: KeyId,
    },
    /// It has more bytes than the reader asked for.
    #[error("artefact {name} is larger than {max_bytes} bytes")]
    TooLarge {
        /// The name.
        name: ArtifactName,
        /// The reader's bound.
        max_bytes: usize,
    },
    /// The system has no random bytes to give.
    #[error("the system gives no random bytes")]
    NoRandomness(#[source] getrandom::Error),
    /// What was to be kept could not be read.
    #[error("what was to be kept could not be read")]
    Source(#[source] io::Error),
    /// What was read could not be put where it is wanted.
    #[error("what was kept could not be put where it is wanted")]
    Destination(#[source] Box<dyn Error + Send + Sync>),
    /// No space or quota is left in the folder.
    #[error("no space is left for {}: free some, or give the artefacts a larger file system", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be written to.
    #[error("{} cannot be written: the artefacts want a folder this user owns on a writable file system", path.display())]
    NotWritable {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else that a file system can have.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bucket answers that it may not be used so: credentials, permissions, or there is no such bucket.
    #[error("the artefacts' bucket refuses to {doing}: see to its name, region, credentials and permissions")]
    Refused {
        /// What was being done, as a verb.
        doing: &'static str,
        /// What it answered.
        source: object_store::Error,
    },
    /// The bucket does not answer, or answers that it has a problem. It was asked more than once.
    #[error("the artefacts' bucket is away: could not {doing}")]
    Away {
        /// What was being done, as a verb.
        doing: &'static str,
        /// What happened.
        source: object_store::Error,
    },
    /// The bucket took too long, all tries together.
    #[error("the artefacts' bucket took longer than {} s to {doing}", limit.as_secs_f64())]
    TooSlow {
        /// What was being done, as a verb.
        doing: &'static str,
        /// How long it may take.
        limit: Duration,
    },
}

impl ArtifactError {
    /// Whether it is the store that failed, and not the artefact: the same may succeed later, once the store is well
    /// again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownKey { .. }
            | Self::TooLarge { .. } => false,
            Self::NoRandomness(_)
            | Self::Source(_)
            | Self::Destination(_)
            | Self::Full { .. }
            | Self::NotWritable { .. }
            | Self::Io { .. }
            | Self::Refused { .. }
            | Self::Away { .. }
            | Self::TooSlow { .. } => true,
        }
    }

    pub(super) fn of_file(doing: &'static str, path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let path = path.to_owned();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { path, source },
            ReadOnlyFilesystem | PermissionDenied => Self::NotWritable { path, source },
            _ => Self::Io { doing, path, source },
        }
    }

    pub(super) fn of_bucket(doing: &'static str, source: object_store::Error) -> Self {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        match source {
            NotFound { .. } | PermissionDenied { .. } | Unauthenticated { .. } => {
                Self::Refused { doing, source }
            }
            _ => Self::Away { doing, source },
        }
    }
}

impl HasProblemType for ArtifactError {
    fn kind(&self) -> ProblemType {
        ProblemType::ArtifactUnavailable
    }
}
