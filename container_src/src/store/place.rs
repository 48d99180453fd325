//! Where the database is.

use std::path::PathBuf;

use super::postgres::PostgresUrl;

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it ends with this process.
    Memory,
    /// In a folder that this server has for itself.
    Folder(PathBuf),
    /// In a PostgreSQL, which several servers may share.
    Postgres(PostgresUrl),
}
