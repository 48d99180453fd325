//! A durable job queue in SQLite or PostgreSQL. It knows no kind of work.

pub mod depth;
pub mod estimate;
pub mod queue;
pub mod sql_queue;
pub mod store;
pub mod suspects;
pub mod upkeep;
pub mod wake;
