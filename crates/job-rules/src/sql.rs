//! The queue's statements, each in SQLite's dialect and in PostgreSQL's.
//!
//! Both say the same: a statement is written once, with PostgreSQL's `$1` for parameters, and what only one dialect has
//! stands beside what the other has in its place. SQLite's text gets `?1` instead, which takes values by number whatever
//! binds them. Each statement's doc says what it binds, in order, and what it returns. Types are 64-bit integers and text
//! throughout, so that one piece of code can bind and read on both sides; times are Unix milliseconds.
//!
//! Each statement is one step that happens or does not. SQLite has a single writer. PostgreSQL is used at its default
//! isolation, READ COMMITTED: an `UPDATE` that waited for another looks at the row again as that one left it, so the
//! condition on token and status holds at the moment of the write. Whoever takes rows from a heap that others take from
//! as well skips those that are locked.
//!
//! # How SQLite is opened
//!
//! `journal_mode = WAL`, a `busy_timeout`, and `synchronous = NORMAL`, which waits for no disk: a power cut, though no crash
//! of the process, can undo the last writes. So a commit on a connection with `synchronous = FULL`, which takes along what
//! was committed before it, stands between taking a job in and saying so; what was accepted then outlives a power cut. What
//! workers write need not be waited for: a job whose end was undone is done again. What it is done from must still be
//! there, so such a commit also stands between [`upkeep::DOOMED_ARTIFACTS`] and deleting what that listed.
//!
//! - [`intake`]: taking jobs in.
//! - [`work`]: what a worker does. Every write after the claim carries `id`, `lease_token` and `status = 'running'`, and
//!   returns no row when the lease is lost.
//! - [`view`]: looking at jobs.
//! - [`upkeep`]: cancelling, and what has to be done from time to time.
//! - [`audit`]: the audit log, one chain for all servers of a database.

#[macro_use]
mod statement;

pub mod audit;
pub mod intake;
pub mod upkeep;
pub mod view;
pub mod work;

pub use statement::{Dialect, Statement};

/// A step from one version of the tables to the next. Released ones never change.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its place, from 1.
    pub version: i64,
    /// What it does.
    pub name: &'static str,
    /// Several statements, to be run in one transaction.
    pub script: Statement,
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "jobs",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0001_jobs.sql"),
            postgres: include_str!("../sql/postgres/0001_jobs.sql"),
        },
    },
    Migration {
        version: 2,
        name: "audit",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0002_audit.sql"),
            postgres: include_str!("../sql/postgres/0002_audit.sql"),
        },
    },
];

/// The time by PostgreSQL's own clock, also within a transaction. Returns one BIGINT.
pub const POSTGRES_NOW: &str = "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";

/// Every statement with its name, for tests that look at all of them.
pub const ALL: &[(&str, Statement)] = &[
    ("ENQUEUE", intake::ENQUEUE),
    ("FIND_BY_KEY", intake::FIND_BY_KEY),
    ("CROWD", intake::CROWD),
    ("CLAIM", work::CLAIM),
    ("HEARTBEAT", work::HEARTBEAT),
    ("PROGRESS", work::PROGRESS),
    ("FINISH", work::FINISH),
    ("RETRY", work::RETRY),
    ("RELEASE", work::RELEASE),
    ("NEXT_DUE", work::NEXT_DUE),
    ("GET", view::GET),
    ("LIST", view::LIST),
    ("AHEAD", view::AHEAD),
    ("ORDER", view::ORDER),
    ("COUNTS", view::COUNTS),
    ("OLDEST_QUEUED", view::OLDEST_QUEUED),
    ("DURATIONS", view::DURATIONS),
    ("CANCEL", upkeep::CANCEL),
    ("REAP", upkeep::REAP),
    ("SETTLE", upkeep::SETTLE),
    ("EXPIRE", upkeep::EXPIRE),
    ("DOOMED_ARTIFACTS", upkeep::DOOMED_ARTIFACTS),
    ("FORGET_ARTIFACT", upkeep::FORGET_ARTIFACT),
    ("NAMED_ARTIFACTS", upkeep::NAMED_ARTIFACTS),
    ("DELETE", upkeep::DELETE),
    ("AUDIT_HEAD", audit::HEAD),
    ("AUDIT_APPEND", audit::APPEND),
    ("AUDIT_READ", audit::READ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_written_as_each_dialect_likes_them() {
        for (name, statement) in ALL {
            assert!(!statement.sqlite.contains('$'), "{name}: {}", statement.sqlite);
            assert!(!statement.postgres.contains('?'), "{name}: {}", statement.postgres);
            let same = statement.postgres.replace('$', "?").replace(" FOR UPDATE SKIP LOCKED", "");
            assert_eq!(
                statement.sqlite.replace("json_each(?3)", "SKILLS"),
                same.replace("jsonb_array_elements(CAST(?3 AS JSONB))", "SKILLS").replace(" FOR UPDATE", ""),
                "{name}: the dialects differ in more than they have to"
            );
        }
    }

    #[test]
    fn the_tables_are_the_same_in_both_dialects() {
        for Migration { name, script, .. } in MIGRATIONS {
            let sqlite = script
                .sqlite
                .replace(
                    "INTEGER PRIMARY KEY AUTOINCREMENT",
                    "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
                )
                .replace(" INTEGER", " BIGINT")
                .replace(") STRICT;", ");");
            assert_eq!(sqlite, script.postgres, "{name}");
        }
    }

    #[test]
    fn every_write_of_a_worker_shows_its_claim() {
        for statement in [work::HEARTBEAT, work::PROGRESS, work::FINISH, work::RETRY, work::RELEASE] {
            let (_, condition) = statement.postgres.split_once(" WHERE ").expect("it has a condition");
            let claim = condition.replace("$5", "$1").replace("$6", "$2");
            assert!(
                claim.starts_with("id = $1 AND lease_token = $2 AND status = 'running' RETURNING"),
                "{claim}"
            );
        }
    }
}
