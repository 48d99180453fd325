//! Proving with Barretenberg's `bb`. Nothing outside this folder knows how `bb` is run, or what its numbers mean.
//!
//! - [`warm_daemons`]: the backend with daemons of every width that are always ready.
//! - [`process_per_proof`]: the backend that starts one `bb prove` for each proof.
//! - [`daemon`]: one warm `bb msgpack run` and the task that owns it.
//! - [`wire`]: bb's msgpack commands and responses, as bytes.
//! - [`version`]: which bb a program file is.
//! - [`program`]: where bb is, its environment, and how it multiplies curve points.
//! - [`crs`]: the common reference string.
//! - [`key_facts`]: what a verification key shows about its circuit and its proofs.
//! - [`contract_call`]: the call of the verifier contract that bb writes.
//! - [`memory_estimate`]: bb's memory by the size of a circuit.
//! - [`redaction`]: removes values from bb's messages.

pub mod contract_call;
pub mod crs;
pub mod daemon;
pub mod key_facts;
pub mod memory_estimate;
pub mod process_per_proof;
pub mod program;
pub mod redaction;
pub mod version;
pub mod warm_daemons;
pub mod wire;

use crate::BackendIdentity;

pub use key_facts::KeyFacts;
pub use process_per_proof::ProcessBackend;
pub use program::{BbProgram, Msm};
pub use warm_daemons::WarmBackend;

/// Returns the identity of bb. It runs as a daemon or once per proof, and multiplies in one of two ways.
const fn identity(is_warm: bool, msm: Msm) -> BackendIdentity {
    let variant = match (is_warm, msm) {
        (true, Msm::RoundParallel) => "warm-round-parallel",
        (true, Msm::Legacy) => "warm-legacy",
        (false, Msm::RoundParallel) => "process-round-parallel",
        (false, Msm::Legacy) => "process-legacy",
    };
    BackendIdentity { program: "bb", version: version::BB_REPORTS, variant }
}
