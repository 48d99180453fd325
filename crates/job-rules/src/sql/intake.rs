//! Enqueueing jobs: each once, no more than the bounds allow, and at a fair place.

use super::Statement;

/// Locks the intake until the transaction ends. PostgreSQL only, before [`ENQUEUE`] in the same transaction and as a statement
/// of its own: two transactions that count at the same time do not see each other's row, and a statement does not see what
/// was committed while it waited. SQLite has one writer anyway.
///
/// Binds nothing. Returns one row without a value. The number identifies this queue among the database's advisory locks.
pub const POSTGRES_LOCK_INTAKE: &str = "SELECT pg_advisory_xact_lock(7306916054)";

/// Enqueues a job, if the bounds allow it and its idempotency key is free.
///
/// Binds 1 id, 2 kind, 3 subject, 4 version, 5 owner, 6 priority's level, 7 rank and 17 turn ([`crate::turn::OrderKey`]), 8 now,
/// 9 maximum number of attempts, 10 idempotency key or NULL, 11 body digest or NULL, 12 payload, 13 input or NULL,
/// 14 maximum number of queued jobs, 15 maximum number of unfinished jobs of the account, 16 account.
///
/// Returns `seq`. No row: [`FIND_BY_KEY`] shows whether the key is taken, and if not, [`LOAD`] which bound is reached.
pub const ENQUEUE: Statement = statement! {
    "INSERT INTO jobs (id, kind, subject, version, owner, account, priority, rank, turn, status, run_at, enqueued_at, attempts, \
     max_attempts, lease_token, idempotency_key, body_digest, payload, input) \
     SELECT $1, $2, $3, $4, $5, $16, $6, $7, $17, 'queued', $8, $8, 0, $9, 0, $10, $11, $12, $13 \
     WHERE (SELECT count(*) FROM jobs WHERE status = 'queued') < $14 \
     AND (SELECT count(*) FROM jobs WHERE account = $16 AND finished_at IS NULL) < $15 \
     ON CONFLICT (owner, idempotency_key) DO NOTHING \
     RETURNING seq"
};

/// Reads the turns of each priority up to that of a new job, for [`crate::turn::Turns`].
///
/// Binds 1 account, 2 level of the job's priority, 3 now. Returns `priority`, and `own`, `running`, `queued` and `last` or NULL, which
/// [`crate::turn::TurnsOfPriority`] describes; a row for each priority.
pub const TURNS: Statement = statement! {
    "SELECT levels.level AS priority, \
     (SELECT max(turn) FROM jobs WHERE account = $1 AND priority = levels.level AND finished_at IS NULL) AS own, \
     (SELECT max(turn) FROM jobs WHERE status = 'running' AND priority = levels.level) AS running, \
     (SELECT turn FROM jobs WHERE status = 'queued' AND priority = levels.level AND run_at <= $3 \
     ORDER BY turn, seq LIMIT 1) AS queued, \
     (SELECT max(turn) FROM jobs WHERE status = 'queued' AND priority = levels.level) AS last \
     FROM (SELECT CAST(0 AS BIGINT) AS level UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS levels \
     WHERE levels.level <= $2"
};

/// Reads the ranks of the jobs that a new job goes ahead of: the first of each priority after a turn.
///
/// Binds 1 to 4 the turns for the levels 0 to 3 ([`crate::turn::Turns::after`]). Returns `priority` and `rank`, a row for each
/// priority that has such a job.
pub const FOLLOWERS: Statement = statement! {
    "SELECT priority, rank FROM jobs WHERE seq IN (\
     (SELECT seq FROM jobs WHERE status = 'queued' AND priority = 0 AND turn > $1 ORDER BY turn, seq LIMIT 1), \
     (SELECT seq FROM jobs WHERE status = 'queued' AND priority = 1 AND turn > $2 ORDER BY turn, seq LIMIT 1), \
     (SELECT seq FROM jobs WHERE status = 'queued' AND priority = 2 AND turn > $3 ORDER BY turn, seq LIMIT 1), \
     (SELECT seq FROM jobs WHERE status = 'queued' AND priority = 3 AND turn > $4 ORDER BY turn, seq LIMIT 1))"
};

/// Reads the job of an owner's idempotency key, for [`crate::idempotency::Idempotency::judge`].
///
/// Binds 1 owner, 2 key. Returns a job.
pub const FIND_BY_KEY: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE owner = $1 AND idempotency_key = $2"
};

/// Counts the jobs, for [`crate::bounds::Bounds::admit`].
///
/// Binds 1 account. Returns `queued` and `unfinished_of_account`.
pub const LOAD: Statement = statement! {
    "SELECT (SELECT count(*) FROM jobs WHERE status = 'queued') AS queued, \
     (SELECT count(*) FROM jobs WHERE account = $1 AND finished_at IS NULL) AS unfinished_of_account"
};
