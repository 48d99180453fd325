//! Proves, verifies and makes verification keys: the only room that knows how bb is run.
//!
//! Reading order: [`backend`] says what a backend can do; [`barretenberg`] does it, warm or with one process a proof;
//! [`memory`] learns what a circuit takes; [`child`] and [`terminate`] own operating-system processes.

pub mod backend;
pub mod barretenberg;
pub mod child;
pub mod gzip;
pub mod memory;
pub mod terminate;

pub use backend::{
    Backend, BackendIdentity, CircuitKey, CircuitSize, GeneratedKey, IdleMemory, IdleProvers, ProofParts,
    ProverError, ProverPermit, Restart, VerificationKey, WitnessSource,
};
pub use memory::MemoryPeaks;
