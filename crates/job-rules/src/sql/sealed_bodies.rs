//! Sealed bodies that have arrived, at any of the servers that share the database, so that none is accepted twice. A row is
//! written when the first part of a body was opened, and deleted when its time alone refuses it.
//!
//! The columns: `id` is a digest of the body's head, and `expires_at` when every server refuses the body for its time.

use super::Statement;

/// Remembers a body, unless it has arrived before.
///
/// Binds 1 id, 2 when it expires. Returns `id`. No row: it has arrived before.
pub const REMEMBER: Statement = statement! {
    "INSERT INTO sealed_bodies (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id"
};

/// Forgets bodies that have expired.
///
/// Binds 1 the latest expiry, 2 maximum number. Returns `id` of each.
pub const FORGET: Statement = statement! {
    "DELETE FROM sealed_bodies WHERE id IN (SELECT id FROM sealed_bodies WHERE expires_at <= $1 \
     ORDER BY expires_at LIMIT $2"
    postgres(" FOR UPDATE SKIP LOCKED") ") RETURNING id"
};
