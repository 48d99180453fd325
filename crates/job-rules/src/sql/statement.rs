//! SQL statements that are written once for two dialects.

/// The database that a statement is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite 3.38 or later, as a library or in a Durable Object.
    Sqlite,
    /// PostgreSQL 12 or later.
    Postgres,
}

/// A statement in both dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// For SQLite, with parameters as `?1`.
    pub sqlite: &'static str,
    /// For PostgreSQL, with parameters as `$1`.
    pub postgres: &'static str,
}

impl Statement {
    /// The text for this database.
    #[must_use]
    pub const fn text(self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// Makes a statement from pieces that both dialects have, and pieces in `sqlite(…)` or `postgres(…)` that one has. A name is
/// that of a macro that expands to a piece; in `dialect(…)`, to a piece of its own for each dialect.
macro_rules! statement {
    (@$dialect:ident [$($done:tt)*]) => { concat!($($done)*) };
    (@sqlite [$($done:tt)*] sqlite($piece:literal) $($rest:tt)*) => {
        statement!(@sqlite [$($done)* $piece,] $($rest)*)
    };
    (@postgres [$($done:tt)*] postgres($piece:literal) $($rest:tt)*) => {
        statement!(@postgres [$($done)* $piece,] $($rest)*)
    };
    (@$dialect:ident [$($done:tt)*] dialect($name:ident) $($rest:tt)*) => {
        statement!(@$dialect [$($done)* $name!($dialect),] $($rest)*)
    };
    (@$dialect:ident [$($done:tt)*] $other:ident($piece:literal) $($rest:tt)*) => {
        statement!(@$dialect [$($done)*] $($rest)*)
    };
    (@$dialect:ident [$($done:tt)*] $name:ident $($rest:tt)*) => {
        statement!(@$dialect [$($done)* $name!(),] $($rest)*)
    };
    (@$dialect:ident [$($done:tt)*] $piece:literal $($rest:tt)*) => {
        statement!(@$dialect [$($done)* $piece,] $($rest)*)
    };
    ($($pieces:tt)+) => {{
        const DOLLARS: &str = statement!(@sqlite [] $($pieces)+);
        const QUESTION_MARKS: [u8; DOLLARS.len()] = $crate::sql::statement::question_marks(DOLLARS);
        $crate::sql::Statement {
            sqlite: $crate::sql::statement::utf8(&QUESTION_MARKS),
            postgres: statement!(@postgres [] $($pieces)+),
        }
    }};
}

/// The columns of a job, as [`crate::row::JobRow`] names them.
macro_rules! columns {
    () => {
        "seq, id, kind, subject, version, owner, account, priority, rank, turn, status, run_at, enqueued_at, started_at, \
         finished_at, expires_at, attempts, max_attempts, lease_token, lease_holder, lease_until, cancel_requested_at, \
         idempotency_key, body_digest, payload, input, result, outcome, stage, stage_started_at, \
         stage_estimate"
    };
}

/// The conditions of a list of jobs. Binds 2 to 9 as [`crate::sql::view::LIST`] does.
macro_rules! listed {
    () => {
        " AND ($2 IS NULL OR kind = $2) AND ($3 IS NULL OR replace($3, ',' || status || ',', '') <> $3) \
         AND ($4 IS NULL OR subject = $4) AND ($5 IS NULL OR id LIKE $5) AND ($6 IS NULL OR enqueued_at >= $6) \
         AND ($7 IS NULL OR enqueued_at <= $7) AND ($8 IS NULL OR replace(outcome, $8, '') <> outcome) \
         AND ($9 IS NULL OR priority = $9)"
    };
}

/// The columns of a circuit that was built.
macro_rules! circuit_columns {
    () => {
        "id, hash, version, target, description, package, package_bytes, published_at, family, family_size"
    };
}

/// The number of circuits and the bytes of their packages: a query of one row, `circuits` and `bytes`.
macro_rules! totals {
    () => {
        "SELECT count(*) AS circuits, CAST(coalesce(sum(package_bytes), 0) AS BIGINT) AS bytes FROM circuits"
    };
}

/// The condition that a worker with these capabilities takes a job. Binds 3 the capabilities ([`crate::capability::json`]).
macro_rules! takes {
    () => {
        " AS capability WHERE capability.value ->> 0 = kind AND coalesce(capability.value ->> 1, subject) = subject \
         AND coalesce(capability.value ->> 2, version) = version) "
    };
}

/// The place of a new job in the order of work, as [`crate::turn`] describes it: a query of one row, `rank` and `turn`. Binds 1
/// account, 2 level of the job's priority, 3 now, 4 rank of a job of this priority that goes ahead of nobody.
macro_rules! place_of_new_job {
    () => {
        concat!(
            // Each priority up to the job's: the last turn of the account's own jobs, and the turn of an account without jobs.
            // Materialized, since each of its columns is used several times.
            "WITH found AS MATERIALIZED (SELECT level, \
             (SELECT max(turn) FROM jobs WHERE account = $1 AND priority = level AND finished_at IS NULL) AS own, \
             (SELECT max(turn) FROM jobs WHERE status = 'running' AND priority = level) AS running, \
             (SELECT turn FROM jobs WHERE status = 'queued' AND priority = level AND run_at <= $3 \
             ORDER BY turn, seq LIMIT 1) AS queued \
             FROM (SELECT CAST(0 AS BIGINT) AS level UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS levels \
             WHERE level <= $2), turns AS (SELECT level, own, CASE WHEN running IS NULL THEN coalesce(queued, 0) \
             WHEN running < queued - ",
            $crate::turn::step!(),
            " THEN queued ELSE running + ",
            $crate::turn::newcomer!(),
            " END AS newcomer FROM found), ",
            "arrival AS (SELECT own IS NULL AS is_first, CASE WHEN own + ",
            $crate::turn::step!(),
            " > newcomer THEN own + ",
            $crate::turn::step!(),
            " ELSE newcomer END AS turn FROM turns WHERE level = $2), ",
            // The ranks that the job takes over, lowered where turns cannot be compared because the priority differs.
            "followers AS (SELECT CASE WHEN level = $2 THEN 0 ELSE 1 END AS ahead, \
             (SELECT rank FROM jobs WHERE status = 'queued' AND priority = level \
             AND turn > CASE WHEN level = $2 THEN arrival.turn ELSE newcomer END ORDER BY turn, seq LIMIT 1) AS rank \
             FROM turns, arrival WHERE level = $2 OR is_first), ",
            "passed AS (SELECT min(rank - ahead) AS rank FROM followers) ",
            "SELECT CASE WHEN passed.rank < $4 THEN passed.rank ELSE $4 END AS rank, arrival.turn AS turn FROM arrival, passed"
        )
    };
}

/// The numbers of jobs that a new one is compared with: a query of one row, `queued`, `queued_of_account` and
/// `unfinished_of_account`. Binds 1 account. Triggers have counted them before.
macro_rules! load {
    (sqlite) => {
        "SELECT queued, coalesce((SELECT queued FROM job_counts WHERE account = $1), 0) AS queued_of_account, \
         coalesce((SELECT unfinished FROM job_counts WHERE account = $1), 0) AS unfinished_of_account FROM queue_counts"
    };
    // Each connection counts in rows of its own.
    (postgres) => {
        "SELECT (SELECT CAST(coalesce(sum(queued), 0) AS BIGINT) FROM queue_counts) AS queued, \
         CAST(coalesce(sum(queued), 0) AS BIGINT) AS queued_of_account, \
         CAST(coalesce(sum(queued + running), 0) AS BIGINT) AS unfinished_of_account FROM job_counts WHERE account = $1"
    };
}

/// The numbers of jobs by kind, status and priority: a query of `kind`, `status`, `priority` and `jobs`.
macro_rules! counts {
    (sqlite) => {
        "SELECT kind, status, priority, count(*) AS jobs FROM jobs GROUP BY kind, status, priority"
    };
    (postgres) => {
        "SELECT kind, status, priority, CAST(sum(jobs) AS BIGINT) AS jobs FROM (SELECT kind, priority, \
         unnest(ARRAY['queued', 'running', 'completed', 'failed', 'cancelled', 'expired']) AS status, \
         unnest(ARRAY[queued, running, completed, failed, cancelled, expired]) AS jobs FROM job_counts) AS by_account \
         GROUP BY kind, status, priority HAVING sum(jobs) <> 0"
    };
}

/// Sets the columns of a job whose attempt failed: cancelled if a caller requested that, failed if that was the last attempt,
/// and queued otherwise. Binds 1 now, 2 earliest start of the next attempt, 3 outcome, 4 expiry if the job has finished.
macro_rules! attempt_failed {
    () => {
        "status = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' \
         WHEN attempts >= max_attempts THEN 'failed' ELSE 'queued' END, \
         outcome = CASE WHEN cancel_requested_at IS NOT NULL THEN outcome ELSE $3 END, \
         run_at = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN run_at ELSE $2 END, \
         stage = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN stage END, \
         stage_started_at = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN stage_started_at END, \
         stage_estimate = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN stage_estimate END, \
         finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN $1 END, \
         expires_at = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN $4 END, \
         lease_holder = NULL, lease_until = NULL "
    };
}

/// Replaces each `$` by `?`. Statements have `$` in parameters only.
pub(super) const fn question_marks<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = if text[at] == b'$' { b'?' } else { text[at] };
        at += 1;
    }
    bytes
}

#[expect(clippy::panic, reason = "it is evaluated when this crate is compiled, and at no other time")]
pub(super) const fn utf8(bytes: &'static [u8]) -> &'static str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("replacing one ASCII character by another broke the text"),
    }
}
