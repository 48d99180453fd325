//! One text for two dialects.

/// A database that the statements are written for.
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

/// A statement of pieces that stand in both dialects, or only in `sqlite(…)` or `postgres(…)`. A name is that of a macro
/// which gives a piece.
macro_rules! statement {
    (@$dialect:ident [$($done:tt)*]) => { concat!($($done)*) };
    (@sqlite [$($done:tt)*] sqlite($piece:literal) $($rest:tt)*) => {
        statement!(@sqlite [$($done)* $piece,] $($rest)*)
    };
    (@postgres [$($done:tt)*] postgres($piece:literal) $($rest:tt)*) => {
        statement!(@postgres [$($done)* $piece,] $($rest)*)
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

/// A whole job, as [`crate::row::JobRow`] names its columns.
macro_rules! columns {
    () => {
        "seq, id, kind, subject, version, owner, priority, rank, status, run_at, enqueued_at, started_at, finished_at, \
         expires_at, attempts, max_attempts, lease_token, lease_holder, lease_until, cancel_requested_at, \
         idempotency_key, body_digest, payload, input, result, outcome, stage, percent"
    };
}

/// What becomes of a job when an attempt came to nothing: cancelled if it was called off, failed if that was its last
/// attempt, and queued again otherwise. Binds 1 now, 2 when to try again, 3 outcome, 4 when it expires if it is over.
macro_rules! attempt_failed {
    () => {
        "status = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' \
         WHEN attempts >= max_attempts THEN 'failed' ELSE 'queued' END, \
         outcome = CASE WHEN cancel_requested_at IS NOT NULL THEN outcome ELSE $3 END, \
         run_at = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN run_at ELSE $2 END, \
         stage = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN stage END, \
         percent = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN percent ELSE 0 END, \
         finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN $1 END, \
         expires_at = CASE WHEN cancel_requested_at IS NOT NULL OR attempts >= max_attempts THEN $4 END, \
         lease_holder = NULL, lease_until = NULL "
    };
}

/// Makes each `$` a `?`. No statement has one that is not a parameter's.
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

#[expect(clippy::panic, reason = "it is evaluated when this crate is compiled, and nowhere else")]
pub(super) const fn utf8(bytes: &'static [u8]) -> &'static str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("one ASCII character was put in place of another"),
    }
}
