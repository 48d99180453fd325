//! Errors of the database, by what a caller can do about them.

use std::{error::Error, io, path::PathBuf, sync::Arc, time::Duration};

use edgeprove_files::trusted_path::UntrustedPath;
use edgeprove_job_rules::row::CorruptRow;

/// Why a statement failed. Writes of many callers share a transaction, and its error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or refuses connections at the moment. A retry may succeed.
    #[error("the database cannot be used at the moment")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The database did not answer in time. Whether the statement was executed is unknown.
    #[error("the database did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// A file of the database was removed or replaced while the server ran. What was written since then may be lost.
    #[error(
        "the database's file {} was removed or replaced: put it back, or restart the server to begin with the files that are \
         there",
        path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// Its disk is full.
    #[error("the database's disk is full")]
    DiskFull(#[source] Arc<sqlx::Error>),
    /// The database is damaged, or has data that no statement here writes.
    #[error("the database is damaged")]
    Corrupt(#[source] Arc<dyn Error + Send + Sync>),
    /// The database refused a statement: a fault of the code, or a missing right of its user.
    #[error("the database refused a statement")]
    Refused(#[source] Arc<sqlx::Error>),
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder cannot be used.
    #[error("cannot {action} {}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another user could exchange or change the data folder or the database.
    #[error("the data folder is not safe from other users")]
    Untrusted(#[from] UntrustedPath),
    /// Another server has the data folder.
    #[error(
        "the data folder {} is in use by {}: give each server a folder of its own, or let them share a PostgreSQL",
        path.display(),
        holder.map_or_else(|| "another server".to_owned(), |pid| format!("another server (process {pid})"))
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other's process.
        holder: Option<u32>,
    },
    /// A later version of this server created the tables.
    #[error(
        "the database is of version {found}, and this server knows those up to {known}: run the server that made it, or a later one"
    )]
    Newer {
        /// The database's.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// PostgreSQL could not be reached in the time that a start waits for it.
    #[error("PostgreSQL at {host} cannot be reached, after {} s", waited.as_secs())]
    Unreachable {
        /// Host and port, or the folder of its socket.
        host: String,
        /// How long the start waited.
        waited: Duration,
        /// The error of the last attempt.
        #[source]
        source: StoreError,
    },
    /// A statement failed.
    #[error("cannot open the database")]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Whether another folder or URL prevents it.
    #[must_use]
    pub fn is_of_a_setting(&self) -> bool {
        match self {
            Self::Folder { .. } | Self::InUse { .. } | Self::Untrusted(_) => true,
            Self::Newer { .. } | Self::Unreachable { .. } | Self::Store(_) => false,
        }
    }

    /// For use with `map_err`.
    pub(super) fn folder(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Folder { action, path, source }
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl StoreError {
    /// Whether a retry may succeed soon.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::TimedOut(_) | Self::DiskFull(_) | Self::Replaced { .. } => true,
            Self::Corrupt(_) | Self::Refused(_) => false,
        }
    }

    /// Whether the statement may have been executed: the answer was lost, but perhaps not the request.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            // Without a connection no statement was sent.
            Self::Unavailable(error) => !matches!(
                **error,
                sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::BeginFailed
            ),
            // The file may be put back.
            Self::TimedOut(_) | Self::Replaced { .. } => true,
            Self::DiskFull(_) | Self::Corrupt(_) | Self::Refused(_) => false,
        }
    }
}

impl From<CorruptRow> for StoreError {
    fn from(error: CorruptRow) -> Self {
        Self::Corrupt(Arc::new(error))
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull(Arc::new(error.into()))
            }
            _ => Self::Unavailable(Arc::new(error.into())),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as Sqlx;
        match &error {
            Sqlx::Database(reported) => match Meaning::of(reported.code().as_deref().unwrap_or_default()) {
                Meaning::Unavailable => Self::Unavailable(error.into()),
                Meaning::DiskFull => Self::DiskFull(error.into()),
                Meaning::Corrupt => Self::Corrupt(Arc::new(error)),
                Meaning::Refused => Self::Refused(error.into()),
            },
            Sqlx::Io(_)
            | Sqlx::Tls(_)
            | Sqlx::Protocol(_)
            | Sqlx::PoolTimedOut
            | Sqlx::PoolClosed
            | Sqlx::WorkerCrashed
            | Sqlx::BeginFailed => Self::Unavailable(error.into()),
            Sqlx::ColumnDecode { .. }
            | Sqlx::Decode(_)
            | Sqlx::ColumnNotFound(_)
            | Sqlx::AnyDriverError(_) => Self::Corrupt(Arc::new(error)),
            // Unknown errors of later versions are not retried.
            _ => Self::Refused(error.into()),
        }
    }
}

/// The meaning of a database's error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Unavailable,
    DiskFull,
    Corrupt,
    Refused,
}

impl Meaning {
    /// PostgreSQL's codes have five characters, of which the first two are a class. SQLite's are numbers, whose lowest
    /// byte is the kind.
    fn of(code: &str) -> Self {
        if code.len() == 5 {
            Self::of_postgres(code)
        } else {
            Self::of_sqlite(code.parse().unwrap_or_default())
        }
    }

    fn of_postgres(code: &str) -> Self {
        match code {
            // Disk full.
            "53100" => Self::DiskFull,
            // Data or index corrupted.
            "XX001" | "XX002" => Self::Corrupt,
            // Read only: a replica that was a primary a moment ago. Lock not to be had. Ended by the time limit.
            "25006" | "55P03" | "57014" => Self::Unavailable,
            // Connection; transaction rolled back; resources; stopping or starting; the operating system.
            _ if ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
                Self::Unavailable
            }
            _ => Self::Refused,
        }
    }

    fn of_sqlite(code: i32) -> Self {
        match code & 0xff {
            // BUSY, LOCKED, READONLY, IOERR, CANTOPEN, PROTOCOL.
            5 | 6 | 8 | 10 | 14 | 15 => Self::Unavailable,
            // FULL.
            13 => Self::DiskFull,
            // CORRUPT, NOTADB.
            11 | 26 => Self::Corrupt,
            _ => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_answer_leaves_open_what_happened() {
        let lost = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(StoreError::from(sqlx::Error::Io(lost)).may_have_happened());
        assert!(StoreError::TimedOut(Duration::from_secs(1)).may_have_happened());
        assert!(!StoreError::from(sqlx::Error::PoolTimedOut).may_have_happened());
        assert!(!StoreError::from(sqlx::Error::RowNotFound).may_have_happened());
    }
}
