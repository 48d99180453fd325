//! Looking at jobs. Nothing here writes.

use super::Statement;

/// One job.
///
/// Binds 1 id. Returns the job.
pub const GET: Statement = statement! { "SELECT " columns " FROM jobs WHERE id = $1" };

/// An owner's jobs, the latest first, a page at a time.
///
/// Binds 1 owner, 2 status or NULL for any, 3 subject or NULL for any, 4 the last page's last `seq` or NULL for the first
/// page, 5 how many. Returns jobs. Those that arrive meanwhile shift no page, because a page begins where the last ended
/// and not at a count.
pub const LIST: Statement = statement! {
    "SELECT " columns " FROM jobs WHERE owner = $1 \
     AND ($2 IS NULL OR status = $2) AND ($3 IS NULL OR subject = $3) AND ($4 IS NULL OR seq < $4) \
     ORDER BY seq DESC LIMIT $5"
};

/// What goes before a queued job, counted by what it is. Jobs that wait for their next attempt count.
///
/// Binds 1 id. Returns `kind`, `subject`, `jobs`, a row for each pair that occurs; where nothing goes before it, one row
/// without them and of 0 jobs. No row: there is no such job, or it is not queued.
pub const AHEAD: Statement = statement! {
    "SELECT ahead.kind AS kind, ahead.subject AS subject, count(ahead.seq) AS jobs FROM jobs AS job \
     LEFT JOIN jobs AS ahead ON ahead.status = 'queued' AND (ahead.rank, ahead.seq) < (job.rank, job.seq) \
     WHERE job.id = $1 AND job.status = 'queued' GROUP BY ahead.kind, ahead.subject"
};

/// The queue in the order of work, for whoever tells many jobs their places at once.
///
/// Binds 1 how many. Returns `id`, `kind`, `subject`, `version`.
pub const ORDER: Statement = statement! {
    "SELECT id, kind, subject, version FROM jobs WHERE status = 'queued' ORDER BY rank, seq LIMIT $1"
};

/// How many jobs there are of each status and priority.
///
/// Binds nothing. Returns `status`, `priority`, `jobs`, a row for each pair that occurs.
pub const COUNTS: Statement = statement! {
    "SELECT status, priority, count(*) AS jobs FROM jobs GROUP BY status, priority ORDER BY status, priority"
};

/// Since when the longest waiting job of each priority waits.
///
/// Binds nothing. Returns `priority` and `enqueued_at`, a row for each priority that has queued jobs.
pub const OLDEST_QUEUED: Statement = statement! {
    "SELECT priority, min(enqueued_at) AS enqueued_at FROM jobs WHERE status = 'queued' \
     GROUP BY priority ORDER BY priority"
};

/// How long the last jobs of a subject took, the latest first, to begin a [`crate::prediction::History`] with. One that
/// ran while the clock was set back is left out.
///
/// Binds 1 kind, 2 subject, 3 how many. Returns `took_ms`.
pub const DURATIONS: Statement = statement! {
    "SELECT finished_at - started_at AS took_ms FROM jobs \
     WHERE kind = $1 AND subject = $2 AND status = 'completed' AND finished_at >= started_at \
     ORDER BY seq DESC LIMIT $3"
};
