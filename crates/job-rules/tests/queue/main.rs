//! The queue's statements on real databases, held against the rules.
//!
//! SQLite is always there. PostgreSQL is tested where `EDGEPROVE_TEST_POSTGRES` names a database, as
//! `postgres:///test?host=/run/postgresql&user=postgres`, in which each test makes a schema of its own; without it those
//! tests are skipped and say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod audit;
mod database;
mod model;
mod plans;
mod queue;
mod races;
mod statements;
mod steps;
mod views;
