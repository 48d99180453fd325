//! The queue in a database, held to what the server asks of it: on SQLite in a file and in memory, and on PostgreSQL.
//!
//! Databases are real. PostgreSQL is tested where `EDGEPROVE_TEST_POSTGRES` names one, in which each test makes a schema
//! of its own, and where the machine has its programs, so that a test can start and stop one; else those tests are skipped
//! and say so.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and says so"
)]

mod across_processes;
mod bounds;
mod faults;
mod files;
mod notices;
mod runner;
mod support;
mod upkeep;
mod work;
