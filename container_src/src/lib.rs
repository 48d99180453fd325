//! Edgeprove's server: a witness goes in, a verified proof comes out.
//!
//! Reading order: [`app`] builds everything once, runs it and drains it; [`http`] has every route on one page;
//! [`proving`] is the story of one proof, told to the command line as well.
//!
//! Imports run down this list only:
//! - [`commands`]: one file for each thing the binary can be asked to do.
//! - [`app`]: the parts put together, and taken apart at the end.
//! - [`config`]: flags and environment, read once into the settings of every room below.
//! - [`http`]: requests and answers; the only room that knows status codes.
//! - [`jobs`]: work that outlives the request that asked for it.
//! - [`proving`]: admitted, proved, verified.
//! - [`circuits`]: what can be proved, and under which keys.
//! - [`scheduler`]: when a proof starts, on how many cores, and whether there is memory for it.
//! - [`proof_cache`]: proofs that are asked for again.
//! - [`prover`]: bb and the processes it runs in.
//! - [`trust`]: who may do what, and the audit log.
//! - [`witness`]: uploads, checked and spooled.
//! - [`artifacts`]: witnesses and proofs that outlive a request, encrypted.
//! - [`store`]: the database.
//! - [`crs`], [`gzip`], [`telemetry`], [`supervisor`], [`wipe`]: the ground.

pub mod access;
pub mod app;
pub mod commands;
pub mod config;
pub mod engine;
pub mod http;
pub mod jobs;
pub mod lifecycle;
pub mod trust;
