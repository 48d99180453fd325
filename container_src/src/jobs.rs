//! Work that outlives the request that asked for it: kept in a queue, done by workers, followed by watchers.
//!
//! - [`queue`]: the queue as the others use it.
//! - [`sql_queue`]: the queue in a database.
//! - [`wake`]: what happened, told to everybody in this process and in the others.
//! - [`upkeep`]: leases that ran out, and what is no longer kept.

pub mod queue;
pub mod sql_queue;
pub mod upkeep;
pub mod wake;
