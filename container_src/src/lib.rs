//! Edgeprove's server: a witness goes in, a verified proof comes out.
//!
//! Reading order: [`app`] starts, serves and drains; [`http`] has every route; [`jobs`] connects the job queue with the
//! engine. How a proof is made is in the crate `edgeprove-engine`.
//!
//! Imports run down this list only:
//! - [`commands`]: one file per command of the binary.
//! - [`app`]: starts the server, serves, drains.
//! - [`worker`]: a prover that pulls its jobs from a server.
//! - [`config`]: turns flags and environment into the settings of every module below.
//! - [`http`]: requests and answers; the only module that knows statuses.
//! - [`jobs`]: job kinds, submission, and what callers see of jobs.
//! - [`circuits`]: the circuits that can be proved, configured or built.
//! - [`receipts`]: what the server signs of a proof.
//! - [`engine`]: builds everything that proves, from its settings.
//! - [`access`]: API keys, roles, rates and quotas.
//! - [`lifecycle`]: starting, ready, draining.
//! - [`proof_files`]: a proof, its public inputs and its verification key, as files of bb or snarkjs and as one tar file.

pub mod access;
pub mod app;
pub mod circuits;
pub mod commands;
pub mod config;
pub mod engine;
pub mod http;
pub mod jobs;
pub mod lifecycle;
pub mod proof_files;
pub mod receipts;
pub mod worker;
