//! From a checked upload to a job that is kept.

use std::io;

use edgeprove_pipeline::{
    idempotency::{BodyDigest, Idempotency, IdempotencyKey},
    job::NewJob,
};
use edgeprove_protocol::{CircuitId, JobId, Priority, VerifierTarget};
use uuid::Uuid;

use super::{
    Workshop,
    kinds::prove::{KIND, Payload},
    queue::{QueueError, SubmitError, Submitted},
};
use crate::{
    artifacts::{ArtifactError, ArtifactKind, ArtifactName},
    proof_cache::CacheWish,
    telemetry,
    trust::audit::AuditError,
    witness::{WitnessDigest, intake::Upload},
};

/// What is handed in.
#[derive(Debug)]
pub struct Submission {
    /// The witness, checked for the circuit.
    pub upload: Upload,
    /// Its digest.
    pub witness: WitnessDigest,
    /// The circuit.
    pub circuit: CircuitId,
    /// Who is to verify the proof.
    pub target: VerifierTarget,
    /// Who asks.
    pub owner: String,
    /// How many unfinished jobs the owner may have; the bound of all owners holds besides.
    pub unfinished_max: Option<u32>,
    /// What may be done with the cache of proofs.
    pub cache: CacheWish,
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

/// Takes a witness in. When this returns, the job is kept and the spooled witness no longer needed.
pub async fn submit(workshop: &Workshop, submission: Submission) -> Result<Submitted, SubmissionError> {
    let Submission {
        upload,
        witness,
        circuit,
        target,
        owner,
        unfinished_max,
        cache,
        priority,
        key,
        request_id,
    } = submission;
    let body = || digest(workshop, &witness, &circuit, target);
    let idempotency = key.map(|key| Idempotency { key, body: body() });
    let id = JobId::new(workshop.home, *Uuid::new_v4().as_bytes()).map_err(SubmissionError::Home)?;
    let spooled = tokio::fs::File::open(upload.file.path()).await.map_err(SubmissionError::Spool)?;
    let input = workshop.artifacts.put(ArtifactKind::Witness, spooled).await?;
    let payload = Payload {
        circuit: circuit.clone(),
        target,
        compressed_bytes: upload.compressed_bytes,
        inflated_bytes: upload.inflated_bytes,
        cache,
        request_id: request_id.clone(),
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
    let submitted = workshop.queue.submit(job, unfinished_max).await;
    match &submitted {
        Ok(Submitted::Taken(job)) => {
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

/// No job names it. Should it stay, the next look for orphans finds it.
async fn forget(workshop: &Workshop, input: ArtifactName) {
    if let Err(error) = workshop.artifacts.delete(&input).await {
        tracing::warn!(error = %telemetry::chain(&error), "a witness that no job needs could not be deleted yet");
    }
}

/// Stands for all that the proof depends on, so that another request under the same key is noticed. Guesses of a witness
/// cannot be tested with it: it is made with the store's own key.
fn digest(
    workshop: &Workshop,
    witness: &WitnessDigest,
    circuit: &CircuitId,
    target: VerifierTarget,
) -> BodyDigest {
    let parts: [&[u8]; 3] = [circuit.as_str().as_bytes(), target.as_str().as_bytes(), witness.as_bytes()];
    BodyDigest(workshop.artifacts.fingerprint(&parts))
}
