//! Taking jobs in: each once, and no more than the bounds allow.

use super::Statement;

/// Makes enqueueing wait its turn until the transaction ends. PostgreSQL only, and before [`ENQUEUE`] in the same
/// transaction, as a statement of its own: two transactions that count at the same time do not see each other's row, and
/// a statement does not see what was committed while it waited. SQLite has one writer anyway.
///
/// Binds nothing. Returns one row of nothing. The number is this queue's own among the database's advisory locks.
pub const POSTGRES_LOCK_INTAKE: &str = "SELECT pg_advisory_xact_lock(7306916054)";

/// Takes a job in, if the bounds allow and its idempotency key is free.
///
/// Binds 1 id, 2 kind, 3 subject, 4 owner, 5 priority's level, 6 rank ([`crate::priority::Rank`]), 7 now,
/// 8 most attempts, 9 idempotency key or NULL, 10 body digest or NULL, 11 payload, 12 input or NULL,
/// 13 most queued jobs, 14 most unfinished jobs of the owner.
///
/// Returns `seq`. No row: [`FIND_BY_KEY`] tells whether the key was taken, and if not, [`CROWD`] which bound was reached.
pub const ENQUEUE: Statement = statement! {
    "INSERT INTO jobs (id, kind, subject, owner, priority, rank, status, run_at, enqueued_at, attempts, max_attempts, \
     lease_token, idempotency_key, body_digest, payload, input, percent) \
     SELECT $1, $2, $3, $4, $5, $6, 'queued', $7, $7, 0, $8, 0, $9, $10, $11, $12, 0 \
     WHERE (SELECT count(*) FROM jobs WHERE status = 'queued') < $13 \
     AND (SELECT count(*) FROM jobs WHERE owner = $4 AND finished_at IS NULL) < $14 \
     ON CONFLICT (owner, idempotency_key) DO NOTHING \
     RETURNING seq"
};

/// The job of an owner's idempotency key, for [`crate::idempotency::Idempotency::judge`].
///
/// Binds 1 owner, 2 key. Returns a job.
pub const FIND_BY_KEY: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE owner = $1 AND idempotency_key = $2"
};

/// How many jobs there are, for [`crate::bounds::Bounds::admit`].
///
/// Binds 1 owner. Returns `queued` and `unfinished_of_owner`.
pub const CROWD: Statement = statement! {
    "SELECT (SELECT count(*) FROM jobs WHERE status = 'queued') AS queued, \
     (SELECT count(*) FROM jobs WHERE owner = $1 AND finished_at IS NULL) AS unfinished_of_owner"
};
