//! The statements of an audit log in a database: one chain ([`crate::audit`]) for all that append to it.
//!
//! A server writes its audit log to a file and does not use these statements. They are for the Durable Object of the edge,
//! which has a database and no files.
//!
//! Appending is one transaction: [`POSTGRES_LOCK_AUDIT`] (on SQLite `BEGIN IMMEDIATE`), then [`HEAD`], then [`APPEND`] for each
//! entry, which [`crate::audit::Record::after`] links to the entry before. The lock serialises the writers until each has
//! committed, so that each sees the entries of the others. [`APPEND`] checks the link itself: if the lock was forgotten, the
//! chain does not fork, but the transaction fails.

use super::{Migration, Statement};

/// The steps of the tables of an audit log, in order.
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "audit",
    script: Statement {
        sqlite: include_str!("../../sql/sqlite/audit.sql"),
        postgres: include_str!("../../sql/postgres/audit.sql"),
    },
}];

/// Locks the log until the transaction ends. PostgreSQL only, and as a statement of its own: a statement that waited does not
/// see what was committed meanwhile, but the next one does.
///
/// Binds nothing. Returns one row without a value. The number identifies this log among the database's advisory locks.
pub const POSTGRES_LOCK_AUDIT: &str = "SELECT pg_advisory_xact_lock(7306916055)";

/// Reads the end of the chain.
///
/// Binds nothing. Returns `seq` and `hash`. No row: the log is empty ([`crate::audit::Link::START`]).
pub const HEAD: Statement = statement! { "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1" };

/// Appends an entry to the chain.
///
/// Binds 1 `seq`, 2 `previous`, 3 `entry`, 4 `hash`, as the record has them. Returns `seq`. No row, or a violation of the
/// primary key: another writer appended meanwhile, and the transaction must be rolled back.
pub const APPEND: Statement = statement! {
    "INSERT INTO audit (seq, previous, entry, hash) SELECT $1, $2, $3, $4 \
     WHERE $2 = COALESCE((SELECT hash FROM audit WHERE seq = $1 - 1), \
     '0000000000000000000000000000000000000000000000000000000000000000') \
     AND ($1 = 1 OR EXISTS (SELECT 1 FROM audit WHERE seq = $1 - 1)) \
     RETURNING seq"
};

/// Reads a part of the chain.
///
/// Binds 1 the `seq` before it, 0 for the beginning, 2 maximum number of entries. Returns `seq`, `previous`, `entry` and `hash`.
pub const READ: Statement = statement! {
    "SELECT seq, previous, entry, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2"
};
