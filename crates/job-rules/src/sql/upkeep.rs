//! Cancelling, and what has to be done from time to time: leases that ran out, times that cannot be, and what is no longer
//! kept. Each may be done by several at once, and again.

use super::Statement;

/// Calls a job off: a queued one is cancelled at once, a running one when its worker hears of it.
///
/// Binds 1 id, 2 the owner who asks or NULL for whoever may cancel any, 3 now, 4 when it expires if it is over.
/// Returns `status`. No row: there is no such job of that owner, or it is over.
pub const CANCEL: Statement = statement! {
    "UPDATE jobs SET cancel_requested_at = COALESCE(cancel_requested_at, $3), \
     status = CASE WHEN status = 'queued' THEN 'cancelled' ELSE status END, \
     finished_at = CASE WHEN status = 'queued' THEN $3 END, \
     expires_at = CASE WHEN status = 'queued' THEN $4 END \
     WHERE id = $1 AND ($2 IS NULL OR owner = $2) AND status IN ('queued', 'running') RETURNING status"
};

/// Ends the leases that ran out. The attempt counts: the job is queued again, or failed if it was its last attempt, or
/// cancelled if it was called off.
///
/// Binds 1 now, 2 when to try again, 3 outcome, 4 when it expires if it is over, 5 leases that end by then are lost
/// ([`crate::transition::Event::LoseLease`]). Returns the jobs as they are now.
pub const REAP: Statement = statement! {
    "UPDATE jobs SET " attempt_failed
    "WHERE seq IN (SELECT seq FROM jobs WHERE status = 'running' AND lease_until <= $5"
    postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING " columns
};

/// Moves times that no clock running evenly could have written to the latest that it could have, after the clock went
/// back ([`crate::lease`]).
///
/// Binds 1 now, 2 the latest `run_at` of a job that was tried (now and the backoff's cap), 3 the latest end of a lease,
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

/// Takes away what is told of jobs that were over long enough.
///
/// Binds 1 now, 2 how many at most. Returns `id` of each.
pub const EXPIRE: Statement = statement! {
    "UPDATE jobs SET status = 'expired', payload = NULL, outcome = NULL, stage = NULL \
     WHERE seq IN (SELECT seq FROM jobs \
     WHERE status IN ('completed', 'failed', 'cancelled') AND expires_at <= $1 ORDER BY expires_at LIMIT $2"
    postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING id"
};

/// Artefacts that nobody needs any more: inputs of jobs that are over, results of jobs that expired. They are listed until
/// [`FORGET_ARTIFACT`] says that they are deleted, and their rows stay as long, so that a crash in between loses none.
///
/// Binds 1 how many. Returns `seq` and `artifact`.
pub const DOOMED_ARTIFACTS: Statement = statement! {
    "SELECT seq, input AS artifact FROM jobs WHERE input IS NOT NULL AND finished_at IS NOT NULL \
     UNION ALL \
     SELECT seq, result AS artifact FROM jobs WHERE result IS NOT NULL AND status = 'expired' LIMIT $1"
};

/// Says that a doomed artefact is deleted.
///
/// Binds 1 seq, 2 artefact. Returns `seq`. No row: it was said before.
pub const FORGET_ARTIFACT: Statement = statement! {
    "UPDATE jobs SET input = CASE WHEN input = $2 THEN NULL ELSE input END, \
     result = CASE WHEN result = $2 THEN NULL ELSE result END \
     WHERE seq = $1 AND ((input = $2 AND finished_at IS NOT NULL) OR (result = $2 AND status = 'expired')) \
     RETURNING seq"
};

/// Every artefact that some job names. What lies in the store beside them, and not since a moment ago, was left by a
/// crash: before its job was taken in, or by a worker whose lease was lost.
///
/// Binds nothing. Returns `artifact`.
pub const NAMED_ARTIFACTS: Statement = statement! {
    "SELECT input AS artifact FROM jobs WHERE input IS NOT NULL \
     UNION ALL SELECT result AS artifact FROM jobs WHERE result IS NOT NULL"
};

/// Deletes the rows of jobs that expired long enough ago and name no artefact.
///
/// Binds 1 expired by then ([`crate::expiry::Retention::rows_until`]), 2 how many at most. Returns `id` of each.
pub const DELETE: Statement = statement! {
    "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs \
     WHERE status = 'expired' AND expires_at <= $1 AND input IS NULL AND result IS NULL \
     ORDER BY expires_at LIMIT $2"
    postgres(" FOR UPDATE SKIP LOCKED") ") \
     RETURNING id"
};
