//! The state of a job.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The state of a job. On the wire and in the database it is the name in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// It waits for a worker, or for the time of its next attempt.
    Queued,
    /// A worker has it.
    Running,
    /// It succeeded, and its result is stored.
    Completed,
    /// It failed, or its workers died too often.
    Failed,
    /// Its caller or an operator cancelled it.
    Cancelled,
    /// It finished so long ago that its result was deleted.
    Expired,
}

/// The text is not the name of a status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown status; it is one of queued, running, completed, failed, cancelled, expired")]
pub struct UnknownJobStatus;

impl JobStatus {
    /// Every status, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled, Self::Expired];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether the job has finished: no worker will start it again.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Expired => true,
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobStatus {
    type Err = UnknownJobStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownJobStatus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_name() {
        for status in JobStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
        assert_eq!("Queued".parse::<JobStatus>(), Err(UnknownJobStatus));
    }
}
