//! The rules of work: what a job is, what can happen to it, in which order jobs are worked on, and the statements by
//! which a database keeps to all that.
//!
//! In scope: rules and SQL text. Out of scope: I/O, clocks, randomness and runtimes. Times and random numbers are passed
//! in, and nobody executes a statement here, so that this crate builds for `wasm32-unknown-unknown` alone: the server
//! runs the queue on SQLite or PostgreSQL, and a Durable Object's SQLite can run the same one.
//!
//! Nothing here knows of proving.
//!
//! Reading order:
//! - [`transition`]: what can happen to a job, and what becomes of it then. Start here.
//! - [`job`]: the job itself.
//! - [`capability`], [`priority`], [`lease`], [`retry`], [`expiry`], [`bounds`], [`idempotency`]: one rule each, with its reasons.
//! - [`sql`]: the same rules as statements, for SQLite and PostgreSQL; [`row`]: a job as a row.
//! - [`prediction`]: how long work will take; [`queue_position`]: the jobs ahead of a job; [`estimator`]: learns durations.
//! - [`audit`]: what is told of all that, and how it shows whether it was changed.

pub mod audit;
pub mod bounds;
pub mod capability;
pub mod estimator;
pub mod expiry;
pub mod idempotency;
pub mod job;
pub mod lease;
pub mod prediction;
pub mod priority;
pub mod queue_position;
pub mod retry;
pub mod row;
pub mod sql;
pub mod time;
pub mod transition;
