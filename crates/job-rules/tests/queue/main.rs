//! Compares the queue's statements on real databases with the rules.
//!
//! SQLite is compiled into the tests. `EDGEPROVE_TEST_POSTGRES` names a PostgreSQL server, as
//! `postgres:///test?host=/run/postgresql&user=postgres`, in which each test creates a schema of its own. Without the
//! variable a test starts a server; where PostgreSQL's programs are not installed, the test is recorded as skipped.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod arrivals;
mod audit;
mod database;
mod model;
mod plans;
mod queue;
mod races;
mod statements;
mod steps;
mod views;
