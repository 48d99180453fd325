//! The outcome of a job as its row stores it: one JSON text that holds either what the kind reports of a completed job, or
//! the problem of the last attempt.
//!
//! Everything that writes or reads the column `outcome` goes through [`StoredOutcome`]. A text that it cannot read is an
//! error and never an empty value, because a default would be shown to callers as if it were true.

use edgeprove_protocol::{HasProblemType, Problem, ProblemType};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::job::Job;

/// The content of the column `outcome`. `T` is the type by which the job's kind describes its results.
///
/// ```
/// use edgeprove_job_rules::outcome::StoredOutcome;
///
/// let text = StoredOutcome::Completed(7).encode().unwrap();
/// assert_eq!(text, r#"{"completed":7}"#);
/// assert_eq!(StoredOutcome::<u32>::decode(&text).unwrap(), StoredOutcome::Completed(7));
/// assert!(StoredOutcome::<u32>::decode("{}").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredOutcome<T> {
    /// What the kind reports of the result of a completed job.
    Completed(T),
    /// Why the last attempt failed.
    Failed(Box<Problem>),
}

/// A text of a job's row could not be written as JSON. It is a fault of the code.
#[derive(Debug, thiserror::Error)]
#[error("the {column} of a job cannot be encoded")]
pub struct EncodeError {
    column: &'static str,
    #[source]
    source: serde_json::Error,
}

/// A text of a job's row is not what the job's kind writes.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The text is no JSON, or no JSON of this type.
    #[error("the {column} of the job cannot be decoded")]
    Invalid {
        /// The column.
        column: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// There is no text although the status of the job requires one.
    #[error("the job has no {column}")]
    Missing {
        /// The column.
        column: &'static str,
    },
    /// The outcome of a completed job is a problem, or that of a failed one is none.
    #[error("the outcome of the job contradicts its status")]
    Contradiction,
}

impl HasProblemType for DecodeError {
    fn kind(&self) -> ProblemType {
        ProblemType::StoredDataDamaged
    }
}

impl<T: Serialize> StoredOutcome<T> {
    /// The text for the row.
    pub fn encode(&self) -> Result<String, EncodeError> {
        encode("outcome", self)
    }
}

impl<T: DeserializeOwned> StoredOutcome<T> {
    /// Reads a text from a row.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        decode("outcome", text)
    }
}

impl Job {
    /// Reads what the kind reports of the result of this completed job.
    pub fn completion<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let text = self.outcome.as_deref().ok_or(DecodeError::Missing { column: "outcome" })?;
        match StoredOutcome::decode(text)? {
            StoredOutcome::Completed(report) => Ok(report),
            StoredOutcome::Failed(_) => Err(DecodeError::Contradiction),
        }
    }

    /// Reads the problem of the last attempt; `None` where the last attempt did not fail, or the job has expired.
    pub fn problem(&self) -> Result<Option<Problem>, DecodeError> {
        let Some(text) = self.outcome.as_deref() else { return Ok(None) };
        match StoredOutcome::<serde::de::IgnoredAny>::decode(text)? {
            StoredOutcome::Completed(_) => Ok(None),
            StoredOutcome::Failed(problem) => Ok(Some(*problem)),
        }
    }

    /// Reads the payload, as the kind wrote it.
    pub fn read_payload<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode("payload", &self.payload)
    }
}

/// What a kind reports of a result, as JSON that [`StoredOutcome::Completed`] can hold.
pub fn report<T: Serialize>(report: T) -> Result<serde_json::Value, EncodeError> {
    serde_json::to_value(report).map_err(|source| EncodeError { column: "outcome", source })
}

/// The text of a payload.
pub fn encode_payload<T: Serialize>(payload: &T) -> Result<String, EncodeError> {
    encode("payload", payload)
}

fn encode<T: Serialize>(column: &'static str, value: &T) -> Result<String, EncodeError> {
    serde_json::to_string(value).map_err(|source| EncodeError { column, source })
}

fn decode<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|source| DecodeError::Invalid { column, source })
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::{JobId, Priority, ProblemType};

    use super::*;
    use crate::{
        job::NewJob,
        priority::Rank,
        time::UnixMillis,
        turn::{OrderKey, Turn},
    };

    fn job(outcome: Option<&str>) -> Job {
        let new = NewJob {
            id: JobId::new(None, [1; 16]).unwrap(),
            kind: "noop".to_owned(),
            subject: "nothing".to_owned(),
            version: "1".to_owned(),
            owner: "alice".to_owned(),
            account: "key:alice".to_owned(),
            priority: Priority::Normal,
            max_attempts: 1,
            idempotency: None,
            payload: "[1,2]".to_owned(),
            input: None,
        };
        Job {
            outcome: outcome.map(str::to_owned),
            ..new.arrive(1, UnixMillis(0), OrderKey { rank: Rank(0), turn: Turn(0) })
        }
    }

    #[test]
    fn a_problem_is_read_back_as_it_was_written() {
        let problem = Problem::new(ProblemType::WorkerLost, "it died", Some("r".to_owned()));
        let text = StoredOutcome::<()>::Failed(Box::new(problem.clone())).encode().unwrap();
        let job = job(Some(&text));
        assert_eq!(job.problem().unwrap(), Some(problem));
        assert!(matches!(job.completion::<u32>(), Err(DecodeError::Contradiction)));
    }

    #[test]
    fn an_outcome_that_cannot_be_read_is_an_error() {
        assert!(matches!(job(Some("")).problem(), Err(DecodeError::Invalid { .. })));
        assert!(matches!(job(None).completion::<u32>(), Err(DecodeError::Missing { .. })));
        assert_eq!(job(None).problem().unwrap(), None);
        assert_eq!(job(None).read_payload::<Vec<u32>>().unwrap(), [1, 2]);
        assert!(matches!(job(None).read_payload::<String>(), Err(DecodeError::Invalid { .. })));
    }
}
