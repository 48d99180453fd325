//! The words between a server and provers that pull their jobs from it.
//!
//! A prover claims jobs, fetches the witness of each, renews its lease while it proves, and reports the outcome. It connects to
//! the server, and never the reverse. Durations are on the wire, and no points in time: the clocks of the two may differ.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    CircuitId, JobId, JobStatus, Priority, ProblemType, Target, TraceContext,
    answer::{Cost, Timings},
};

/// The version of this protocol. A server accepts the provers that speak [`PROTOCOL_MIN`] to this one.
pub const PROTOCOL: u32 = 1;
/// The oldest version that a server accepts.
pub const PROTOCOL_MIN: u32 = 1;
/// The most jobs of one claim.
pub const CLAIM_MAX: u32 = 64;
/// The longest wait of a claim, in seconds: below the time after which proxies close silent connections.
pub const WAIT_MAX_S: u32 = 20;
/// The most circuits in a claim.
pub const CIRCUITS_MAX: usize = 4_096;
/// Longest name of a prover, in bytes.
pub const WORKER_MAX_BYTES: usize = 64;

/// The body of `POST /v1/work/claims`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClaimRequest {
    /// The version of the protocol that the prover speaks.
    pub protocol: u32,
    /// The prover.
    pub worker: Worker,
    /// The circuits that it has, each in its version.
    pub circuits: Vec<WorkCircuit>,
    /// Whether it also takes jobs of circuits that the server stores, and fetches them.
    #[serde(default)]
    pub stored_circuits: bool,
    /// Stored circuits that it could not load, and does not take for now.
    #[serde(default)]
    pub except: Vec<CircuitId>,
    /// The most jobs, at most [`CLAIM_MAX`].
    pub max: u32,
    /// How long to wait for a job, in seconds. The server waits no longer than [`WAIT_MAX_S`].
    #[serde(default)]
    pub wait_s: u32,
}

/// A prover that pulls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Worker {
    /// The name of its process, new with each start: 1 to [`WORKER_MAX_BYTES`] of `A-Z a-z 0-9 - _ .`.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// The proving programs that it runs.
    pub backends: Vec<WorkBackend>,
    /// The memory that its provers may use together, in bytes. `None`: without a limit.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// The most jobs that it runs at the same time.
    pub concurrency: u32,
}

/// A proving program in its version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkBackend {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A circuit in a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkCircuit {
    /// The circuit.
    pub circuit: CircuitId,
    /// Its version: SHA-256 of its program or key.
    pub version: String,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClaimAnswer {
    /// The version of the protocol that the server speaks.
    pub protocol: u32,
    /// How long a lease lasts without a heartbeat, in milliseconds.
    pub lease_ms: u64,
    /// How often to send a heartbeat, in milliseconds.
    pub heartbeat_ms: u64,
    /// The jobs; empty where there was none in time.
    pub jobs: Vec<ClaimedJob>,
}

/// A job that a prover has claimed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClaimedJob {
    /// Its id.
    pub id: JobId,
    /// The secret that shows that the prover has the job. All further requests about the job have it.
    pub lease: LeaseSecret,
    /// Its priority.
    pub priority: Priority,
    /// The witness of the requested circuit, and those of ever smaller circuits of its family. In the body of the witness they
    /// follow each other in this order.
    pub witnesses: Vec<WorkWitness>,
    /// The longest time for the proof, in milliseconds, where its caller lowered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
    /// The id of the request that submitted it, for the log.
    pub request_id: String,
    /// The trace of that request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace: Option<TraceContext>,
}

/// A witness to prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkWitness {
    /// The circuit.
    pub circuit: CircuitId,
    /// The version of the circuit.
    pub version: String,
    /// The verifier that the proof is for.
    pub target: Target,
    /// Its size, in bytes.
    pub compressed_bytes: u64,
    /// Its decompressed size, in bytes.
    pub decompressed_bytes: u64,
}

/// The secret of a lease. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseSecret(pub String);

impl fmt::Debug for LeaseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseSecret(…)")
    }
}

/// The body of `POST /v1/work/{job}/heartbeat`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeartbeatRequest {
    /// The lease.
    pub lease: LeaseSecret,
    /// The stage that the attempt has reached: `loading`, `waiting`, `proving` or `verifying`; `None`: the same as before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<String>,
}

/// The answer to a heartbeat whose lease holds. One whose lease is lost gets the problem `lease_lost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeartbeatAnswer {
    /// Whether a caller cancelled the job. The prover then stops, and reports the outcome `released`.
    pub cancel_requested: bool,
}

/// The body of `POST /v1/work/{job}/outcome`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OutcomeRequest {
    /// The lease.
    pub lease: LeaseSecret,
    /// The outcome of the attempt.
    pub outcome: WorkOutcome,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkOutcome {
    /// There is a proof.
    Completed {
        /// The index of the witness that was proved.
        #[serde(default)]
        witness: usize,
        /// The proof in base64, as `GET /v1/proofs/{id}/proof` returns it.
        proof: String,
        /// The public inputs: 32-byte big-endian fields with `0x`, in the circuit's order.
        public_inputs: Vec<String>,
        /// The durations of the stages.
        #[serde(default)]
        timings: Timings,
        /// What the proof has taken.
        #[serde(default)]
        cost: Cost,
    },
    /// The attempt failed.
    Failed {
        /// The problem. The server decides by it whether another attempt follows.
        code: ProblemType,
        /// What was wrong, for the caller of the job.
        detail: String,
    },
    /// The prover stops, or the job was cancelled: the attempt does not count.
    Released,
}

/// The answer to an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OutcomeAnswer {
    /// The status of the job now.
    pub status: JobStatus,
}

/// The body of `GET /v1/scale`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Scale {
    /// How many provers there should be.
    pub desired: u32,
    /// Queued proof jobs.
    pub queued: u64,
    /// Running proof jobs.
    pub running: u64,
    /// The provers that run them: servers, and provers that pull.
    pub busy: u64,
    /// The provers that pull, wait at this server, and run none.
    pub idle: u64,
    /// The time that 95 of 100 recent jobs took at most, in seconds; `None` without recent jobs.
    pub p95_seconds: Option<f64>,
    /// The time in which the queue should be empty, in seconds.
    pub drain_seconds: f64,
    /// The fewest provers.
    pub min: u32,
    /// The most provers.
    pub max: u32,
}

/// Whether a text can be the name of a prover.
#[must_use]
pub fn is_worker_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=WORKER_MAX_BYTES).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outcome_is_named_by_its_member() {
        let lease = || LeaseSecret("1.abc".to_owned());
        let released = OutcomeRequest { lease: lease(), outcome: WorkOutcome::Released };
        let text = json!({"lease": "1.abc", "outcome": "released"});
        assert_eq!(serde_json::to_value(&released).unwrap(), text);
        assert_eq!(serde_json::from_value::<OutcomeRequest>(text).unwrap(), released);
        let failed = WorkOutcome::Failed { code: ProblemType::WitnessUnsatisfied, detail: "no".to_owned() };
        let failed = OutcomeRequest { lease: lease(), outcome: failed };
        let text =
            json!({"lease": "1.abc", "outcome": {"failed": {"code": "witness_unsatisfied", "detail": "no"}}});
        assert_eq!(serde_json::from_value::<OutcomeRequest>(text).unwrap(), failed);
        assert!(!format!("{failed:?}").contains("abc"));
    }

    #[test]
    fn the_name_of_a_prover_is_safe_in_a_log() {
        for good in ["a", "prover-7.example_1", &"x".repeat(WORKER_MAX_BYTES)] {
            assert!(is_worker_name(good), "{good}");
        }
        for bad in ["", "a b", "ä", "a\n", &"x".repeat(WORKER_MAX_BYTES + 1)] {
            assert!(!is_worker_name(bad), "{bad}");
        }
    }
}
