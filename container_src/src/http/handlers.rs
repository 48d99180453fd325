//! One file per endpoint. Each handler's documentation lists its steps, and the status of each failure.

pub mod audit;
mod build_circuit;
pub mod calldata;
pub mod cancel_job;
pub mod circuit_files;
pub mod circuit_request;
pub mod circuits;
pub mod deploy_circuit;
pub mod estimate;
pub mod get_job;
pub mod get_proof;
pub mod health;
pub mod index;
pub mod job_counts;
pub mod job_events;
pub mod list_jobs;
pub mod metrics;
pub mod problems;
pub mod proof_request;
pub mod prove;
pub mod remove_circuit;
pub mod stats;
pub mod submit_job;
pub mod templates;
mod upload_circuit;
pub mod verification_key;
pub mod verify;
