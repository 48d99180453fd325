//! Proving backends: they prove, verify and make verification keys.
//!
//! [`backend`] states what a backend does. [`barretenberg`] knows everything about `bb`, and [`groth16`] proves in this
//! process. Another backend stands beside them, is chosen in [`backends`], and uses the generic modules below.
//!
//! Imports run down this list only.
//!
//! - [`backends`]: one backend for each proof system, behind the traits of one.
//! - [`mod@contract_call`]: the call that verifies a proof in a contract.
//! - [`groth16`]: the backend that proves circuits of circom in this process.
//! - [`barretenberg`]: the backend that runs `bb`: warm daemons or one process per proof.
//! - [`backend`]: the traits of a backend and of a prover permit, with their inputs and outputs.
//! - [`error`]: why a prover could not do its work.
//! - [`private_thread`]: runs work on private values on a thread whose stack is gone afterwards, and counts such work.
//! - [`child_process`]: the owner of a child process; it starts, drains, ends and reaps it, and judges its death.
//! - [`recycling`]: why and when a healthy process is replaced.
//! - [`memory_peaks`]: the memory that proofs of a circuit take, learned from measurements.
//! - [`cgroup`]: memory limits and out-of-memory kills of the control groups around this process.
//! - [`stored_gzip`]: gzip without compression.

pub mod backend;
pub mod backends;
pub mod barretenberg;
pub mod cgroup;
pub mod child_process;
pub mod contract_call;
pub mod error;
pub mod groth16;
pub mod memory_peaks;
pub mod private_thread;
pub mod recycling;
pub mod stored_gzip;

pub use backend::{
    Backend, BackendIdentity, CapacityPermit, CircuitKey, CircuitProgram, CircuitSize, FIELD_BYTES,
    GeneratedKey, IdleMemory, IdleProvers, LoadLimits, ProofParts, ProverPermit, VerificationKey,
    WitnessSource,
};
pub use contract_call::{ContractCall, contract_call};
pub use error::{HandshakeError, ProcessFailure, ProverError, UnexpectedResponse};
pub use memory_peaks::{MemoryEstimate, MemoryPeaks};
pub use recycling::{RecyclePolicy, RestartCounts, RestartReason};
