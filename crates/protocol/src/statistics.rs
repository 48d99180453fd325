//! Bodies of `GET /v1/stats` and `GET /v1/estimate`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::CircuitId;

/// `GET /v1/stats`: recent proofs of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stats {
    /// The length of the window, in seconds. Counts of ended proofs and durations cover it.
    pub window_s: u64,
    /// When the window begins: RFC 3339, UTC, milliseconds. Later than its length ago where the server is younger.
    pub since: String,
    /// All proofs.
    pub proofs: ProofStats,
    /// Proofs by circuit, of circuits with a proof since the start of the server.
    pub circuits: BTreeMap<CircuitId, ProofStats>,
    /// Proofs by priority.
    pub priorities: BTreeMap<String, ProofStats>,
    /// The job queue; `None` where jobs are disabled.
    pub jobs: Option<JobStats>,
}

/// Proofs of one circuit, of one priority, or all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProofStats {
    /// Proofs that have a prover now.
    pub active: u64,
    /// Proofs that have none yet: their witness arrives, or they wait for a prover. Queued jobs are not included.
    pub waiting: u64,
    /// Proofs of the window that succeeded.
    pub success: u64,
    /// Proofs of the window that failed because of the request or its witness.
    pub caller_error: u64,
    /// Proofs of the window that failed because of the service.
    pub server_error: u64,
    /// Proofs of the window whose client left.
    pub abandoned: u64,
    /// `success` of `success` and `server_error`, from 0 to 1; `None` where both are 0.
    pub success_rate: Option<f64>,
    /// Durations of the successful proofs, from the head of the request, or the start of the job's attempt, to the proof.
    /// Proofs from the cache are not included. `None` without a proof.
    pub duration_ms: Option<Quantiles>,
}

/// Quantiles, in milliseconds, each with an error of at most 4 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 95 % are at most this long.
    pub p95: f64,
    /// 99 % are at most this long.
    pub p99: f64,
}

/// Jobs of all servers that share the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobStats {
    /// Queued jobs.
    pub queued: u64,
    /// Running jobs.
    pub running: u64,
}

/// `GET /v1/estimate`: the expected cost of one more proof of a circuit on this server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CostEstimate {
    /// The circuit.
    pub circuit: CircuitId,
    /// The number of earlier proofs behind the estimate, at most 64.
    pub samples: u64,
    /// How sure the estimate is, from 0 to 1.
    pub confidence: f64,
    /// The time from the start of proving to the verified proof; `None` before the first proof.
    pub proving_ms: Option<Interval>,
    /// The time for which a synchronous request would wait for a prover now; `None` where nothing is known of the proofs
    /// before it.
    pub wait_ms: Option<Interval>,
    /// The memory that a proof takes at most, with all cores that it can get.
    pub memory_bytes: u64,
    /// Whether that memory was measured. Otherwise it is estimated from the circuit's size.
    pub memory_measured: bool,
}

/// An expected duration, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interval {
    /// The expected duration.
    pub expected: f64,
    /// It hardly takes less.
    pub low: f64,
    /// It hardly takes more.
    pub high: f64,
}
