//! The statements of the queue, each for SQLite and for PostgreSQL.
//!
//! A statement is written once, with `$1` for parameters as PostgreSQL has them; the few differences stand side by side.
//! SQLite's text gets `?1` instead, so that values are bound by number. The doc of a statement lists the values that it
//! binds, in order, and the columns that it returns. All types are 64-bit integers and texts, so that the same code binds
//! and reads on both databases. Times are Unix milliseconds.
//!
//! Each statement is atomic. SQLite has a single writer. PostgreSQL runs at its default isolation, READ COMMITTED: an
//! `UPDATE` that waited for another one reads the row again, so that the condition on token and status holds at the moment
//! of the write. Statements that take rows from a set that others take from as well skip locked rows.
//!
//! # How SQLite is opened
//!
//! With `journal_mode = WAL`, a `busy_timeout`, and `synchronous = NORMAL`, which does not wait for the disk: a power failure,
//! though no crash of the process, can undo the last writes. A job is therefore confirmed to its caller only after SQLite's log
//! was synced to the disk. The writes of workers need not be durable at once: a job whose end is undone runs again. Its input
//! must still exist then, so such a sync also comes between [`upkeep::DOOMED_ARTIFACTS`] and the removal of the artifacts.
//!
//! - [`intake`]: enqueueing jobs.
//! - [`work`]: the statements of workers. Every write after the claim binds `id` and `lease_token`, requires `status = 'running'`,
//!   and returns no row if the lease is lost.
//! - [`view`]: reading jobs.
//! - [`upkeep`]: cancelling, and periodic maintenance.
//! - [`circuits`]: circuits that were built.
//! - [`deployments`]: their contracts on chains.
//! - [`webhooks`]: requests that are owed to callers of jobs.
//! - [`vouchers`]: how often tokens of pages were used.
//! - [`audit`]: an audit log in a database, for a queue that has no file for it.

#[macro_use]
mod statement;

pub mod audit;
pub mod circuits;
pub mod deployments;
pub mod intake;
pub mod sealed_bodies;
pub mod upkeep;
pub mod view;
pub mod vouchers;
pub mod webhooks;
pub mod work;

pub use statement::{Dialect, Statement};

/// A step from one version of the tables to the next. Released steps never change.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number, from 1.
    pub version: i64,
    /// Its name.
    pub name: &'static str,
    /// Several statements, which run in one transaction.
    pub script: Statement,
}

/// All steps of the tables of queue, circuits, webhooks, vouchers and sealed bodies, in order.
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
        name: "job counts",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0002_job_counts.sql"),
            postgres: include_str!("../sql/postgres/0002_job_counts.sql"),
        },
    },
    Migration {
        version: 3,
        name: "circuits",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0003_circuits.sql"),
            postgres: include_str!("../sql/postgres/0003_circuits.sql"),
        },
    },
    Migration {
        version: 4,
        name: "webhooks",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0004_webhooks.sql"),
            postgres: include_str!("../sql/postgres/0004_webhooks.sql"),
        },
    },
    Migration {
        version: 5,
        name: "vouchers",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0005_vouchers.sql"),
            postgres: include_str!("../sql/postgres/0005_vouchers.sql"),
        },
    },
    Migration {
        version: 6,
        name: "counts of requeued jobs",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0006_requeued_counts.sql"),
            postgres: include_str!("../sql/postgres/0006_requeued_counts.sql"),
        },
    },
    Migration {
        version: 7,
        name: "sealed bodies",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0007_sealed_bodies.sql"),
            postgres: include_str!("../sql/postgres/0007_sealed_bodies.sql"),
        },
    },
    Migration {
        version: 8,
        name: "turns of running jobs",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0008_running_turns.sql"),
            postgres: include_str!("../sql/postgres/0008_running_turns.sql"),
        },
    },
    Migration {
        version: 9,
        name: "counts of PostgreSQL",
        script: Statement {
            sqlite: include_str!("../sql/sqlite/0009_postgres_counts.sql"),
            postgres: include_str!("../sql/postgres/0009_postgres_counts.sql"),
        },
    },
];

/// Reads the current time from PostgreSQL's clock, also within a transaction. Returns one BIGINT.
pub const POSTGRES_NOW: &str = "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";

/// Every statement with its name, for tests of all of them.
pub const ALL: &[(&str, Statement)] = &[
    ("ENQUEUE", intake::ENQUEUE),
    ("FIND_BY_KEY", intake::FIND_BY_KEY),
    ("LOAD", intake::LOAD),
    ("CLAIM", work::CLAIM),
    ("CLAIM_SEVERAL", work::CLAIM_SEVERAL),
    ("HEARTBEAT", work::HEARTBEAT),
    ("REPORT_STAGE", work::REPORT_STAGE),
    ("FINISH", work::FINISH),
    ("RETRY", work::RETRY),
    ("RELEASE", work::RELEASE),
    ("NEXT_DUE", work::NEXT_DUE),
    ("GET", view::GET),
    ("LATEST", view::LATEST),
    ("LIST", view::LIST),
    ("LIST_OLDEST", view::LIST_OLDEST),
    ("LIST_ALL", view::LIST_ALL),
    ("LIST_ALL_OLDEST", view::LIST_ALL_OLDEST),
    ("COUNT_LISTED", view::COUNT_LISTED),
    ("AHEAD", view::AHEAD),
    ("AHEAD_OF_NEW_JOB", view::AHEAD_OF_NEW_JOB),
    ("QUEUED", view::QUEUED),
    ("COUNTS", view::COUNTS),
    ("OLDEST_QUEUED", view::OLDEST_QUEUED),
    ("UNEXPIRED", view::UNEXPIRED),
    ("BUSY", view::BUSY),
    ("RUN_TIMES", view::RUN_TIMES),
    ("COMPLETED", view::COMPLETED),
    ("CANCEL", upkeep::CANCEL),
    ("REQUEUE", upkeep::REQUEUE),
    ("REAP", upkeep::REAP),
    ("RECOVER", upkeep::RECOVER),
    ("ABANDON", upkeep::ABANDON),
    ("SETTLE", upkeep::SETTLE),
    ("EXPIRE", upkeep::EXPIRE),
    ("DOOMED_ARTIFACTS", upkeep::DOOMED_ARTIFACTS),
    ("FORGET_ARTIFACT", upkeep::FORGET_ARTIFACT),
    ("NAMED_ARTIFACTS", upkeep::NAMED_ARTIFACTS),
    ("DELETE", upkeep::DELETE),
    ("PUBLISH_CIRCUIT", circuits::PUBLISH),
    ("CIRCUIT_TOTALS", circuits::TOTALS),
    ("FIND_CIRCUIT", circuits::FIND),
    ("LIST_CIRCUITS", circuits::LIST),
    ("CIRCUIT_VERSIONS", circuits::VERSIONS),
    ("DESCRIBE_CIRCUIT", circuits::DESCRIBE),
    ("REMOVE_CIRCUIT", circuits::REMOVE),
    ("PLAN_DEPLOYMENT", deployments::PLAN),
    ("BEGIN_DEPLOYMENT", deployments::BEGIN),
    ("STORE_DEPLOYMENT", deployments::STORE),
    ("REOPEN_DEPLOYMENT", deployments::REOPEN),
    ("FIND_DEPLOYMENT", deployments::FIND),
    ("LIST_DEPLOYMENTS", deployments::LIST),
    ("OWE_WEBHOOK", webhooks::OWE),
    ("FIND_WEBHOOK", webhooks::FIND),
    ("WITHDRAW_WEBHOOK", webhooks::WITHDRAW),
    ("FINISHED_WEBHOOK", webhooks::FINISHED),
    ("MAKE_WEBHOOKS_DUE", webhooks::MAKE_DUE),
    ("CLAIM_WEBHOOK", webhooks::CLAIM),
    ("STORE_WEBHOOK_BODY", webhooks::STORE_BODY),
    ("END_WEBHOOK", webhooks::END),
    ("REPEAT_WEBHOOK", webhooks::REPEAT),
    ("STATE_OF_WEBHOOKS", webhooks::STATE),
    ("SETTLE_WEBHOOKS", webhooks::SETTLE),
    ("FORGET_WEBHOOKS", webhooks::FORGET),
    ("FORGET_ORPHANED_WEBHOOKS", webhooks::FORGET_ORPHANS),
    ("USE_VOUCHER", vouchers::USE),
    ("GIVE_BACK_USE", vouchers::GIVE_BACK),
    ("FORGET_VOUCHERS", vouchers::FORGET),
    ("REMEMBER_SEALED_BODY", sealed_bodies::REMEMBER),
    ("FORGET_SEALED_BODIES", sealed_bodies::FORGET),
    ("AUDIT_HEAD", audit::HEAD),
    ("AUDIT_APPEND", audit::APPEND),
    ("AUDIT_READ", audit::READ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_own_form_of_parameters() {
        for (name, statement) in ALL {
            assert!(!statement.sqlite.contains('$'), "{name}: {}", statement.sqlite);
            assert!(!statement.postgres.contains('?'), "{name}: {}", statement.postgres);
            let same = statement.postgres.replace(load!(postgres), load!(sqlite));
            let same = same.replace(counts!(postgres), counts!(sqlite));
            let same = same.replace('$', "?").replace(" FOR UPDATE SKIP LOCKED", "");
            assert_eq!(
                statement
                    .sqlite
                    .replace("json_each(?3)", "CAPABILITIES")
                    .replace("(SELECT key + 1 AS number, value AS holder FROM json_each(?4)) AS wanted", "HOLDERS")
                    .replace("json_each(?4)", "NAMES"),
                same.replace("jsonb_array_elements(CAST(?3 AS JSONB))", "CAPABILITIES")
                    .replace(
                        "jsonb_array_elements_text(CAST(?4 AS JSONB)) WITH ORDINALITY AS wanted(holder, number)",
                        "HOLDERS",
                    )
                    .replace("jsonb_array_elements_text(CAST(?4 AS JSONB))", "NAMES")
                    .replace(" FOR UPDATE", ""),
                "{name}: the dialects differ in more than necessary"
            );
        }
    }

    #[test]
    fn both_dialects_have_the_same_tables() {
        let in_both = MIGRATIONS.iter().filter(|migration| !migration.name.contains("counts"));
        for Migration { name, script, .. } in in_both.chain(audit::MIGRATIONS) {
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
    fn every_write_of_a_worker_checks_its_claim() {
        for statement in [work::HEARTBEAT, work::REPORT_STAGE, work::FINISH, work::RETRY, work::RELEASE] {
            let (_, condition) = statement.postgres.split_once(" WHERE ").expect("it has a condition");
            let claim = condition.replace("$5", "$1").replace("$6", "$2");
            assert!(
                claim.starts_with("id = $1 AND lease_token = $2 AND status = 'running' RETURNING"),
                "{claim}"
            );
        }
    }
}
