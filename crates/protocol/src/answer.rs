//! What a request that succeeds is told.

use serde::{Deserialize, Serialize};

use crate::{CircuitId, Target};

/// Media type of an answer that is the proof's bytes and nothing else.
pub const PROOF_MEDIA_TYPE: &str = "application/octet-stream";

/// A proof as JSON, for callers that accept `application/json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProofAnswer {
    /// Always `true`; a failure is a [`crate::Problem`] instead.
    pub success: bool,
    /// The proof's bytes, base64 with padding. A whole number of 32-byte fields.
    pub proof: String,
    /// The public inputs as `0x`-prefixed 32-byte big-endian fields, in the circuit's order.
    pub public_inputs: Vec<String>,
    /// The circuit that was proved.
    pub circuit: CircuitId,
    /// Who can verify the proof.
    pub target: Target,
    /// bb's hash of the verification key, `0x`-prefixed.
    pub vk_hash: String,
    /// Whether the server verified the proof before it answered.
    pub verified: bool,
    /// Whether the proof had been made before, for the same caller.
    #[serde(default)]
    pub cached: bool,
    /// The circuit that was asked for, where the machine had too little for it and this smaller one of its family was
    /// proved instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_from: Option<CircuitId>,
    /// Where the time went.
    pub timings: Timings,
    /// The request's id, as in the server's log.
    pub request_id: String,
}

/// Where the time of a request went, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// From the request's head to the last byte of its witness, checks included.
    pub upload_ms: f64,
    /// Waiting for a prover.
    pub queue_ms: f64,
    /// Proving.
    pub prove_ms: f64,
    /// Verifying the proof.
    pub verify_ms: f64,
    /// All of it.
    pub total_ms: f64,
}

impl Timings {
    /// Each part by the name that it has in `Server-Timing` and in metrics, in milliseconds.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, f64); 5] {
        [
            ("upload", self.upload_ms),
            ("queue", self.queue_ms),
            ("prove", self.prove_ms),
            ("verify", self.verify_ms),
            ("total", self.total_ms),
        ]
    }
}

/// `GET /api/health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the service can prove.
    pub status: HealthStatus,
    /// What keeps it from proving, or from proving all its circuits. Empty when `status` is `ok`.
    pub problems: Vec<String>,
    /// The machine's architecture, as Rust names it.
    pub architecture: String,
    /// Edgeprove's own version.
    pub version: String,
    /// The prover program.
    pub bb: BbHealth,
    /// The same as `bb.version`.
    pub bb_version: String,
    /// The files of the CRS folder, one a line.
    pub bb_crs_files: String,
    /// The common reference string.
    pub crs: CrsHealth,
    /// The Noir release whose artefacts this server was built for.
    pub noir_version: String,
    /// Whether proofs are verified before they are answered.
    pub verify: bool,
    /// The provers at this moment.
    pub prover: ProverHealth,
    /// Every circuit the server was given.
    pub circuits: Vec<CircuitHealth>,
    /// Jobs.
    pub jobs: JobsHealth,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// When this was written, RFC 3339, UTC.
    pub timestamp: String,
}

/// Whether the service can prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Everything works.
    Ok,
    /// Some circuits failed to load; the others are proved.
    Degraded,
    /// Nothing can be proved.
    Unhealthy,
}

/// The prover program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BbHealth {
    /// Whether it answers.
    pub available: bool,
    /// What it prints as its version.
    pub version: String,
    /// The machine its file is built for, read from the file's header.
    pub binary_arch: String,
}

/// The common reference string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrsHealth {
    /// How many G1 points there are. A circuit of 2^k rows needs 2^k + 1.
    pub points: u64,
}

/// The provers at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProverHealth {
    /// `warm` or `process`.
    pub mode: String,
    /// Cores that proofs may use.
    pub cores: usize,
    /// Proofs at work.
    pub running: usize,
    /// Requests that wait for a prover.
    pub waiting: usize,
    /// Most requests that may wait.
    pub waiting_max: usize,
    /// Memory that the provers may take together, in bytes; `None` where the system tells no limit.
    #[serde(default)]
    pub memory_max_bytes: Option<u64>,
    /// Memory that the proofs at work are expected to take at most, in bytes.
    #[serde(default)]
    pub memory_reserved_bytes: u64,
    /// Proofs made since the start.
    pub proofs: u64,
    /// Provers started again, for whatever reason; `/metrics` has them by reason.
    pub restarts: u64,
}

/// Whether work is taken that outlives its request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobsHealth {
    /// Whether it is.
    pub enabled: bool,
    /// Why not, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Jobs that wait, of all servers that share the queue.
    pub queued: u64,
    /// Jobs that are worked on, likewise.
    pub running: u64,
}

/// One circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitHealth {
    /// Its name.
    pub id: CircuitId,
    /// Whether it can be proved now.
    pub status: CircuitStatus,
    /// The target of its proofs where a request names none.
    pub target: Target,
    /// Its gates; `None` until loaded.
    pub gates: Option<u64>,
    /// Its circuit size as bb reports it: the dyadic size, a power of two. `None` until loaded.
    pub circuit_size: Option<u64>,
    /// The most memory that a bb took for a proof of it, in bytes; `None` until one was made, be it before the last
    /// start.
    #[serde(default)]
    pub memory_peak_bytes: Option<u64>,
    /// bb's hash of its verification key, `0x`-prefixed; `None` until loaded.
    pub vk_hash: Option<String>,
    /// Why it could not be loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// Whether a circuit can be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CircuitStatus {
    /// Being loaded.
    Loading,
    /// Ready to prove.
    Ready,
    /// Could not be loaded.
    Failed,
}
