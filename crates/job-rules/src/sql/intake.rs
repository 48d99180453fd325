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

/// [`ENQUEUE`] for several jobs, all or none. PostgreSQL only, under [`POSTGRES_LOCK_INTAKE`]. The jobs get the order
/// that they would have one after the other: those of one account and priority have turns that follow each other, and the others do not
/// change them.
///
/// Binds 1 now, 2 the jobs as an array of objects in JSON, in their order: `n` from 0, and by the names of [`ENQUEUE`]'s values `account`,
/// `level`, `arrival_rank`, `id`, `kind`, `subject`, `version`, `owner`, `max_attempts`, `idempotency_key`, `body_digest`, `payload`,
/// `input`, `queued_max`, `unfinished_max`, `has_shares`.
///
/// Returns `id`, `seq`, `rank` and `turn` of those that were inserted. No row: the bounds do not allow all of them, or the keys of all are
/// taken. Otherwise the keys of those without a row are taken.
pub const POSTGRES_ENQUEUE_SEVERAL: &str = concat!(
    "WITH items AS MATERIALIZED (SELECT item.*, \
     row_number() OVER (PARTITION BY account, level ORDER BY n) - 1 AS before_in_turn, \
     row_number() OVER (PARTITION BY account ORDER BY n) - 1 AS before_of_account \
     FROM jsonb_to_recordset(CAST($2 AS JSONB)) AS item(n BIGINT, account TEXT, level BIGINT, arrival_rank BIGINT, id TEXT, \
     kind TEXT, subject TEXT, version TEXT, owner TEXT, max_attempts BIGINT, idempotency_key TEXT, body_digest TEXT, payload TEXT, \
     input TEXT, queued_max BIGINT, unfinished_max BIGINT, has_shares BOOLEAN)), ",
    // The turn of an account without jobs, of each priority.
    "heads AS MATERIALIZED (SELECT level, (SELECT max(turn) FROM jobs WHERE status = 'running' AND priority = level) AS running, \
     (SELECT turn FROM jobs WHERE status = 'queued' AND priority = level AND run_at <= $1 ORDER BY turn, seq LIMIT 1) AS queued \
     FROM generate_series(CAST(0 AS BIGINT), (SELECT max(level) FROM items)) AS levels(level)), \
     newcomers AS MATERIALIZED (SELECT level, CASE WHEN running IS NULL THEN coalesce(queued, 0) WHEN running < queued - ",
    crate::turn::step!(),
    " THEN queued ELSE running + ",
    crate::turn::newcomer!(),
    " END AS newcomer FROM heads), ",
    // The last turn of each account's own jobs.
    "owned AS MATERIALIZED (SELECT account, level, (SELECT max(turn) FROM jobs \
     WHERE jobs.account = known.account AND priority = level AND finished_at IS NULL) AS own \
     FROM (SELECT DISTINCT account, level FROM items) AS known), ",
    "arrivals AS MATERIALIZED (SELECT items.*, own IS NULL AND before_in_turn = 0 AS is_first, \
     before_in_turn * ",
    crate::turn::step!(),
    " + CASE WHEN own + ",
    crate::turn::step!(),
    " > newcomer THEN own + ",
    crate::turn::step!(),
    " ELSE newcomer END AS turn FROM items JOIN owned USING (account, level) JOIN newcomers USING (level)), ",
    // The ranks that each takes over.
    "placed AS MATERIALIZED (SELECT arrivals.*, least(arrival_rank, (SELECT min(rank - ahead) FROM (\
     SELECT CASE WHEN newcomers.level = arrivals.level THEN 0 ELSE 1 END AS ahead, \
     (SELECT rank FROM jobs WHERE status = 'queued' AND priority = newcomers.level \
     AND turn > CASE WHEN newcomers.level = arrivals.level THEN arrivals.turn ELSE newcomer END ORDER BY turn, seq LIMIT 1) AS rank \
     FROM newcomers WHERE newcomers.level = arrivals.level OR (is_first AND newcomers.level < arrivals.level)) AS followers)) \
     AS place FROM arrivals), ",
    "loads AS MATERIALIZED (SELECT account, coalesce(sum(queued), 0) AS queued, coalesce(sum(queued + running), 0) AS unfinished \
     FROM (SELECT DISTINCT account FROM items) AS known LEFT JOIN job_counts USING (account) GROUP BY account), \
     queue AS MATERIALIZED (SELECT coalesce(sum(queued), 0) AS queued FROM queue_counts), \
     refused AS MATERIALIZED (SELECT 1 FROM items JOIN loads USING (account), queue \
     WHERE loads.unfinished + before_of_account >= unfinished_max \
     OR queue.queued + n + CASE WHEN has_shares THEN loads.queued + before_of_account ELSE 0 END >= queued_max LIMIT 1) ",
    "INSERT INTO jobs (id, kind, subject, version, owner, account, priority, rank, turn, status, run_at, enqueued_at, attempts, \
     max_attempts, lease_token, idempotency_key, body_digest, payload, input) \
     SELECT id, kind, subject, version, owner, account, level, place, turn, 'queued', $1, $1, 0, max_attempts, 0, \
     idempotency_key, body_digest, payload, input FROM placed WHERE NOT EXISTS (SELECT 1 FROM refused) ORDER BY n \
     ON CONFLICT (account, idempotency_key) DO NOTHING RETURNING id, seq, rank, turn",
);

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
