//! The statements of workers: claim a job, renew the lease, report a stage, and finish, retry or release the job.

use super::Statement;

/// Claims the next job.
///
/// Binds 1 now, 2 the lease's end ([`crate::lease::LeaseTerms::until`]), 3 the worker's capabilities
/// ([`crate::capability::json`]), 4 the name of the worker's process.
///
/// Returns the job, or no row when none is due. Its `lease_token` is the fencing token of every further write of the worker.
pub const CLAIM: Statement = statement! {
    "UPDATE jobs SET status = 'running', started_at = $1, attempts = attempts + 1, lease_token = lease_token + 1, \
     lease_holder = $4, lease_until = $2, outcome = NULL, stage = NULL, stage_started_at = NULL, stage_estimate = NULL \
     WHERE seq = (SELECT seq FROM jobs WHERE status = 'queued' AND run_at <= $1 AND EXISTS (SELECT 1 FROM "
    sqlite("json_each($3)") postgres("jsonb_array_elements(CAST($3 AS JSONB))")
    takes "ORDER BY rank, turn, seq LIMIT 1" postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING " columns
};

/// Claims the next jobs, one for each name in a list. It is for workers with the same capabilities that wait together.
///
/// Binds 1 now, 2 the leases' end, 3 the capabilities, as [`CLAIM`] does, 4 the names of the processes as an array in JSON; a
/// name may occur several times. Returns the jobs, each with its `lease_holder`: fewer than names when fewer are due.
pub const CLAIM_SEVERAL: Statement = statement! {
    "WITH next AS (SELECT seq, rank, turn FROM jobs WHERE status = 'queued' AND run_at <= $1 AND EXISTS (SELECT 1 FROM "
    sqlite("json_each($3)") postgres("jsonb_array_elements(CAST($3 AS JSONB))")
    takes "ORDER BY rank, turn, seq LIMIT (SELECT count(*) FROM " sqlite("json_each($4)")
    postgres("jsonb_array_elements_text(CAST($4 AS JSONB))") ")" postgres(" FOR UPDATE SKIP LOCKED") "), \
     given AS (SELECT seq AS job, row_number() OVER (ORDER BY rank, turn, seq) AS number FROM next) \
     UPDATE jobs SET status = 'running', started_at = $1, attempts = attempts + 1, lease_token = lease_token + 1, \
     lease_holder = wanted.holder, lease_until = $2, outcome = NULL, stage = NULL, stage_started_at = NULL, \
     stage_estimate = NULL FROM given JOIN "
    sqlite("(SELECT key + 1 AS number, value AS holder FROM json_each($4)) AS wanted")
    postgres("jsonb_array_elements_text(CAST($4 AS JSONB)) WITH ORDINALITY AS wanted(holder, number)")
    " ON wanted.number = given.number WHERE seq = given.job RETURNING " columns
};

/// Renews a lease.
///
/// Binds 1 id, 2 token, 3 the lease's end. Returns `cancel_requested_at`: NULL, or when a caller cancelled the
/// job. No row: the lease is lost.
pub const HEARTBEAT: Statement = statement! {
    "UPDATE jobs SET lease_until = CASE WHEN lease_until > $3 THEN lease_until ELSE $3 END \
     WHERE id = $1 AND lease_token = $2 AND status = 'running' RETURNING cancel_requested_at"
};

/// Reports the stage of a running job. A stage that is reported again keeps its start, so that the percentage never falls.
///
/// Binds 1 id, 2 token, 3 stage, 4 the time when it began, 5 the estimate of its work
/// ([`crate::progress::StageEstimate::encode`]) or NULL. Returns `cancel_requested_at`, as [`HEARTBEAT`] does.
/// No row: the lease is lost.
pub const REPORT_STAGE: Statement = statement! {
    "UPDATE jobs SET stage_started_at = CASE WHEN stage = $3 THEN stage_started_at ELSE $4 END, \
     stage_estimate = CASE WHEN stage = $3 THEN stage_estimate ELSE $5 END, stage = $3 \
     WHERE id = $1 AND lease_token = $2 AND status = 'running' RETURNING cancel_requested_at"
};

/// Finishes a job: completed, or failed without another attempt. A failed job is cancelled instead if a caller requested that.
///
/// Binds 1 id, 2 token, 3 now, 4 `completed` or `failed`, 5 outcome, 6 result or NULL, 7 expiry.
/// Returns `status`. No row: the lease is lost, and the worker discards the result.
pub const FINISH: Statement = statement! {
    "UPDATE jobs SET \
     status = CASE WHEN $4 = 'failed' AND cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE $4 END, \
     outcome = CASE WHEN $4 = 'failed' AND cancel_requested_at IS NOT NULL THEN NULL ELSE $5 END, \
     result = $6, finished_at = $3, expires_at = $7, lease_holder = NULL, lease_until = NULL \
     WHERE id = $1 AND lease_token = $2 AND status = 'running' RETURNING status"
};

/// [`FINISH`] for several jobs. PostgreSQL only, for writes that share a transaction.
///
/// Binds 1 now, 2 expiry, 3 the ends as an array of objects in JSON: `job` (the id), `token`, `end_status` (`completed` or `failed`),
/// `report` (the outcome) and `artifact` (the result or null). Returns `id`, `lease_token` and
/// `status` of those whose lease is held.
pub const POSTGRES_FINISH_SEVERAL: &str = "UPDATE jobs SET \
     status = CASE WHEN end_status = 'failed' AND cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE end_status END, \
     outcome = CASE WHEN end_status = 'failed' AND cancel_requested_at IS NOT NULL THEN NULL ELSE report END, \
     result = artifact, finished_at = $1, expires_at = $2, lease_holder = NULL, lease_until = NULL \
     FROM jsonb_to_recordset(CAST($3 AS JSONB)) \
     AS ends(job TEXT, token BIGINT, end_status TEXT, report TEXT, artifact TEXT) \
     WHERE id = job AND lease_token = token AND status = 'running' RETURNING id, lease_token, status";

/// Ends a failed attempt after which another may succeed: the job is queued again, or cancelled if a caller requested that,
/// or failed if that was its last attempt.
///
/// Binds 1 now, 2 earliest start of the next attempt ([`crate::backoff::Backoff`]), 3 outcome, 4 expiry if the job has finished,
/// 5 id, 6 token.
/// Returns `status`. No row: the lease is lost.
pub const RETRY: Statement = statement! {
    "UPDATE jobs SET " attempt_failed
    "WHERE id = $5 AND lease_token = $6 AND status = 'running' RETURNING status"
};

/// Releases a job without a failure: it is queued again as if it had not been claimed, or cancelled if a caller requested
/// that.
///
/// Binds 1 id, 2 token, 3 now, 4 expiry if the job has finished. Returns `status`. No row: the lease is lost.
pub const RELEASE: Statement = statement! {
    "UPDATE jobs SET attempts = attempts - 1, \
     status = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE 'queued' END, \
     run_at = CASE WHEN cancel_requested_at IS NOT NULL THEN run_at ELSE $3 END, \
     stage = CASE WHEN cancel_requested_at IS NOT NULL THEN stage END, \
     stage_started_at = CASE WHEN cancel_requested_at IS NOT NULL THEN stage_started_at END, \
     stage_estimate = CASE WHEN cancel_requested_at IS NOT NULL THEN stage_estimate END, \
     finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN $3 END, \
     expires_at = CASE WHEN cancel_requested_at IS NOT NULL THEN $4 END, \
     lease_holder = NULL, lease_until = NULL \
     WHERE id = $1 AND lease_token = $2 AND status = 'running' RETURNING status"
};

/// Reads when the next delayed job is due, for a worker that found none.
///
/// Binds 1 now. Returns `run_at` or NULL.
pub const NEXT_DUE: Statement = statement! {
    "SELECT min(run_at) AS run_at FROM jobs WHERE status = 'queued' AND run_at > $1"
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_jobs_finish_as_one_does() {
        let one = FINISH.postgres.split(" WHERE ").next().unwrap();
        let several = POSTGRES_FINISH_SEVERAL.split(" FROM ").next().unwrap();
        let renamed =
            [("$1", "$3"), ("$2", "$7"), ("end_status", "$4"), ("report", "$5"), ("artifact", "$6")];
        let same = renamed.iter().fold(several.to_owned(), |text, (name, value)| text.replace(name, value));
        assert_eq!(same, one);
    }
}
