//! The words on the wire, shared by the proving server, the edge Worker and the clients.
//!
//! In scope: types, limits, names and parsing. Out of scope: I/O, clocks, runtimes and HTTP libraries, so that
//! this crate builds for `wasm32-unknown-unknown` alone and nothing heavy can slip into the edge.
//!
//! Reading order:
//! - [`problem`]: every way a request can fail, with its stable code and status. Start here.
//! - [`answer`]: what a request that succeeds is told.
//! - [`circuit_id`], [`target`]: the two names a caller may put into a request.
//! - [`job`]: what a caller is told of a job; [`job_id`], [`job_status`], [`priority`]: what it is called, how far it is
//!   and how urgent.
//! - [`caller`]: how keys are set, and what callers without one are counted by.
//! - [`endpoints`]: what callers may ask for, for people.
//! - [`headers`], [`limits`]: header names and the bounds that both sides must agree on.
//! - [`load`]: what a server tells the edge of how busy it is.

pub mod answer;
pub mod caller;
pub mod circuit_id;
pub mod endpoints;
pub mod headers;
pub mod job;
pub mod job_id;
pub mod job_status;
pub mod limits;
pub mod load;
pub mod priority;
pub mod problem;
pub mod target;

pub use circuit_id::CircuitId;
pub use job::{JobDocument, JobStage};
pub use job_id::JobId;
pub use job_status::JobStatus;
pub use load::Load;
pub use priority::Priority;
pub use problem::{Problem, ProblemType};
pub use target::Target;
