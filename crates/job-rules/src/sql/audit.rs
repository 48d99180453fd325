//! The audit log: one chain ([`crate::audit`]) for all servers that share a database.
//!
//! Appending is one transaction: [`POSTGRES_LOCK_AUDIT`] (on SQLite `BEGIN IMMEDIATE`, which makes the one writer), then
//! [`HEAD`], then [`APPEND`] for each entry, every one made by [`crate::audit::Record::after`] from the one before it.
//! The lock makes the servers take turns until each has committed, and so sees what the others wrote. [`APPEND`] looks
//! again by itself: where the lock was forgotten the chain does not fork, the transaction fails.

use super::Statement;

/// Makes appending wait its turn until the transaction ends. PostgreSQL only, and as a statement of its own: one that
/// waited does not see what was committed meanwhile, and the next one does.
///
/// Binds nothing. Returns one row of nothing. The number is this log's own among the database's advisory locks.
pub const POSTGRES_LOCK_AUDIT: &str = "SELECT pg_advisory_xact_lock(7306916055)";

/// Where the chain ends.
///
/// Binds nothing. Returns `seq` and `hash`. No row: it has not begun ([`crate::audit::Link::START`]).
pub const HEAD: Statement = statement! { "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1" };

/// Adds an entry at the end of the chain.
///
/// Binds 1 `seq`, 2 `previous`, 3 `entry`, 4 `hash`, as the record has them. Returns `seq`. No row, or a violation of the
/// primary key: somebody else appended meanwhile, and nothing may be committed.
pub const APPEND: Statement = statement! {
    "INSERT INTO audit (seq, previous, entry, hash) SELECT $1, $2, $3, $4 \
     WHERE $2 = COALESCE((SELECT hash FROM audit WHERE seq = $1 - 1), \
     '0000000000000000000000000000000000000000000000000000000000000000') \
     AND ($1 = 1 OR EXISTS (SELECT 1 FROM audit WHERE seq = $1 - 1)) \
     RETURNING seq"
};

/// A piece of the chain.
///
/// Binds 1 the `seq` before it, 0 for the beginning, 2 how many. Returns `seq`, `previous`, `entry` and `hash`.
pub const READ: Statement = statement! {
    "SELECT seq, previous, entry, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2"
};
