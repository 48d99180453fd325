//! A durable job queue in SQLite or PostgreSQL, with its workers, watchers and upkeep. It knows no kind of work: a server
//! registers the kinds that it runs, and the texts that a kind stores in a job are opaque here.
//!
//! Start with [`SqlQueue`], whose example shows the life of a job. [`runner`] shows how a worker runs one.
//!
//! Imports run down this list only.
//! - [`runner`]: workers, which claim jobs and run them by their kind.
//! - [`long_poll`]: claims of provers elsewhere, which wait until there is a job.
//! - [`unclaimable_warning`]: warns of queued jobs that no worker of this server takes.
//! - [`watchers`]: notifies watchers of each change of a job.
//! - [`job_view`]: a job with its position, percent and remaining time.
//! - [`kind`]: a kind of job, as a server registers it.
//! - [`attempt`]: one attempt at a job: its lease, its progress, and why it stops.
//! - [`lease`]: the lease of an attempt, here or at a server elsewhere.
//! - [`crash_quarantine`]: runs jobs one at a time after a crash, to find the one that caused it.
//! - [`activity`]: how many jobs this server runs.
//! - [`job_counts`]: how full the queue is.
//! - [`upkeep`]: expired leases, expired jobs, superfluous artifacts and rows.
//! - [`sql_queue`]: the queue in a database.
//! - [`shared_writes`]: writes of many callers in one transaction.
//! - [`events`]: reports what happens to jobs, for an audit log and metrics.
//! - [`notifications`]: changes of jobs, within a process and between servers.
//! - [`queue_types`]: arguments and results of the queue.
//! - [`store`]: the database.

pub mod activity;
pub mod attempt;
pub mod crash_quarantine;
pub mod events;
pub mod job_counts;
pub mod job_view;
pub mod kind;
pub mod lease;
pub mod long_poll;
pub mod notifications;
pub mod queue_types;
pub mod runner;
mod shared_writes;
pub mod sql_queue;
pub mod store;
pub mod unclaimable_warning;
pub mod upkeep;
pub mod watchers;

pub use queue_types::{
    Change, EnqueueError, Enqueued, IdPrefix, InvalidIdPrefix, JobCount, JobCounts, JobOutcome, LeaseStatus,
    ListOrder, Listing, QueueError, Requeued, StageReport,
};
pub use sql_queue::SqlQueue;
