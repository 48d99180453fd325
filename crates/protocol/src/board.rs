//! The board: what an operator watches. `GET /v1/board/events` sends its sections, and each again when it changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    CircuitId, JobStatus, Target,
    answer::{BuildProgress, CircuitOrigin, CircuitStatus},
    problem::Severity,
    statistics::{ProofStats, Quantiles},
};

/// The server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardServer {
    /// Its version.
    pub version: String,
    /// When it started: RFC 3339, UTC, milliseconds.
    pub started_at: String,
    /// Why it cannot prove now; `None` when it can.
    pub not_ready: Option<String>,
    /// The number of the container, where it alone stores its jobs.
    pub container: Option<u16>,
    /// Open streams of the board.
    pub viewers: u64,
}

/// The caller of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardCaller {
    /// The name of its key.
    pub name: Option<String>,
    /// Its role.
    pub role: String,
    /// Whether it may see the jobs of all callers.
    pub sees_all_jobs: bool,
    /// Whether it may cancel and retry the jobs of all callers, and read the audit log.
    pub may_operate: bool,
}

/// The jobs of all servers that share the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardJobs {
    /// Jobs by kind and status. Combinations without jobs are left out.
    pub kinds: BTreeMap<String, BTreeMap<String, u64>>,
    /// Jobs by status.
    pub statuses: BTreeMap<String, u64>,
    /// Queued jobs by priority.
    pub queued: BTreeMap<String, u64>,
    /// Running jobs by priority.
    pub running: BTreeMap<String, u64>,
    /// Since when the oldest queued job of each priority waits. Priorities without queued jobs are left out.
    pub oldest_queued_since: BTreeMap<String, String>,
}

/// Recent proofs of this server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardProofs {
    /// All proofs.
    pub all: ProofStats,
    /// Proofs by circuit.
    pub circuits: BTreeMap<CircuitId, ProofStats>,
}

/// The last hour, minute by minute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardHistory {
    /// The number of minutes that are remembered.
    pub minutes: u64,
    /// The minutes in which proofs ended, the oldest first.
    pub points: Vec<BoardMinute>,
}

/// The proofs that ended in one minute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardMinute {
    /// When the minute began: RFC 3339, UTC, milliseconds.
    pub at: String,
    /// Successful proofs.
    pub success: u64,
    /// Proofs that failed because of the request or its witness.
    pub caller_error: u64,
    /// Proofs that failed because of the service.
    pub server_error: u64,
    /// Proofs whose client left.
    pub abandoned: u64,
    /// Durations of the successful proofs; `None` without one.
    pub duration_ms: Option<Quantiles>,
}

/// The provers of this server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardProvers {
    /// How they run: `warm` or `process`.
    pub mode: String,
    /// Cores for proofs.
    pub cores: usize,
    /// Cores that no proof uses.
    pub cores_free: usize,
    /// Running proofs.
    pub running: usize,
    /// Proofs that wait for a prover, by priority.
    pub waiting: BTreeMap<String, usize>,
    /// Most proofs that may wait.
    pub waiting_max: usize,
    /// The memory budget of all proofs; `None` without a limit.
    pub memory_max_bytes: Option<u64>,
    /// The memory that running proofs are expected to use at most.
    pub memory_reserved_bytes: u64,
    /// The resident memory of each prover process.
    pub processes: Vec<u64>,
    /// The resident memory of the server itself.
    pub server_bytes: u64,
    /// Processes that were started again, by reason, since the start. Reasons without one are left out.
    pub restarts: BTreeMap<String, u64>,
    /// Proofs since the start.
    pub proofs: u64,
}

/// The proof cache of this server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardCache {
    /// Stored proofs.
    pub proofs: u64,
    /// Most stored proofs; 0 where the cache is off.
    pub proofs_max: u64,
    /// Proofs that came from the cache, since the start.
    pub hits: u64,
    /// Proofs that were looked for in vain.
    pub misses: u64,
}

/// The circuits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardCircuits {
    /// The circuits, those that are built or failed to build first. At most 200.
    pub circuits: Vec<BoardCircuit>,
    /// Whether there are more: `GET /v1/circuits` has them.
    pub has_more: bool,
}

/// A circuit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardCircuit {
    /// Its name.
    pub id: CircuitId,
    /// Whether it can be proved.
    pub status: CircuitStatus,
    /// Its default target.
    pub target: Target,
    /// Where it comes from.
    pub origin: CircuitOrigin,
    /// Its gates or constraints.
    pub gates: Option<u64>,
    /// The most memory that a proof was measured to use.
    pub memory_peak_bytes: Option<u64>,
    /// How far its build is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub build: Option<BuildProgress>,
    /// The code of the problem with which its build failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// The problems with which proofs of this server failed within the last hour, the most frequent first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardProblems(pub Vec<BoardProblem>);

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardProblem {
    /// Its code.
    pub code: String,
    /// Its title.
    pub title: String,
    /// How serious it is for the operator.
    pub severity: Severity,
    /// The number of proofs.
    pub proofs: u64,
    /// When the last one failed: RFC 3339, UTC, milliseconds.
    pub last_at: String,
}

/// The answer of `POST /v1/board/cancel` and `POST /v1/board/retry`: one batch of the jobs that a filter selects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchResult {
    /// The number of jobs that the filter selects; in the first batch only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total: Option<u64>,
    /// Jobs of this batch that were cancelled, or whose workers have yet to stop; or that were queued again.
    pub changed: u64,
    /// Jobs of this batch that were not, by the code of the problem.
    pub refused: BTreeMap<String, u64>,
    /// Path of the next batch; `None` after the last.
    pub next: Option<String>,
}

impl BoardJobs {
    /// Adds a number of jobs of a kind and a status.
    pub fn add(&mut self, kind: &str, status: JobStatus, jobs: u64) {
        let status = status.as_str().to_owned();
        *self.statuses.entry(status.clone()).or_default() += jobs;
        *self.kinds.entry(kind.to_owned()).or_default().entry(status).or_default() += jobs;
    }
}
