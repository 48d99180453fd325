//! The rules of a job queue: the states of jobs, the order of work, leases, retries and retention, and the SQL statements that
//! apply the same rules to a database.
//!
//! In scope: rules and SQL text. Out of scope: I/O, clocks, randomness and runtimes. Times and random numbers are arguments,
//! and no statement is executed here. The crate therefore builds for `wasm32-unknown-unknown`, and a Durable Object's SQLite
//! can run the queue that servers run on SQLite or PostgreSQL.
//!
//! Start with [`transition`]: every event in the life of a job. Then, for a change of the database, [`sql`].
//!
//! Imports run down this list only.
//! - [`sql`]: the rules as statements, for SQLite and PostgreSQL.
//! - [`row`]: a job as a row of the database.
//! - [`transition`]: every event, and the job after it.
//! - [`event_id`]: the ids of events of jobs, for clients that reconnect.
//! - [`job_document`]: a job on the wire.
//! - [`stage_times`]: what took how long.
//! - [`job_view`]: a job with its position, percent and remaining time.
//! - [`outcome`]: the outcome of a job as text, and its problem.
//! - [`capability`]: the jobs that a worker takes.
//! - [`job`]: the job itself.
//! - [`audit`]: the entries of an audit log, and the chain that reveals changes.
//! - [`idempotency`]: repeated requests under one key.
//! - [`queue_bounds`]: how many jobs are accepted.
//! - [`turn`]: the turns of callers within a priority.
//! - [`priority`]: the order of work.
//! - [`lease`]: leases, fencing tokens, and clocks that jump.
//! - [`backoff`]: the delays between attempts.
//! - [`scale`]: how many provers a queue needs.
//! - [`expiry`]: how long finished jobs are retained.
//! - [`estimator`]: learns how long work takes.
//! - [`listing`]: lists of jobs.
//! - [`queue_position`]: the jobs ahead of a queued job.
//! - [`proof_job`]: the kind of proof jobs, and its stages.
//! - [`progress`]: percent and remaining time of a running attempt.
//! - [`prediction`]: estimates from earlier durations.
//! - [`time`]: points in time.

pub mod audit;
pub mod backoff;
pub mod capability;
pub mod estimator;
pub mod event_id;
pub mod expiry;
pub mod idempotency;
pub mod job;
pub mod job_document;
pub mod job_view;
pub mod lease;
pub mod listing;
pub mod outcome;
pub mod prediction;
pub mod priority;
pub mod progress;
pub mod proof_job;
pub mod queue_bounds;
pub mod queue_position;
pub mod row;
pub mod scale;
pub mod sql;
pub mod stage_times;
pub mod time;
pub mod transition;
pub mod turn;
