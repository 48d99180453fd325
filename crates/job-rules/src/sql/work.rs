//! What a worker does: it claims a job, says that it lives and how far it is, and ends the job or lets go of it.

use super::Statement;

/// Claims the job whose turn it is.
///
/// Binds 1 now, 2 the lease's end ([`crate::lease::LeaseTerms::until`]), 3 what the worker takes
/// ([`crate::capability::json`]), 4 the worker's name.
///
/// Returns the job, or no row when none is due. Its `lease_token` is what the worker shows from now on.
pub const CLAIM: Statement = statement! {
    "UPDATE jobs SET status = 'running', started_at = $1, attempts = attempts + 1, lease_token = lease_token + 1, \
     lease_holder = $4, lease_until = $2, outcome = NULL, stage = NULL, percent = 0 \
     WHERE seq = (SELECT seq FROM jobs WHERE status = 'queued' AND run_at <= $1 AND EXISTS (SELECT 1 FROM "
    sqlite("json_each($3)") postgres("jsonb_array_elements(CAST($3 AS JSONB))")
    " AS capability WHERE capability.value ->> 0 = kind AND coalesce(capability.value ->> 1, subject) = subject \
     AND coalesce(capability.value ->> 2, version) = version) \
     ORDER BY rank, seq LIMIT 1" postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING " columns
};

/// Renews a lease.
///
/// Binds 1 id, 2 token, 3 the lease's end. Returns `cancel_requested_at`: NULL, or when the job was called off.
/// No row: the lease is lost.
pub const HEARTBEAT: Statement = statement! {
    "UPDATE jobs SET lease_until = CASE WHEN lease_until > $3 THEN lease_until ELSE $3 END \
     WHERE id = $1 AND lease_token = $2 AND status = 'running' RETURNING cancel_requested_at"
};

/// Says how far the work is.
///
/// Binds 1 id, 2 token, 3 stage, 4 percent, 0 to 100. Returns `cancel_requested_at`, as [`HEARTBEAT`] does.
/// No row: the lease is lost.
pub const PROGRESS: Statement = statement! {
    "UPDATE jobs SET stage = $3, percent = $4 \
     WHERE id = $1 AND lease_token = $2 AND status = 'running' RETURNING cancel_requested_at"
};

/// Ends a job: it is completed, or failed for good. A failed one that was called off is cancelled.
///
/// Binds 1 id, 2 token, 3 now, 4 `completed` or `failed`, 5 outcome, 6 result or NULL, 7 when it expires.
/// Returns `status`. No row: the lease is lost, and what was made is to be thrown away.
pub const FINISH: Statement = statement! {
    "UPDATE jobs SET \
     status = CASE WHEN $4 = 'failed' AND cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE $4 END, \
     outcome = CASE WHEN $4 = 'failed' AND cancel_requested_at IS NOT NULL THEN NULL ELSE $5 END, \
     result = $6, percent = CASE WHEN $4 = 'completed' THEN 100 ELSE percent END, \
     finished_at = $3, expires_at = $7, lease_holder = NULL, lease_until = NULL \
     WHERE id = $1 AND lease_token = $2 AND status = 'running' RETURNING status"
};

/// Ends an attempt that failed while another may succeed: the job is queued again, or cancelled if it was called off, or
/// failed if that was its last attempt.
///
/// Binds 1 now, 2 when to try again ([`crate::retry::Backoff`]), 3 outcome, 4 when it expires if it is over, 5 id, 6 token.
/// Returns `status`. No row: the lease is lost.
pub const RETRY: Statement = statement! {
    "UPDATE jobs SET " attempt_failed
    "WHERE id = $5 AND lease_token = $6 AND status = 'running' RETURNING status"
};

/// Lets go of a job without having failed: it is queued again as if it had not been claimed, or cancelled if it was called
/// off.
///
/// Binds 1 id, 2 token, 3 now, 4 when it expires if it is over. Returns `status`. No row: the lease is lost.
pub const RELEASE: Statement = statement! {
    "UPDATE jobs SET attempts = attempts - 1, \
     status = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE 'queued' END, \
     run_at = CASE WHEN cancel_requested_at IS NOT NULL THEN run_at ELSE $3 END, \
     stage = CASE WHEN cancel_requested_at IS NOT NULL THEN stage END, \
     percent = CASE WHEN cancel_requested_at IS NOT NULL THEN percent ELSE 0 END, \
     finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN $3 END, \
     expires_at = CASE WHEN cancel_requested_at IS NOT NULL THEN $4 END, \
     lease_holder = NULL, lease_until = NULL \
     WHERE id = $1 AND lease_token = $2 AND status = 'running' RETURNING status"
};

/// When the next of the jobs that wait for their time is due, for a worker that found none.
///
/// Binds 1 now. Returns `run_at` or NULL.
pub const NEXT_DUE: Statement = statement! {
    "SELECT min(run_at) AS run_at FROM jobs WHERE status = 'queued' AND run_at > $1"
};
