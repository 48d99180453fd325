//! The job queue of the edge, in a Durable Object.
//!
//! Imports run down this list only:
//! - [`gateway`]: the Worker's side: sends requests about jobs to the object. [`proof_answer`]: the formats of proofs.
//! - [`object`]: the Durable Object. Start here.
//! - [`events`]: the events of jobs, for streams and WebSockets.
//! - [`dispatcher`]: runs the jobs: claims them, sends them to containers, stores the proofs.
//! - [`api`]: answers the requests that reach the object.
//! - [`query`]: the queries of lists and of the audit log.
//! - [`queue`]: the queue in the object's database.
//! - [`object_database`]: the SQLite of the object.
//! - [`row`]: rows of the database.
//! - [`error`]: why a request about jobs fails.
//! - [`database`]: the database, as the queue needs it.
//! - [`changes`]: reports changes of jobs within the object.
//! - [`fleet`]: which container gets the next job.
//! - [`container_answer`]: what the answer of a container means for a job.
//! - [`payload`]: what the rows of jobs have in text columns.
//! - [`rules`]: the settings of the queue.
//! - [`protocol`]: what the Worker and the object send each other.
//!
//! Every decision is plain Rust and is tested natively, the queue on a native SQLite. The modules that call JavaScript only
//! carry decisions out: `gateway`, `object`, `events`, `dispatcher`, `object_database`.

pub mod api;
pub mod changes;
pub mod container_answer;
pub mod database;
pub mod dispatcher;
pub mod error;
pub mod events;
pub mod fleet;
pub mod gateway;
pub mod object;
pub mod object_database;
pub mod payload;
pub mod proof_answer;
pub mod protocol;
pub mod query;
pub mod queue;
pub mod row;
pub mod rules;
