//! Enqueueing jobs: each once, and no more than the bounds allow.

use super::Statement;

/// Locks the intake until the transaction ends. PostgreSQL only, before [`ENQUEUE`] in the same transaction and as a statement
/// of its own: two transactions that count at the same time do not see each other's row, and a statement does not see what
/// was committed while it waited. SQLite has one writer anyway.
///
/// Binds nothing. Returns one row without a value. The number identifies this queue among the database's advisory locks.
pub const POSTGRES_LOCK_INTAKE: &str = "SELECT pg_advisory_xact_lock(7306916054)";

/// Enqueues a job, if the bounds allow it and its idempotency key is free.
///
/// Binds 1 id, 2 kind, 3 subject, 4 version, 5 owner, 6 priority's level, 7 rank ([`crate::priority::Rank`]), 8 now,
/// 9 maximum number of attempts, 10 idempotency key or NULL, 11 body digest or NULL, 12 payload, 13 input or NULL,
/// 14 maximum number of queued jobs, 15 maximum number of unfinished jobs of the owner.
///
/// Returns `seq`. No row: [`FIND_BY_KEY`] shows whether the key is taken, and if not, [`LOAD`] which bound is reached.
pub const ENQUEUE: Statement = statement! {
    "INSERT INTO jobs (id, kind, subject, version, owner, priority, rank, status, run_at, enqueued_at, attempts, \
     max_attempts, lease_token, idempotency_key, body_digest, payload, input) \
     SELECT $1, $2, $3, $4, $5, $6, $7, 'queued', $8, $8, 0, $9, 0, $10, $11, $12, $13 \
     WHERE (SELECT count(*) FROM jobs WHERE status = 'queued') < $14 \
     AND (SELECT count(*) FROM jobs WHERE owner = $5 AND finished_at IS NULL) < $15 \
     ON CONFLICT (owner, idempotency_key) DO NOTHING \
     RETURNING seq"
};

/// Reads the job of an owner's idempotency key, for [`crate::idempotency::Idempotency::judge`].
///
/// Binds 1 owner, 2 key. Returns a job.
pub const FIND_BY_KEY: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE owner = $1 AND idempotency_key = $2"
};

/// Counts the jobs, for [`crate::bounds::Bounds::admit`].
///
/// Binds 1 owner. Returns `queued` and `unfinished_of_owner`.
pub const LOAD: Statement = statement! {
    "SELECT (SELECT count(*) FROM jobs WHERE status = 'queued') AS queued, \
     (SELECT count(*) FROM jobs WHERE owner = $1 AND finished_at IS NULL) AS unfinished_of_owner"
};
