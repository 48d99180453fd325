//! One file for each endpoint.

pub mod audit;
pub mod health;
pub mod index;
pub mod metrics;
pub mod problems;
pub mod proof_events;
pub mod proofs;
pub mod prove;
pub mod queue;
pub mod upload;
