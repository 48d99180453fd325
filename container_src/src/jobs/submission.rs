//! Accepts jobs: proof jobs, from a checked upload to a stored job, and others with [`Acceptance`].

use std::{sync::Arc, time::Duration};

use edgeprove_artifacts::{ArtifactError, ArtifactKind, ArtifactName, ArtifactStore};
use edgeprove_audit::AuditError;
use edgeprove_engine::{
    proof_cache::CachePolicy,
    proof_service::{Candidate, Candidates},
};
use edgeprove_job_queue::{EnqueueError, Enqueued, QueueError, SqlQueue};
use edgeprove_job_rules::{
    idempotency::{BodyDigest, Idempotency, IdempotencyKey},
    job::{Job, NewJob},
    outcome::{EncodeError, encode_payload},
};
use edgeprove_protocol::{CircuitId, HasProblemType, JobId, Priority, ProblemType, TraceContext};
use edgeprove_spool::SpoolError;
use edgeprove_webhooks::{Callback, OweError, Owed, WebhookStore};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::oneshot,
};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::access::{
    Grant,
    voucher_uses::{UseError, UsesOfVoucher},
};

use super::{
    Jobs,
    job_kinds::proof_payload::{JobVoucher, KIND, Payload, UploadTimes, WitnessDescriptor},
    job_recorder::JobRecorder,
    spent_proofs::SpentProofs,
};

/// What a caller allows a proof. What is `None` is up to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProofLimits {
    /// The maximum number of attempts at the job.
    pub max_attempts: Option<u32>,
    /// The longest time for the proof.
    pub timeout: Option<Duration>,
}

/// A proof job that is submitted.
#[derive(Debug)]
pub struct Submission {
    /// The witnesses: of the requested circuit, then of ever smaller circuits of its family.
    pub candidates: Candidates,
    /// The circuit that was asked for. It is that of the first witness, unless it could not be loaded.
    pub requested: CircuitId,
    /// The caller that the job belongs to.
    pub owner: String,
    /// Its account: see [`Jobs::account`].
    pub account: String,
    /// The maximum number of unfinished jobs of the account, if it is lower than that of all accounts.
    pub unfinished_max: Option<u32>,
    /// How the proof cache may be used.
    pub cache: CachePolicy,
    /// What the caller allows the job.
    pub limits: ProofLimits,
    /// Whether the body came sealed.
    pub sealed: bool,
    /// How long the request took to arrive.
    pub received: UploadTimes,
    /// The priority.
    pub priority: Priority,
    /// The caller's idempotency key.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The request.
    pub asked: Asked,
    /// The trace of the request.
    pub trace: Option<TraceContext>,
    /// The proof of the caller's limits that an accepted job uses up.
    pub grant: Grant,
    /// Whether the caller has a quota, to which the proof of a failed job returns.
    pub has_quota: bool,
    /// The voucher of the page that submits it, of which an accepted job is one use.
    pub voucher: Option<(JobVoucher, UsesOfVoucher)>,
}

/// The request that a job comes with.
#[derive(Debug)]
pub struct Asked {
    /// Its id.
    pub request_id: String,
    /// Who is notified when the job has finished.
    pub callback: Option<Callback>,
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// The queue refused it.
    #[error(transparent)]
    Queue(#[from] EnqueueError),
    /// Its caller cannot be notified when it has finished.
    #[error(transparent)]
    Callback(#[from] OweError),
    /// The witness could not be stored.
    #[error("the witness could not be stored")]
    Artifact(#[from] ArtifactError),
    /// The audit log could not be written. The job was cancelled.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The voucher is used up, or its uses cannot be counted.
    #[error(transparent)]
    Voucher(#[from] UseError),
    /// The same request was sent before, and that one could not be written to the audit log.
    #[error("the acceptance of the job could not be written to the audit log")]
    NotAccepted,
    /// The task that accepts the job ended early.
    #[error("the task that accepts the job ended early")]
    Interrupted,
    /// The spooled witness could not be read.
    #[error("the spooled witness could not be read")]
    Spool(#[from] SpoolError),
    /// The number of this container is too large for a job id.
    #[error("the number of this container is too large for a job id")]
    InstanceNumber(#[source] edgeprove_protocol::job_id::InvalidJobId),
    /// The payload could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Jobs {
    /// Submits a proof job. When this returns, the job is durable and the spooled witnesses are no longer needed.
    pub async fn submit(&self, submission: Submission) -> Result<Enqueued, SubmissionError> {
        let Submission { candidates, requested, owner, account, unfinished_max, cache, .. } = submission;
        let Submission {
            limits,
            sealed,
            received,
            priority,
            idempotency_key,
            asked,
            trace,
            grant,
            has_quota,
            voucher,
            ..
        } = submission;
        let (voucher, uses) = voucher.unzip();
        let store = &self.store;
        let Candidates { first, smaller } = &candidates;
        let witnesses = || std::iter::once(first).chain(smaller);
        let payload = Payload {
            first: descriptor(first),
            smaller: smaller.iter().map(descriptor).collect(),
            requested: (requested != first.circuit.id).then_some(requested),
            cache,
            timeout_ms: limits.timeout.map(edgeprove_telemetry::millis),
            sealed,
            received: Some(received),
            request_id: asked.request_id.clone(),
            trace,
            voucher,
        };
        let id = JobId::new(store.instance_number, *Uuid::new_v4().as_bytes());
        let mut job = NewJob {
            id: id.map_err(SubmissionError::InstanceNumber)?,
            kind: KIND.to_owned(),
            subject: first.circuit.id.to_string(),
            version: first.circuit.version(),
            owner,
            account,
            priority,
            max_attempts: limits.max_attempts.unwrap_or(self.max_attempts),
            idempotency: idempotency_key
                .map(|key| Idempotency { key, body: digest(&store.artifacts, witnesses()) }),
            payload: encode_payload(&payload)?,
            input: None,
        };
        let mut spooled: Box<dyn AsyncRead + Send + Unpin> = Box::new(tokio::io::empty());
        for candidate in witnesses() {
            let file = candidate.witness.file.source().open()?;
            spooled = Box::new(spooled.chain(tokio::fs::File::from_std(file)));
        }
        let input = store.artifacts.put(ArtifactKind::Witness, spooled).await?;
        job.input = Some(input.to_string());
        let charge = Charge { grant: Some(grant), has_quota, unfinished_max, uses };
        self.accept(job, Some(input), asked, charge).await
    }

    /// Enqueues a job whose input, if it has one, is stored. When this returns, the job is durable and in the audit log.
    pub(super) async fn accept(
        &self,
        job: NewJob,
        input: Option<ArtifactName>,
        asked: Asked,
        charge: Charge,
    ) -> Result<Enqueued, SubmissionError> {
        let acceptance = Acceptance {
            queue: self.store.queue.clone(),
            artifacts: Arc::clone(&self.store.artifacts),
            webhooks: self.webhooks.as_ref().map(|webhooks| webhooks.store.clone()),
            recorder: self.recorder.clone(),
            quota: Arc::clone(&self.quota),
            job,
            input,
            asked,
            charge,
        };
        let (done, accepted) = oneshot::channel();
        // A task of its own: a caller that leaves must not leave a job behind that is not in the audit log, or that cost
        // nothing.
        let accepting = async move {
            // The caller may have left.
            let _ = done.send(acceptance.run().await);
        };
        self.supervisor.spawn("accept a job", accepting.in_current_span());
        accepted.await.unwrap_or(Err(SubmissionError::Interrupted))
    }
}

/// What an accepted job takes from the limits of its caller.
pub struct Charge {
    /// One proof; `None` for jobs that are no proofs.
    pub grant: Option<Grant>,
    /// Whether the caller has a quota, to which the proof of a failed job returns.
    pub has_quota: bool,
    /// The maximum number of unfinished jobs of the account, if it is lower than that of all accounts.
    pub unfinished_max: Option<u32>,
    /// The uses of the voucher, one of which it takes.
    pub uses: Option<UsesOfVoucher>,
}

/// A job on its way into the queue and the audit log. Its input is stored.
struct Acceptance {
    queue: SqlQueue,
    artifacts: Arc<ArtifactStore>,
    webhooks: Option<WebhookStore>,
    recorder: JobRecorder,
    quota: Arc<SpentProofs>,
    job: NewJob,
    input: Option<ArtifactName>,
    asked: Asked,
    charge: Charge,
}

/// The webhook of a job on its way into the queue.
struct OwedWebhook {
    store: WebhookStore,
    callback: Callback,
    id: String,
}

impl OwedWebhook {
    /// Owes the webhook of a new job, before it is enqueued: no accepted job lacks it.
    async fn of(
        job: &NewJob,
        callback: Option<Callback>,
        store: Option<WebhookStore>,
    ) -> Result<Option<Self>, OweError> {
        let (Some(callback), Some(store)) = (callback, store) else { return Ok(None) };
        match store.owe(job.id, &job.kind, &callback).await? {
            Owed::New(id) => Ok(Some(Self { store, callback, id })),
            // The id of the job is new.
            Owed::Known => Ok(None),
        }
    }

    /// The job was not accepted.
    async fn withdraw(&self) {
        if let Err(error) = self.store.withdraw(&self.id).await {
            let error = edgeprove_telemetry::chain(&error);
            tracing::warn!(webhook = self.id, error, "a superfluous webhook could not be deleted yet");
        }
    }

    /// The request has another job, which was there before.
    async fn move_to(&self, job: &Job, queue: &SqlQueue) -> Result<(), OweError> {
        self.withdraw().await;
        self.store.owe(job.id, &job.kind, &self.callback).await?;
        queue.database().sync().await.map_err(QueueError)?;
        Ok(())
    }
}

impl Acceptance {
    /// Takes a use of the voucher, if there is one. Enqueues the job, records that, and uses up the quota.
    async fn run(self) -> Result<Enqueued, SubmissionError> {
        let Some(uses) = self.charge.uses.clone() else { return self.enqueue().await };
        let (queue, account) = (self.queue.clone(), self.job.account.clone());
        let key = self.job.idempotency.as_ref().map(|idempotency| idempotency.key.clone());
        let (_lock, is_repeated) = match &key {
            Some(key) => {
                let lock = uses.lock(key.as_str()).await;
                (Some(lock), queue.has_key(&account, key).await.map_err(EnqueueError::Queue)?)
            }
            None => (None, false),
        };
        // The job of a repeated request is there already, and was a use.
        if is_repeated {
            return self.enqueue().await;
        }
        let (artifacts, input) = (Arc::clone(&self.artifacts), self.input);
        if let Err(error) = uses.take().await {
            if let Some(input) = input {
                remove(&artifacts, input).await;
            }
            return Err(error.into());
        }
        let enqueued = self.enqueue().await;
        match &enqueued {
            Ok(Enqueued::Accepted(_)) => {}
            Err(SubmissionError::Queue(EnqueueError::Queue(QueueError(error))))
                if error.may_have_happened() => {}
            Ok(Enqueued::Known(_)) | Err(_) => uses.give_back().await,
        }
        enqueued
    }

    /// Enqueues the job, records that, and uses up the quota. Its worker waits for the record.
    async fn enqueue(self) -> Result<Enqueued, SubmissionError> {
        let Self { queue, artifacts, webhooks, recorder, quota, job, input, asked, charge } = self;
        let (Charge { grant, has_quota, unfinished_max, .. }, Asked { request_id, callback }) =
            (charge, asked);
        let id = job.id;
        let owed = match OwedWebhook::of(&job, callback, webhooks).await {
            Ok(owed) => owed,
            Err(error) => {
                if let Some(input) = input {
                    remove(&artifacts, input).await;
                }
                return Err(error.into());
            }
        };
        let accepting = recorder.accepting(id);
        let enqueued = queue.enqueue(job, unfinished_max).await;
        match &enqueued {
            Ok(Enqueued::Accepted(job)) => {
                if let Err(error) = recorder.accepted(job, request_id.clone()).await {
                    // The caller gets no id, and no webhook.
                    if let Some(owed) = &owed {
                        owed.withdraw().await;
                    }
                    // A job that cannot be cancelled either is recorded before it starts.
                    if queue.cancel(id, None).await.is_err() {
                        recorder.record_before_start(id, request_id);
                    }
                    return Err(error.into());
                }
                tracing::info!(job = %id, kind = job.kind, priority = %job.priority, "job accepted");
                let spent = grant.and_then(Grant::spend_on_job).filter(|_| has_quota);
                if let Some(spent) = spent {
                    quota.remember(id, spent).await;
                }
            }
            // The job may be in the queue although the answer was lost, and a caller may ask for it again by its key. If it is
            // not, upkeep removes the witness later.
            Err(EnqueueError::Queue(QueueError(error))) if error.may_have_happened() => {
                recorder.record_before_start(id, request_id);
            }
            // The request that created the job spent its grant.
            Ok(Enqueued::Known(_)) | Err(_) => {
                if let Some(input) = input {
                    remove(&artifacts, input).await;
                }
                match (&enqueued, &owed) {
                    (Ok(Enqueued::Known(job)), Some(owed)) => owed.move_to(job, &queue).await?,
                    (_, Some(owed)) => owed.withdraw().await,
                    (_, None) => {}
                }
            }
        }
        accepting.recorded();
        let enqueued = enqueued?;
        if let Enqueued::Known(job) = &enqueued
            && !recorder.is_accepted(job).await
        {
            return Err(SubmissionError::NotAccepted);
        }
        Ok(enqueued)
    }
}

fn descriptor(candidate: &Candidate) -> WitnessDescriptor {
    let Candidate { circuit, target, witness, .. } = candidate;
    WitnessDescriptor {
        circuit: circuit.id.clone(),
        version: circuit.version(),
        target: *target,
        compressed_bytes: witness.compressed_bytes,
        decompressed_bytes: witness.decompressed_bytes,
    }
}

/// Removes a witness that no job names. If that fails, upkeep removes it later.
async fn remove(artifacts: &ArtifactStore, input: ArtifactName) {
    if let Err(error) = artifacts.delete(&input).await {
        tracing::warn!(error = %edgeprove_telemetry::chain(&error), "a superfluous witness could not be deleted yet");
    }
}

/// The digest of everything that the proof depends on. It reveals another request under the same key. It is keyed with the
/// store's own key, so that nobody can test guesses of a witness with it.
fn digest<'a>(artifacts: &ArtifactStore, candidates: impl Iterator<Item = &'a Candidate>) -> BodyDigest {
    let parts: Vec<&[u8]> = candidates
        .flat_map(|Candidate { circuit, target, digest, .. }| {
            [circuit.id.as_str().as_bytes(), target.as_str().as_bytes(), digest.as_bytes().as_slice()]
        })
        .collect();
    BodyDigest(artifacts.fingerprint(&parts))
}

impl HasProblemType for SubmissionError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Queue(error) => error.kind(),
            Self::Callback(error) => error.kind(),
            Self::Artifact(error) => error.kind(),
            Self::Audit(error) => error.kind(),
            Self::Voucher(error) => error.kind(),
            Self::NotAccepted => ProblemType::AuditUnavailable,
            Self::Spool(error) => error.kind(),
            Self::Interrupted | Self::InstanceNumber(_) | Self::Encode(_) => ProblemType::Internal,
        }
    }
}
