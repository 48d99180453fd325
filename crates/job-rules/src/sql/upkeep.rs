//! Cancelling, and periodic maintenance: expired leases, impossible times, and jobs whose retention is over. Several servers may
//! run each statement at the same time, and repeatedly.

use super::Statement;

/// Cancels a job: a queued one at once, a running one when its worker learns of it.
///
/// Binds 1 id, 2 owner or NULL for any owner, 3 now, 4 expiry if the job has finished.
/// Returns `status`. No row: the owner has no such job, or it has finished.
pub const CANCEL: Statement = statement! {
    "UPDATE jobs SET cancel_requested_at = COALESCE(cancel_requested_at, $3), \
     status = CASE WHEN status = 'queued' THEN 'cancelled' ELSE status END, \
     finished_at = CASE WHEN status = 'queued' THEN $3 END, \
     expires_at = CASE WHEN status = 'queued' THEN $4 END \
     WHERE id = $1 AND ($2 IS NULL OR owner = $2) AND status IN ('queued', 'running') RETURNING status"
};

/// Queues a failed job again with all its attempts, if its input is still there and the queue has a place.
///
/// Binds 1 account of the job, 2 id, 3 now, 4 the latest end of failed jobs whose inputs may be removed
/// ([`crate::expiry::Retention::failed_inputs_until`]), 5 maximum number of queued jobs. Returns `status`. No row: it has not
/// failed, its input may be gone, or the queue is full. On PostgreSQL, [`super::intake::POSTGRES_LOCK_INTAKE`] comes before it.
pub const REQUEUE: Statement = statement! {
    "UPDATE jobs SET status = 'queued', run_at = $3, attempts = 0, lease_token = lease_token + 1, finished_at = NULL, \
     expires_at = NULL, cancel_requested_at = NULL, stage = NULL, stage_started_at = NULL, stage_estimate = NULL \
     WHERE id = $2 AND status = 'failed' AND input IS NOT NULL AND finished_at > $4 \
     AND (SELECT queued FROM (" dialect(load) ") AS load) < $5 RETURNING status"
};

/// Ends expired leases. The attempt counts: the job is queued again, or failed if that was its last attempt, or cancelled if
/// a caller requested that.
///
/// Binds 1 now, 2 earliest start of the next attempt, 3 outcome, 4 expiry if the job has finished, 5 leases that end at this
/// time or before are lost ([`crate::transition::Event::LoseLease`]). Returns the jobs as they are now.
pub const REAP: Statement = statement! {
    "UPDATE jobs SET " attempt_failed
    "WHERE seq IN (SELECT seq FROM jobs WHERE status = 'running' AND lease_until <= $5"
    postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING " columns
};

/// Ends the leases of a process that is known to be dead, whenever they expire. What [`REAP`] does with an expired lease happens
/// to each. The leases of provers that pull are not among them: these provers are other processes, which may be alive.
///
/// Binds 1 now, 2 earliest start of the next attempt, 3 outcome, 4 expiry if the job has finished, 5 pattern of the holders whose
/// leases stay ([`crate::lease::pull_holder`]). Returns the jobs as they are now.
pub const RECOVER: Statement = statement! {
    "UPDATE jobs SET " attempt_failed
    "WHERE seq IN (SELECT seq FROM jobs WHERE status = 'running' AND lease_holder NOT LIKE $5"
    postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING " columns
};

/// Fails queued jobs that have waited too long and that no worker with these capabilities takes, such as those of a subject that
/// no server has any more.
///
/// Binds 1 now, 2 jobs that have been due since this time or before have waited too long, 3 capabilities
/// ([`crate::capability::json`]), 4 outcome, 5 expiry. Returns the jobs as they are now.
pub const ABANDON: Statement = statement! {
    "UPDATE jobs SET status = 'failed', outcome = $4, finished_at = $1, expires_at = $5 \
     WHERE seq IN (SELECT seq FROM jobs WHERE status = 'queued' AND run_at <= $2 AND NOT EXISTS (SELECT 1 FROM "
    sqlite("json_each($3)") postgres("jsonb_array_elements(CAST($3 AS JSONB))")
    takes postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING " columns
};

/// Moves impossible times to the latest possible ones, after the clock was set back ([`crate::lease`]).
///
/// Binds 1 now, 2 the latest `run_at` of a job that had an attempt (now and the backoff's cap), 3 the latest end of a lease,
/// 4 the latest expiry. Returns `id` of each job that was changed.
pub const SETTLE: Statement = statement! {
    "UPDATE jobs SET \
     rank = CASE WHEN enqueued_at > $1 THEN rank - (enqueued_at - $1) ELSE rank END, \
     enqueued_at = CASE WHEN enqueued_at > $1 THEN $1 ELSE enqueued_at END, \
     run_at = CASE WHEN attempts = 0 AND run_at > $1 THEN $1 WHEN run_at > $2 THEN $2 ELSE run_at END, \
     lease_until = CASE WHEN lease_until > $3 THEN $3 ELSE lease_until END, \
     expires_at = CASE WHEN expires_at > $4 THEN $4 ELSE expires_at END \
     WHERE seq IN (SELECT seq FROM jobs \
     WHERE enqueued_at > $1 OR (attempts = 0 AND run_at > $1) OR run_at > $2 OR lease_until > $3 OR expires_at > $4 \
     ORDER BY seq"
    postgres(" FOR UPDATE") ") \
     RETURNING id"
};

/// Adds up the numbers of jobs that connections have counted, and removes those that are zero. PostgreSQL only; SQLite has one
/// row of each. Several servers may do it at the same time, and the sums are the same at every moment.
///
/// The statements bind nothing and return nothing.
pub const POSTGRES_ADD_UP: [&str; 3] = [
    "WITH added AS (DELETE FROM job_counts WHERE (account, kind, priority, shard) IN \
     (SELECT account, kind, priority, shard FROM job_counts WHERE shard <> 0 FOR UPDATE SKIP LOCKED) RETURNING *) \
     INSERT INTO job_counts AS counts SELECT account, kind, priority, 0, CAST(sum(queued) AS BIGINT), \
     CAST(sum(running) AS BIGINT), CAST(sum(completed) AS BIGINT), CAST(sum(failed) AS BIGINT), \
     CAST(sum(cancelled) AS BIGINT), CAST(sum(expired) AS BIGINT) FROM added GROUP BY account, kind, priority \
     ORDER BY account, kind, priority \
     ON CONFLICT (account, kind, priority, shard) DO UPDATE SET \
     queued = counts.queued + EXCLUDED.queued, running = counts.running + EXCLUDED.running, \
     completed = counts.completed + EXCLUDED.completed, failed = counts.failed + EXCLUDED.failed, \
     cancelled = counts.cancelled + EXCLUDED.cancelled, expired = counts.expired + EXCLUDED.expired",
    "WITH added AS (DELETE FROM queue_counts WHERE shard IN \
     (SELECT shard FROM queue_counts WHERE shard <> 0 FOR UPDATE SKIP LOCKED) RETURNING queued) \
     INSERT INTO queue_counts AS counts SELECT 0, CAST(sum(queued) AS BIGINT) FROM added HAVING count(*) > 0 \
     ON CONFLICT (shard) DO UPDATE SET queued = counts.queued + EXCLUDED.queued",
    "DELETE FROM job_counts WHERE (account, kind, priority, shard) IN \
     (SELECT account, kind, priority, shard FROM job_counts WHERE shard = 0 AND queued = 0 AND running = 0 \
     AND completed = 0 AND failed = 0 AND cancelled = 0 AND expired = 0 FOR UPDATE SKIP LOCKED)",
];

/// Expires jobs: removes the outcomes of jobs that finished long enough ago.
///
/// Binds 1 now, 2 maximum number of jobs. Returns `id` and `kind` of each.
pub const EXPIRE: Statement = statement! {
    "UPDATE jobs SET status = 'expired', outcome = NULL, stage = NULL, stage_started_at = NULL, stage_estimate = NULL \
     WHERE seq IN (SELECT seq FROM jobs \
     WHERE status IN ('completed', 'failed', 'cancelled') AND expires_at <= $1 ORDER BY expires_at LIMIT $2"
    postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING id, kind"
};

/// Reads the artifacts that nobody needs any more: inputs of jobs that finished and cannot be queued again, results of expired
/// jobs. They are listed until
/// [`FORGET_ARTIFACT`] records their removal, and their rows stay as long, so that a crash in between leaves none behind.
///
/// Binds 1 maximum number of artifacts, 2 the latest end of failed jobs whose inputs may be removed
/// ([`crate::expiry::Retention::failed_inputs_until`]). Returns `seq` and `artifact`.
pub const DOOMED_ARTIFACTS: Statement = statement! {
    "SELECT seq, input AS artifact FROM jobs WHERE input IS NOT NULL AND finished_at IS NOT NULL \
     AND (status <> 'failed' OR finished_at <= $2) \
     UNION ALL \
     SELECT seq, result AS artifact FROM jobs WHERE result IS NOT NULL AND status = 'expired' LIMIT $1"
};

/// Records that a doomed artifact was removed.
///
/// Binds 1 seq, 2 artifact. Returns `seq`. No row: it was recorded before.
pub const FORGET_ARTIFACT: Statement = statement! {
    "UPDATE jobs SET input = CASE WHEN input = $2 THEN NULL ELSE input END, \
     result = CASE WHEN result = $2 THEN NULL ELSE result END \
     WHERE seq = $1 AND ((input = $2 AND finished_at IS NOT NULL) OR (result = $2 AND status = 'expired')) \
     RETURNING seq"
};

/// Reads the names of all artifacts that jobs and circuits name. Other artifacts in the store, unless they are new, were left behind by a
/// crash before their job was accepted, or by a worker whose lease was lost.
///
/// Binds nothing. Returns `artifact`.
pub const NAMED_ARTIFACTS: Statement = statement! {
    "SELECT input AS artifact FROM jobs WHERE input IS NOT NULL \
     UNION ALL SELECT result AS artifact FROM jobs WHERE result IS NOT NULL \
     UNION ALL SELECT package AS artifact FROM circuits"
};

/// Deletes the rows of jobs that expired long enough ago and name no artifact.
///
/// Binds 1 the latest expiry ([`crate::expiry::Retention::rows_until`]), 2 maximum number of jobs. Returns `id` of each.
pub const DELETE: Statement = statement! {
    "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs \
     WHERE status = 'expired' AND expires_at <= $1 AND input IS NULL AND result IS NULL \
     ORDER BY expires_at LIMIT $2"
    postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING id"
};
