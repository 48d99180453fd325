//! Enqueueing jobs: each once, no more than the bounds allow, and at a fair place.

use super::Statement;

/// Locks the intake until the transaction ends. PostgreSQL only, before [`ENQUEUE`] in the same transaction and as a statement
/// of its own: two transactions that count at the same time do not see each other's row, and a statement does not see what
/// was committed while it waited. SQLite has one writer anyway.
///
/// Binds nothing. Returns one row without a value. The number identifies this queue among the database's advisory locks.
pub const POSTGRES_LOCK_INTAKE: &str = "SELECT pg_advisory_xact_lock(7306916054)";

/// Enqueues a job at its place in the order of work, if the bounds allow it and its idempotency key is free.
///
/// Binds 1 account, 2 priority's level, 3 now, 4 rank of this priority and time ([`crate::priority::Rank::new`]), 5 id, 6 kind,
/// 7 subject, 8 version, 9 owner, 10 maximum number of attempts, 11 idempotency key or NULL, 12 body digest or NULL, 13 payload,
/// 14 input or NULL, 15 maximum number of queued jobs, 16 maximum number of unfinished jobs of the account, 17 1 if an account may
/// queue a job only while it has fewer queued jobs than there are free slots, else 0.
///
/// Returns `seq`, `rank` and `turn`. No row: [`FIND_BY_KEY`] shows whether the key is taken, and if not, [`LOAD`] which bound is
/// reached.
pub const ENQUEUE: Statement = statement! {
    "INSERT INTO jobs (id, kind, subject, version, owner, account, priority, rank, turn, status, run_at, enqueued_at, attempts, \
     max_attempts, lease_token, idempotency_key, body_digest, payload, input) \
     SELECT $5, $6, $7, $8, $9, $1, $2, place.rank, place.turn, 'queued', $3, $3, 0, $10, 0, $11, $12, $13, $14 \
     FROM (" place_of_new_job ") AS place, (" dialect(load) ") AS load \
     WHERE load.unfinished_of_account < $16 \
     AND load.queued + CASE WHEN $17 = 0 THEN 0 ELSE load.queued_of_account END < $15 \
     ON CONFLICT (account, idempotency_key) DO NOTHING \
     RETURNING seq, rank, turn"
};

/// Reads the job of an account's idempotency key, for [`crate::idempotency::Idempotency::judge`].
///
/// Binds 1 account, 2 key. Returns a job.
pub const FIND_BY_KEY: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE account = $1 AND idempotency_key = $2"
};

/// Reads the numbers of jobs, for [`crate::queue_bounds::Bounds::admit`].
///
/// Binds 1 account. Returns `queued`, `queued_of_account` and `unfinished_of_account`.
pub const LOAD: Statement = statement! { dialect(load) };
