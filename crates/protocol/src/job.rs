//! What a caller is told of a job.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{CircuitId, JobId, JobStatus, Priority, Problem, Target};

/// A job as its caller sees it: the answer of `GET /v1/proofs/{id}`, and every event of its stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobDocument {
    /// Its name.
    pub id: JobId,
    /// How far it is.
    pub status: JobStatus,
    /// What is done at the moment.
    pub stage: JobStage,
    /// How much of it is done, in percent. It falls when another attempt begins.
    pub progress: u8,
    /// Its place in the queue, 1 for the next; `None` once it is begun.
    pub queue_position: Option<u64>,
    /// How long it is likely to take from now on, in milliseconds; `None` where nothing is known of such jobs, or nothing
    /// is left to do.
    pub estimated_remaining_ms: Option<u64>,
    /// How much the estimate can be relied on, from 0 to 1.
    pub confidence: Option<f64>,
    /// The circuit.
    pub circuit: CircuitId,
    /// Who is to verify the proof.
    pub target: Target,
    /// The smaller circuit of the family that was proved instead, where the machine had too little for the one that was
    /// asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_circuit: Option<CircuitId>,
    /// How urgent it is.
    pub priority: Priority,
    /// Attempts begun.
    pub attempts: u32,
    /// How often it may be tried.
    pub max_attempts: u32,
    /// Why it failed; of a job that is tried again, why the last attempt did.
    pub error: Option<Problem>,
    /// When it was taken in, RFC 3339, UTC.
    pub created_at: String,
    /// When the last attempt began.
    pub started_at: Option<String>,
    /// When it was over.
    pub finished_at: Option<String>,
    /// Until when its result, or why it failed, is kept.
    pub expires_at: Option<String>,
    /// Where things are, relative to the service.
    pub links: JobLinks,
}

/// Where a job's things are, relative to the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLinks {
    /// The job itself.
    #[serde(rename = "self")]
    pub this: String,
    /// Its proof, once it is completed.
    pub proof: String,
    /// What happens to it, as server-sent events or over a WebSocket.
    pub events: String,
}

impl JobLinks {
    /// The places of a job.
    #[must_use]
    pub fn of(id: JobId) -> Self {
        let this = format!("/v1/proofs/{id}");
        Self { proof: format!("{this}/proof"), events: format!("{this}/events"), this }
    }
}

/// A page of a caller's jobs, the latest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobDocument>,
    /// Where the next page is, relative to the service; `None` after the last.
    pub next: Option<String>,
}

/// What is done for a job at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStage {
    /// It waits.
    Queued,
    /// Its witness is fetched, and a prover is waited for.
    Loading,
    /// It is proved.
    Proving,
    /// The proof is verified.
    Verifying,
    /// Nothing: it is over.
    Done,
}

/// A text that names no stage.
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

    /// How much of a job is done when this stage begins, in percent.
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
    fn a_job_says_where_its_things_are() {
        let id: JobId = "c3-01234567-89ab-4def-8123-456789abcdef".parse().unwrap();
        let links = serde_json::to_value(JobLinks::of(id)).unwrap();
        assert_eq!(links["self"], format!("/v1/proofs/{id}"));
        assert_eq!(links["events"], format!("/v1/proofs/{id}/events"));
    }
}
