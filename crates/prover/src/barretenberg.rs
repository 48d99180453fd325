//! Proving with Barretenberg's `bb`.
//!
//! - [`wire`]: bb's msgpack commands and answers, as bytes.
//! - [`daemon`]: one warm `bb msgpack run` and the task that owns it.
//! - [`warm`]: the backend that keeps daemons of every width ready.
//! - [`process`]: the backend that starts one `bb prove` for each proof.
//! - [`version`]: the handshake with the program file itself.

pub mod crs;
pub mod daemon;
pub mod process;
pub mod version;
pub mod warm;
pub mod wire;

use crate::{BackendIdentity, child::Msm};

/// The identity of bb, which runs warm or once a proof and multiplies in one of two ways.
const fn identity(is_warm: bool, msm: Msm) -> BackendIdentity {
    let variant = match (is_warm, msm) {
        (true, Msm::RoundParallel) => "warm-round-parallel",
        (true, Msm::Legacy) => "warm-legacy",
        (false, Msm::RoundParallel) => "process-round-parallel",
        (false, Msm::Legacy) => "process-legacy",
    };
    BackendIdentity { program: "bb", version: version::BB_REPORTS, variant }
}
