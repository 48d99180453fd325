//! Where the database is.

use std::{fmt, path::PathBuf};

use super::postgres::PostgresUrl;

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseLocation {
    /// In memory: it ends with this process.
    Memory,
    /// In a folder that this server uses alone.
    Folder(PathBuf),
    /// In a PostgreSQL, which several servers may share.
    Postgres(PostgresUrl),
}

impl fmt::Display for DatabaseLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Folder(folder) => folder.display().fmt(f),
            // Its URL may hold a password.
            Self::Postgres(url) => write!(f, "PostgreSQL at {}", url.host()),
        }
    }
}
