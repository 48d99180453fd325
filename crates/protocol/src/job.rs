//! A job as its caller sees it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{CircuitId, JobId, JobStatus, Priority, Problem, Target};

/// A job: the answer of `GET /v1/proofs/{id}`, and the data of each event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobDocument {
    /// Its id.
    pub id: JobId,
    /// Its kind: `prove`; `build` or `deploy` in lists for operators and observers only.
    pub kind: String,
    /// The caller that it belongs to. Operators and observers see it in lists.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// Its state.
    pub status: JobStatus,
    /// The stage of a running attempt. Other kinds of jobs than `prove` are loading while they run.
    pub stage: JobStage,
    /// How much is done, in percent. It falls when another attempt starts.
    pub progress: u8,
    /// Its position in the queue, 1 for the next job; `None` once it has started.
    pub queue_position: Option<u64>,
    /// Expected time until it finishes, in milliseconds; `None` where there is no experience with such jobs, or the job
    /// has finished.
    pub estimated_remaining_ms: Option<u64>,
    /// Confidence of the estimate, from 0 to 1.
    pub confidence: Option<f64>,
    /// The circuit.
    pub circuit: CircuitId,
    /// The verifier that the proof is for; `None` for other kinds of jobs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<Target>,
    /// The smaller circuit of the family that was proved instead, where the machine had too little memory or time for the
    /// requested one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_circuit: Option<CircuitId>,
    /// Its priority.
    pub priority: Priority,
    /// Attempts so far, a running one included.
    pub attempts: u32,
    /// Maximum number of attempts.
    pub max_attempts: u32,
    /// The longest time for the proof, in milliseconds, where the caller lowered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
    /// Why it failed. Of a job that will be retried: why its last attempt failed.
    pub error: Option<Problem>,
    /// When it was accepted: RFC 3339, UTC, milliseconds.
    pub created_at: String,
    /// When the last attempt started.
    pub started_at: Option<String>,
    /// When it finished.
    pub finished_at: Option<String>,
    /// When its result, or the reason of its failure, is deleted.
    pub expires_at: Option<String>,
    /// Until when an operator may queue it again, because it failed and its witness is still there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_until: Option<String>,
    /// What its proof has taken, once it has completed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost: Option<crate::answer::Cost>,
    /// The receipt of its proof: see [`crate::answer::ProofAnswer::receipt`]. Answers about one job and webhooks have it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<String>,
    /// What took how long, in the order of time. Of a job with several attempts: the last one.
    #[serde(default)]
    pub stages: Vec<StageTime>,
    /// Paths of its resources.
    pub links: JobLinks,
}

/// Paths of a job's resources, relative to the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobLinks {
    /// The job itself.
    #[serde(rename = "self")]
    pub this: String,
    /// Its proof, once it is completed.
    pub proof: String,
    /// Its events, as server-sent events or over a WebSocket. Where the job belongs to a key, the answer to its submission
    /// and to a read by its caller has a token here, with which pages that cannot send a key may read this one job.
    pub events: String,
}

impl JobLinks {
    /// The paths for a job.
    #[must_use]
    pub fn of(id: JobId) -> Self {
        let this = format!("/v1/proofs/{id}");
        Self { proof: format!("{this}/proof"), events: format!("{this}/events"), this }
    }
}

/// A page of jobs, the latest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobDocument>,
    /// Path of the next page; `None` on the last.
    pub next: Option<String>,
    /// The number of jobs on all pages, where the request asks for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total: Option<u64>,
}

/// One bar of the waterfall of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StageTime {
    /// What was done.
    pub stage: TimedStage,
    /// When it began: RFC 3339, UTC, milliseconds.
    pub started_at: String,
    /// How long it took, in milliseconds; `None` while it lasts.
    pub duration_ms: Option<f64>,
}

/// A part of the time of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum TimedStage {
    /// The request with the witness or the inputs arrived.
    Upload,
    /// The server computed the witness from inputs.
    Witness,
    /// The job waited in the queue, for its last attempt.
    Queue,
    /// The witness was fetched, the proof waited for a core, and was stored.
    Load,
    /// The proof was made. Of other kinds of jobs: all their work.
    Prove,
    /// The proof was verified.
    Verify,
}

/// The stage of a job that makes a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobStage {
    /// It waits in the queue.
    Queued,
    /// Its witness is fetched, and it waits for a prover.
    Loading,
    /// The proof is made.
    Proving,
    /// The proof is verified.
    Verifying,
    /// It has finished.
    Done,
}

/// The text is not the name of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown stage; it is one of queued, loading, proving, verifying, done")]
pub struct UnknownJobStage;

impl JobStage {
    /// Every stage, in order.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Loading, Self::Proving, Self::Verifying, Self::Done];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Loading => "loading",
            Self::Proving => "proving",
            Self::Verifying => "verifying",
            Self::Done => "done",
        }
    }

    /// How much of the job is done when this stage starts, in percent.
    #[must_use]
    pub const fn percent(self) -> u8 {
        match self {
            Self::Queued => 0,
            Self::Loading => 2,
            Self::Proving => 10,
            Self::Verifying => 90,
            Self::Done => 100,
        }
    }
}

impl fmt::Display for JobStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobStage {
    type Err = UnknownJobStage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text).ok_or(UnknownJobStage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_one_name_and_go_up() {
        for stage in JobStage::ALL {
            assert_eq!(stage.as_str().parse(), Ok(stage));
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("\"{stage}\""));
        }
        assert!(JobStage::ALL.is_sorted_by_key(|stage| stage.percent()));
        assert_eq!("cooking".parse::<JobStage>(), Err(UnknownJobStage));
    }

    #[test]
    fn links_lead_to_the_job_its_proof_and_its_events() {
        let id: JobId = "c3-01234567-89ab-4def-8123-456789abcdef".parse().unwrap();
        let links = serde_json::to_value(JobLinks::of(id)).unwrap();
        assert_eq!(links["self"], format!("/v1/proofs/{id}"));
        assert_eq!(links["events"], format!("/v1/proofs/{id}/events"));
    }
}
