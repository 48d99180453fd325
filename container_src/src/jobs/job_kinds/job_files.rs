//! Where the witnesses of proof jobs come from, and where their proofs go: the artifacts of this server, or a server elsewhere.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use edgeprove_artifacts::{ArtifactError, ArtifactKind, ArtifactStore};
use edgeprove_engine::witness::from_artifacts::fetch_into;
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{HasProblemType as _, ProblemType};
use edgeprove_spool::{Spool, SpoolFile};

/// The files of proof jobs.
#[async_trait]
pub trait JobFiles: Send + Sync {
    /// Fetches the witnesses of a job into the spool, a file each. The files wipe themselves. All witnesses are one body, and
    /// `cuts` are the offsets at which all but the first begin.
    async fn fetch(&self, job: &Job, spool: &Spool, cuts: &[u64]) -> Result<Vec<SpoolFile>, FileError>;

    /// Stores the proof of a job, and returns its name.
    async fn store(&self, job: &Job, proof: &[u8]) -> Result<String, FileError>;

    /// Whether the witnesses were checked before they were stored, and cannot have changed since.
    fn are_checked(&self) -> bool {
        true
    }
}

/// A file of a job cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("a file of a job cannot be read or written")]
pub struct FileError {
    /// The problem of the job.
    pub kind: ProblemType,
    /// What its caller may see.
    pub detail: String,
    /// Whether it is an outage, after which the file may be read or written.
    pub is_outage: bool,
    /// The cause.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl From<ArtifactError> for FileError {
    fn from(error: ArtifactError) -> Self {
        let (kind, detail, is_outage) = (error.kind(), error.public_detail(), error.is_retryable());
        Self { kind, detail, is_outage, source: error.into() }
    }
}

/// The artifacts of this server.
#[async_trait]
impl JobFiles for Arc<ArtifactStore> {
    async fn fetch(&self, job: &Job, spool: &Spool, cuts: &[u64]) -> Result<Vec<SpoolFile>, FileError> {
        let input = job.input.as_deref().and_then(|name| name.parse().ok());
        let input = input.ok_or_else(|| FileError {
            kind: ProblemType::StoredDataDamaged,
            detail: "the job has no witness".to_owned(),
            is_outage: false,
            source: "the job names no artifact".into(),
        })?;
        Ok(fetch_into(self, &input, ArtifactKind::Witness, spool, cuts).await?)
    }

    async fn store(&self, _: &Job, proof: &[u8]) -> Result<String, FileError> {
        Ok(self.put(ArtifactKind::Proof, proof).await?.to_string())
    }
}
