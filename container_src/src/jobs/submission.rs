//! From a checked upload to a job that is kept.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
};

use edgeprove_pipeline::{
    idempotency::{BodyDigest, Idempotency, IdempotencyKey},
    job::NewJob,
};
use edgeprove_protocol::{CircuitId, JobId, Priority, VerifierTarget};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Workshop,
    kinds::prove::{KIND, Payload},
    queue::{SubmitError, Submitted},
};
use crate::{
    artifacts::{ArtifactError, ArtifactKind, ArtifactName},
    telemetry,
    witness::intake::Upload,
};

/// What is handed in.
#[derive(Debug)]
pub struct Submission {
    /// The witness, checked for the circuit.
    pub upload: Upload,
    /// The circuit.
    pub circuit: CircuitId,
    /// Who is to verify the proof.
    pub target: VerifierTarget,
    /// Who asks.
    pub owner: String,
    /// How urgent it is.
    pub priority: Priority,
    /// The caller's own name for the request.
    pub key: Option<IdempotencyKey>,
    /// The request.
    pub request_id: String,
}

/// Why nothing was taken in.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// The queue did not take it.
    #[error(transparent)]
    Queue(#[from] SubmitError),
    /// The witness could not be kept.
    #[error("the witness could not be kept")]
    Artifact(#[from] ArtifactError),
    /// The spooled witness could not be read.
    #[error("the spooled witness could not be read")]
    Spool(#[source] io::Error),
    /// This server could not name a job.
    #[error("the number of this container cannot be part of a job's name")]
    Home(#[source] edgeprove_protocol::job_id::InvalidJobId),
}

/// Takes a witness in. When this returns, the job is kept and the spooled witness no longer needed.
pub async fn submit(workshop: &Workshop, submission: Submission) -> Result<Submitted, SubmissionError> {
    let Submission { upload, circuit, target, owner, priority, key, request_id } = submission;
    let idempotency = match key {
        Some(key) => Some(Idempotency { key, body: digest(&upload, &circuit, target).await? }),
        None => None,
    };
    let id = JobId::new(workshop.home, *Uuid::new_v4().as_bytes()).map_err(SubmissionError::Home)?;
    let witness = tokio::fs::File::open(upload.file.path()).await.map_err(SubmissionError::Spool)?;
    let input = workshop.artifacts.put(ArtifactKind::Witness, witness).await?;
    let payload = Payload {
        circuit: circuit.clone(),
        target,
        compressed_bytes: upload.compressed_bytes,
        inflated_bytes: upload.inflated_bytes,
        request_id,
    };
    let job = NewJob {
        id,
        kind: KIND.to_owned(),
        subject: circuit.to_string(),
        owner,
        priority,
        max_attempts: workshop.max_attempts,
        idempotency,
        // It has text keys and no failing serialiser of its own.
        payload: serde_json::to_string(&payload).unwrap_or_default(),
        input: Some(input.to_string()),
    };
    let submitted = workshop.queue.submit(job).await;
    if !matches!(submitted, Ok(Submitted::Taken(_))) {
        forget(workshop, input).await;
    }
    Ok(submitted?)
}

/// No job names it. Should it stay, the next look for orphans finds it.
async fn forget(workshop: &Workshop, input: ArtifactName) {
    if let Err(error) = workshop.artifacts.delete(&input).await {
        tracing::warn!(error = %telemetry::chain(&error), "a witness that no job needs could not be deleted yet");
    }
}

/// All that the proof depends on, so that another request under the same key is noticed.
async fn digest(
    upload: &Upload,
    circuit: &CircuitId,
    target: VerifierTarget,
) -> Result<BodyDigest, SubmissionError> {
    let path: PathBuf = upload.file.path().to_owned();
    let mut hasher = Sha256::new();
    hasher.update(format!("{circuit}\n{}\n", target.as_str()));
    let read = move || {
        let (mut file, mut bytes) = (File::open(path)?, vec![0; 64 << 10]);
        loop {
            match file.read(&mut bytes)? {
                0 => break,
                length => hasher.update(&bytes[..length]),
            }
        }
        Ok(BodyDigest(hasher.finalize().into()))
    };
    let outcome = tokio::task::spawn_blocking(read).await;
    outcome.unwrap_or_else(|error| Err(error.into())).map_err(SubmissionError::Spool)
}
