//! Webhooks: requests that are owed to callers of jobs, each until it was delivered or given up.
//!
//! A row is written before its job is accepted, so that no accepted job lacks it, and removed if the job is not accepted. It
//! waits until the job has finished, then it is due. An attempt is a claim: it counts the attempt, and makes the row due again
//! for the case that whoever made the claim never ends it. Writes after the claim bind the number of the attempt, so that an
//! earlier attempt changes nothing.
//!
//! The columns: `account` is whose share of the bounds it takes, and `owner` who is notified. `host` is the host and port of the
//! URL, `url` the URL encrypted, and `url_digest` a keyed digest of it. `due_at` is NULL until the job has finished. `body` is
//! what is sent, from the first attempt on. `ended_at` is when it was delivered or given up; `url` and `body` are removed then.

use super::Statement;

/// The columns that deliveries need.
macro_rules! webhook_columns {
    () => {
        "id, job_id, job_kind, owner, account, host, url, created_at, attempts, body"
    };
}

/// Owes a webhook for a job, unless the bound is reached or it is owed already. A caller may be owed one while it is owed
/// fewer than there are free slots.
///
/// Binds 1 id, 2 job, 3 kind of the job, 4 owner, 5 account, 6 host, 7 encrypted URL, 8 digest of the URL, 9 now, 10 maximum
/// number of owed webhooks. Returns `id`. No row: [`FIND`] shows whether it is owed already.
pub const OWE: Statement = statement! {
    "INSERT INTO webhooks (id, job_id, job_kind, owner, account, host, url, url_digest, created_at, attempts) \
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, 0 FROM (SELECT count(*) AS owed, \
     coalesce(sum(CASE WHEN account = $5 THEN 1 ELSE 0 END), 0) AS own FROM webhooks WHERE ended_at IS NULL) AS load \
     WHERE load.owed + load.own < $10 ON CONFLICT (job_id, account, url_digest) DO NOTHING RETURNING id"
};

/// Finds a webhook.
///
/// Binds 1 job, 2 account, 3 digest of the URL. Returns `id`.
pub const FIND: Statement = statement! {
    "SELECT id FROM webhooks WHERE job_id = $1 AND account = $2 AND url_digest = $3"
};

/// Removes a webhook whose job was not accepted.
///
/// Binds 1 id. Returns `id`.
pub const WITHDRAW: Statement = statement! { "DELETE FROM webhooks WHERE id = $1 RETURNING id" };

/// Finds out whether the job of a waiting webhook has finished.
///
/// Binds nothing. Returns `id` of one.
pub const FINISHED: Statement = statement! {
    "SELECT id FROM webhooks WHERE due_at IS NULL AND EXISTS \
     (SELECT 1 FROM jobs WHERE jobs.id = webhooks.job_id AND jobs.finished_at IS NOT NULL) LIMIT 1"
};

/// Makes the webhooks of finished jobs due.
///
/// Binds 1 now. Returns `id` of each.
pub const MAKE_DUE: Statement = statement! {
    "UPDATE webhooks SET due_at = $1 WHERE due_at IS NULL AND EXISTS \
     (SELECT 1 FROM jobs WHERE jobs.id = webhooks.job_id AND jobs.finished_at IS NOT NULL) RETURNING id"
};

/// Claims the next webhook. First attempts come before further ones, so that servers which do not answer delay nobody else.
///
/// Binds 1 now, 2 the time when it is due again unless the attempt ends before, 3 accounts and hosts that have as many attempts
/// as they may, as a JSON array of `[account, null]` and `[null, host]`. Returns the webhook; `attempts` is the number of
/// this attempt.
pub const CLAIM: Statement = statement! {
    "UPDATE webhooks SET due_at = $2, attempts = attempts + 1 WHERE id = (SELECT id FROM webhooks \
     WHERE ended_at IS NULL AND due_at IS NOT NULL AND due_at <= $1 AND NOT EXISTS (SELECT 1 FROM "
    sqlite("json_each($3)") postgres("jsonb_array_elements(CAST($3 AS JSONB))")
    " AS busy WHERE busy.value ->> 0 = account OR busy.value ->> 1 = host) ORDER BY attempts, due_at LIMIT 1"
    postgres(" FOR UPDATE SKIP LOCKED") ") RETURNING " webhook_columns
};

/// Stores what is sent.
///
/// Binds 1 id, 2 attempt, 3 body. Returns `id`. No row: another attempt began meanwhile.
pub const STORE_BODY: Statement = statement! {
    "UPDATE webhooks SET body = $3 WHERE id = $1 AND attempts = $2 AND ended_at IS NULL RETURNING id"
};

/// Ends a webhook, which was delivered or is given up.
///
/// Binds 1 id, 2 attempt, 3 now. Returns `id`. No row: another attempt began meanwhile.
pub const END: Statement = statement! {
    "UPDATE webhooks SET ended_at = $3, url = NULL, body = NULL \
     WHERE id = $1 AND attempts = $2 AND ended_at IS NULL RETURNING id"
};

/// Repeats a webhook later.
///
/// Binds 1 id, 2 attempt, 3 when it is due. Returns `id`. No row: another attempt began meanwhile.
pub const REPEAT: Statement = statement! {
    "UPDATE webhooks SET due_at = $3 WHERE id = $1 AND attempts = $2 AND ended_at IS NULL RETURNING id"
};

/// Reads the numbers of owed webhooks and of those that are due, and when the next one is due.
///
/// Binds 1 now. Returns `owed`, `due`, and `due_at` or NULL.
pub const STATE: Statement = statement! {
    "SELECT count(*) AS owed, coalesce(sum(CASE WHEN due_at <= $1 THEN 1 ELSE 0 END), 0) AS due, min(CASE WHEN due_at > $1 THEN due_at END) AS due_at \
     FROM webhooks WHERE ended_at IS NULL"
};

/// Moves impossible times to the latest possible ones, after the clock was set back.
///
/// Binds 1 the latest time when a webhook can be due. Returns `id` of each that was changed.
pub const SETTLE: Statement = statement! {
    "UPDATE webhooks SET due_at = $1 WHERE ended_at IS NULL AND due_at > $1 RETURNING id"
};

/// Deletes webhooks that ended long ago.
///
/// Binds 1 the latest end, 2 maximum number. Returns `id` of each.
pub const FORGET: Statement = statement! {
    "DELETE FROM webhooks WHERE id IN (SELECT id FROM webhooks WHERE ended_at IS NOT NULL AND ended_at <= $1 \
     ORDER BY ended_at LIMIT $2"
    postgres(" FOR UPDATE SKIP LOCKED") ") RETURNING id"
};

/// Deletes webhooks of jobs that were never accepted, because their server ended at that moment.
///
/// Binds 1 the latest creation. Returns `id` of each.
pub const FORGET_ORPHANS: Statement = statement! {
    "DELETE FROM webhooks WHERE due_at IS NULL AND created_at <= $1 AND NOT EXISTS \
     (SELECT 1 FROM jobs WHERE jobs.id = webhooks.job_id) RETURNING id"
};
