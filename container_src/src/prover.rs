//! Proves, verifies and makes verification keys: the only room that knows how bb is run.
//!
//! Reading order: [`backend`] says what a backend can do; [`barretenberg`] does it, warm or with one process a proof;
//! [`child`] and [`terminate`] own operating-system processes.

pub mod backend;
pub mod barretenberg;
pub mod child;
pub mod terminate;

pub use backend::{
    Backend, CircuitKey, CircuitSize, ProofParts, ProverError, Seat, VerificationKey, WitnessSource,
};
