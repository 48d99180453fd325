//! Vouchers: how often each was used. What a voucher allows is in its token and nowhere else, so a row is written at the first
//! use, and deleted some time after the voucher has expired.
//!
//! The columns: `used` is the number of uses, and `expires_at` when the voucher expires.

use super::Statement;

/// Counts a use, unless the voucher is used up.
///
/// Binds 1 id, 2 when it expires, 3 maximum number of uses, at least 1. Returns `id`. No row: it is used up.
pub const USE: Statement = statement! {
    "INSERT INTO voucher_uses (id, used, expires_at) VALUES ($1, 1, $2) \
     ON CONFLICT (id) DO UPDATE SET used = voucher_uses.used + 1 WHERE voucher_uses.used < $3 RETURNING id"
};

/// Gives back a use.
///
/// Binds 1 id. Returns `id`.
pub const GIVE_BACK: Statement = statement! {
    "UPDATE voucher_uses SET used = used - 1 WHERE id = $1 AND used > 0 RETURNING id"
};

/// Forgets vouchers that expired long ago.
///
/// Binds 1 the latest expiry, 2 maximum number. Returns `id` of each.
pub const FORGET: Statement = statement! {
    "DELETE FROM voucher_uses WHERE id IN (SELECT id FROM voucher_uses WHERE expires_at <= $1 \
     ORDER BY expires_at LIMIT $2"
    postgres(" FOR UPDATE SKIP LOCKED") ") RETURNING id"
};
