//! Tests of the queue in a database: SQLite in a file and in memory, and PostgreSQL.
//!
//! All databases are real. `EDGEPROVE_TEST_POSTGRES` names a PostgreSQL server in which each test creates a schema of its
//! own; without the variable, and for tests that stop the server, a test starts one. Where PostgreSQL's programs are not
//! installed, these tests are recorded as skipped.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

mod across_processes;
mod bounds;
mod faults;
mod files;
mod notices;
mod pull;
mod runner;
mod support;
mod suspended;
mod together;
mod upkeep;
mod work;
