//! Reading jobs. These statements write nothing.

use super::Statement;

/// Reads one job.
///
/// Binds 1 id. Returns the job.
pub const GET: Statement = statement! { "SELECT " columns " FROM jobs WHERE id = $1" };

/// Reads the latest job of a kind and a subject, among those with idempotency keys.
///
/// Binds 1 kind, 2 subject. Returns the job.
pub const LATEST: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE kind = $1 AND idempotency_key IS NOT NULL AND subject = $2 \
     ORDER BY seq DESC LIMIT 1"
};

/// Reads an owner's jobs, the latest first, a page at a time.
///
/// Binds 1 owner, 2 kind, 3 statuses as a text with a comma before and after each, 4 subject, 5 pattern of the id for LIKE,
/// 6 the earliest and 7 the latest time of acceptance, 8 a text that the outcome contains, 9 level of the priority, each or NULL
/// for any; 10 the last `seq` of the previous page or NULL for the first page, 11 maximum number of jobs. Returns jobs. Jobs that
/// arrive meanwhile shift no page, because a page begins after a job and not after a count.
pub const LIST: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE owner = $1" listed
    " AND ($10 IS NULL OR seq < $10) ORDER BY seq DESC LIMIT $11"
};

/// As [`LIST`], the oldest first.
pub const LIST_OLDEST: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE owner = $1" listed
    " AND ($10 IS NULL OR seq > $10) ORDER BY seq LIMIT $11"
};

/// As [`LIST`], of all owners: the first value is NULL. It reads the table in its order, as far as the page reaches. The other
/// statement finds the jobs of one owner by an index.
pub const LIST_ALL: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE ($1 IS NULL OR owner = $1)" listed
    " AND ($10 IS NULL OR seq < $10) ORDER BY seq DESC LIMIT $11"
};

/// As [`LIST_ALL`], the oldest first.
pub const LIST_ALL_OLDEST: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE ($1 IS NULL OR owner = $1)" listed
    " AND ($10 IS NULL OR seq > $10) ORDER BY seq LIMIT $11"
};

/// Counts the jobs that the lists have in all, or after a page.
///
/// Binds 1 owner or NULL for any, 2 to 9 as [`LIST`] does. Returns `jobs`.
pub const COUNT_LISTED: Statement = statement! {
    "SELECT count(*) AS jobs FROM jobs WHERE ($1 IS NULL OR owner = $1)" listed
};

/// Counts the jobs ahead of a queued job, by kind, subject and version. Jobs that wait for their next attempt count.
///
/// Binds 1 id. Returns `kind`, `subject`, `version`, `jobs`, a row for each combination that occurs; if no job is ahead, one
/// row with NULL, NULL, NULL and 0. No row: the job does not exist or is not queued.
pub const AHEAD: Statement = statement! {
    "SELECT ahead.kind AS kind, ahead.subject AS subject, ahead.version AS version, count(ahead.seq) AS jobs \
     FROM jobs AS job LEFT JOIN jobs AS ahead \
     ON ahead.status = 'queued' AND (ahead.rank, ahead.turn, ahead.seq) < (job.rank, job.turn, job.seq) \
     WHERE job.id = $1 AND job.status = 'queued' GROUP BY ahead.kind, ahead.subject, ahead.version"
};

/// Counts the jobs that are ahead of the place which a new job would get.
///
/// Binds 1 account, 2 priority's level, 3 now, 4 rank of this priority and time, as [`super::intake::ENQUEUE`] does. Returns `kind`,
/// `subject`, `version`, `jobs`, a row for each combination that occurs.
pub const AHEAD_OF_NEW_JOB: Statement = statement! {
    "SELECT kind, subject, version, count(*) AS jobs FROM jobs, (" place_of_new_job ") AS place \
     WHERE status = 'queued' AND (jobs.rank, jobs.turn) <= (place.rank, place.turn) GROUP BY kind, subject, version"
};

/// Reads the queue in the order of work, to find the positions of many jobs at once.
///
/// Binds 1 maximum number of jobs, 2 kind or NULL for any. Returns `id`, `kind`, `subject`, `version`.
pub const QUEUED: Statement = statement! {
    "SELECT id, kind, subject, version FROM jobs WHERE status = 'queued' AND ($2 IS NULL OR kind = $2) \
     ORDER BY rank, turn, seq LIMIT $1"
};

/// Counts the jobs by kind, status and priority.
///
/// Binds nothing. Returns `kind`, `status`, `priority`, `jobs`, a row for each combination that occurs.
pub const COUNTS: Statement = statement! { dialect(counts) " ORDER BY kind, status, priority" };

/// Reads since when the longest waiting job of each priority waits.
///
/// Binds nothing. Returns `priority` and `enqueued_at`, a row for each priority that has queued jobs.
pub const OLDEST_QUEUED: Statement = statement! {
    "SELECT priority, min(enqueued_at) AS enqueued_at FROM jobs WHERE status = 'queued' \
     GROUP BY priority ORDER BY priority"
};

/// Reads the jobs that have not finished, or finished at a time or later and have not expired, a page at a time, to compare them
/// with an audit log at the start of a server.
///
/// Binds 1 the earliest end, 2 the last `seq` of the previous page or 0, 3 maximum number of jobs. Returns jobs.
pub const UNEXPIRED: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE seq > $2 AND status <> 'expired' \
     AND (finished_at IS NULL OR finished_at >= $1) ORDER BY seq LIMIT $3"
};

/// Counts the running jobs of a kind, and the processes that run them.
///
/// Binds 1 kind. Returns `jobs`, `holders`.
pub const BUSY: Statement = statement! {
    "SELECT count(*) AS jobs, count(DISTINCT lease_holder) AS holders FROM jobs WHERE status = 'running' AND kind = $1"
};

/// Reads how long the last completed jobs of a kind ran, from the claim to the end.
///
/// Binds 1 kind, 2 maximum number of jobs. Returns `took`, in milliseconds.
pub const RUN_TIMES: Statement = statement! {
    "SELECT finished_at - started_at AS took FROM (SELECT finished_at, started_at, kind, status FROM jobs \
     WHERE status IN ('completed', 'failed', 'cancelled') ORDER BY expires_at DESC LIMIT $2) AS latest \
     WHERE status = 'completed' AND kind = $1 AND started_at IS NOT NULL"
};

/// Reads the last completed jobs of a subject, the latest first, to begin a [`crate::prediction::History`] with. Their kind
/// decodes from the outcome how long the work took: the time between start and end would count a cached result as work.
///
/// Binds 1 kind, 2 subject, 3 maximum number of jobs. Returns jobs.
pub const COMPLETED: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE kind = $1 AND subject = $2 AND status = 'completed' \
     ORDER BY seq DESC LIMIT $3"
};
