//! The words on the wire: types, limits, names and error codes that server, edge and clients share.
//!
//! In scope: types, limits, names and parsing. Out of scope: I/O, clocks, runtimes and HTTP libraries. The crate builds
//! for `wasm32-unknown-unknown` alone, so a heavy dependency fails the build before it reaches the edge.
//!
//! Reading order:
//! - [`problem`]: every way a request can fail, with its stable code and status. Start here.
//! - [`answer`]: bodies of successful answers: a proof, health.
//! - [`circuit_id`], [`target`]: the circuit and the verifier that a request names, and proof systems.
//! - [`job`]: a job as its caller sees it; [`job_id`], [`job_status`], [`priority`]: its id, state and priority.
//! - [`caller`]: API key lists, and the accounts of callers without a key.
//! - [`role`]: what a caller may do. [`prefer`]: how a caller wants its answer.
//! - [`voucher`]: tokens with which a page proves on behalf of a key.
//! - [`endpoints`]: every endpoint of server and edge, in one table.
//! - [`headers`], [`limits`]: header names and default limits.
//! - [`origin`]: origins of pages, in the form that browsers send.
//! - [`crs`]: the files of the common reference string.
//! - [`load`]: the load that a server reports to the edge.
//! - [`receipt`]: what a server signs of a proof.
//! - [`service`]: body of `GET /.well-known/edgeprove`.
//! - [`statistics`]: bodies of `GET /v1/stats` and `GET /v1/estimate`. [`board`]: the sections of the board.
//! - [`trace_context`]: the trace that a request belongs to.
//! - [`work`]: bodies between a server and provers that pull jobs from it.
//! - `schema`, with the feature `schema`: JSON Schemas of words that are texts on the wire. The other types derive theirs.

pub mod answer;
pub mod board;
pub mod caller;
pub mod circuit_id;
pub mod crs;
pub mod endpoints;
pub mod headers;
pub mod job;
pub mod job_id;
pub mod job_status;
pub mod limits;
pub mod load;
pub mod origin;
pub mod prefer;
pub mod priority;
pub mod problem;
pub mod receipt;
pub mod role;
#[cfg(feature = "schema")]
mod schema;
pub mod service;
pub mod statistics;
pub mod target;
pub mod trace_context;
pub mod voucher;
pub mod work;

pub use circuit_id::CircuitId;
pub use job::{JobDocument, JobStage};
pub use job_id::JobId;
pub use job_status::JobStatus;
pub use load::Load;
pub use origin::Origin;
pub use priority::Priority;
pub use problem::{HasProblemType, Problem, ProblemCode, ProblemType};
pub use target::{ProofSystem, Target};
pub use trace_context::TraceContext;
pub use voucher::Voucher;
