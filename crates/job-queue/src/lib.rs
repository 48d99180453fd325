//! A durable job queue in SQLite or PostgreSQL. It knows no kind of work.

pub mod crash_quarantine;
pub mod job_counts;
pub mod notifications;
pub mod queue;
pub mod sql_queue;
pub mod store;
pub mod upkeep;
