//! From a checked upload to a job that is kept.

use std::io;

use edgeprove_job_rules::{
    idempotency::{BodyDigest, Idempotency, IdempotencyKey},
    job::NewJob,
};
use edgeprove_protocol::{HasProblemType, JobId, Priority, ProblemType};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use uuid::Uuid;

use super::{
    JobContext,
    kinds::proof::{KIND, Payload, WitnessDescriptor},
};
use edgeprove_artifacts::{ArtifactError, ArtifactKind, ArtifactName};
use edgeprove_audit::AuditError;
use edgeprove_engine::{
    proof_cache::CachePolicy,
    proof_service::{Candidate, Candidates},
};
use edgeprove_job_queue::queue::{QueueError, SubmitError, Submitted};

/// What is submitted.
#[derive(Debug)]
pub struct Submission {
    /// The witnesses: of the requested circuit, then of ever smaller ones of its family.
    pub candidates: Candidates,
    /// Who asks.
    pub owner: String,
    /// How many unfinished jobs the owner may have; the bound of all owners holds besides.
    pub unfinished_max: Option<u32>,
    /// What may be done with the cache of proofs.
    pub cache: CachePolicy,
    /// How urgent it is.
    pub priority: Priority,
    /// The caller's own key for the request.
    pub idempotency_key: Option<IdempotencyKey>,
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
    /// It is in the queue, and could not be put on record.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The spooled witness could not be read.
    #[error("the spooled witness could not be read")]
    Spool(#[source] io::Error),
    /// This server could not name a job.
    #[error("the number of this container cannot be part of a job's name")]
    Home(#[source] edgeprove_protocol::job_id::InvalidJobId),
}

/// Takes witnesses in. When this returns, the job is kept and what is spooled no longer needed.
pub async fn submit(workshop: &JobContext, submission: Submission) -> Result<Submitted, SubmissionError> {
    let Submission { candidates, owner, unfinished_max, cache, priority, idempotency_key, request_id } =
        submission;
    let Candidates { first, smaller } = &candidates;
    let witnesses = || std::iter::once(first).chain(smaller);
    let idempotency = idempotency_key.map(|key| Idempotency { key, body: digest(workshop, witnesses()) });
    let id = JobId::new(workshop.home, *Uuid::new_v4().as_bytes()).map_err(SubmissionError::Home)?;
    let mut spooled: Box<dyn AsyncRead + Send + Unpin> = Box::new(tokio::io::empty());
    for witness in witnesses() {
        let file =
            tokio::fs::File::open(witness.witness.file.path()).await.map_err(SubmissionError::Spool)?;
        spooled = Box::new(spooled.chain(file));
    }
    let input = workshop.artifacts.put(ArtifactKind::Witness, spooled).await?;
    let subject = first.circuit.id.to_string();
    let payload = Payload {
        first: descriptor(first),
        smaller: smaller.iter().map(descriptor).collect(),
        cache,
        request_id: request_id.clone(),
    };
    let job = NewJob {
        id,
        kind: KIND.to_owned(),
        subject,
        version: first.circuit.version(),
        owner,
        priority,
        max_attempts: workshop.max_attempts,
        idempotency,
        // It has text keys and no failing serialiser of its own.
        payload: serde_json::to_string(&payload).unwrap_or_default(),
        input: Some(input.to_string()),
    };
    let submitted = workshop.queue.submit(job, unfinished_max).await;
    match &submitted {
        Ok(Submitted::Taken(job)) => {
            tracing::info!(job = %job.id, priority = %job.priority, "job taken in");
            if let Err(error) = workshop.recorder.submitted(job, KIND, request_id).await {
                // Its caller never hears of it; should this fail too, it is done for nothing.
                let _ = workshop.queue.cancel(job.id, None).await;
                return Err(error.into());
            }
        }
        // The job may be in the queue although nobody could say so, and whoever asks again by its key will hear of it. If it
        // is not, the next look for orphans finds the witness.
        Err(SubmitError::Queue(QueueError(error))) if error.may_have_happened() => {}
        Ok(Submitted::Known(_)) | Err(_) => forget(workshop, input).await,
    }
    Ok(submitted?)
}

fn descriptor(candidate: &Candidate) -> WitnessDescriptor {
    let Candidate { circuit, target, witness, .. } = candidate;
    WitnessDescriptor {
        circuit: circuit.id.clone(),
        version: circuit.version(),
        target: *target,
        compressed_bytes: witness.compressed_bytes,
        inflated_bytes: witness.decompressed_bytes,
    }
}

/// No job names it. Should it stay, the next look for orphans finds it.
async fn forget(workshop: &JobContext, input: ArtifactName) {
    if let Err(error) = workshop.artifacts.delete(&input).await {
        tracing::warn!(error = %edgeprove_telemetry::chain(&error), "a witness that no job needs could not be deleted yet");
    }
}

/// Stands for all that the proof depends on, so that another request under the same key is noticed. Guesses of a witness
/// cannot be tested with it: it is made with the store's own key.
fn digest<'a>(workshop: &JobContext, witnesses: impl Iterator<Item = &'a Candidate>) -> BodyDigest {
    let parts: Vec<&[u8]> = witnesses
        .flat_map(|Candidate { circuit, target, digest, .. }| {
            [circuit.id.as_str().as_bytes(), target.as_str().as_bytes(), digest.as_bytes().as_slice()]
        })
        .collect();
    BodyDigest(workshop.artifacts.fingerprint(&parts))
}

impl HasProblemType for SubmissionError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Queue(error) => error.kind(),
            Self::Artifact(error) => error.kind(),
            Self::Audit(error) => error.kind(),
            Self::Spool(_) => ProblemType::SpoolUnavailable,
            Self::Home(_) => ProblemType::Internal,
        }
    }
}
