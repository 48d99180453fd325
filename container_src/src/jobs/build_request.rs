//! Requests for circuits: a circuit is built once, however many requests ask for it.
//!
//! A request finds the latest build of its circuit, whoever asked for it. The circuit id is in the idempotency key, so that
//! requests of one caller at the same moment are one job. Where two callers ask at the same moment, the second job finds the
//! circuit published. A build that failed can be requested again: the key of the next one has the number of the job before
//! it.

use edgeprove_circuit_store::{CircuitStoreError, StoredCircuit};
use edgeprove_job_queue::{Enqueued, QueueError};
use edgeprove_job_rules::{
    idempotency::{BodyDigest, Idempotency, IdempotencyKey, InvalidIdempotencyKey},
    job::{Job, NewJob},
    outcome::{EncodeError, encode_payload},
};
use edgeprove_protocol::{CircuitId, HasProblemType, JobId, JobStatus, Priority, ProblemType};
use edgeprove_templates::{CircuitHash, Instance};
use edgeprove_webhooks::Callback;
use uuid::Uuid;

use super::{
    Jobs,
    job_kinds::build::{KIND, Payload},
    submission::{Asked, Charge, SubmissionError},
};
use crate::circuits::description::params;

/// Where a circuit is on its way.
#[derive(Debug, Clone)]
pub enum BuildState {
    /// It is published.
    Ready(Box<StoredCircuit>),
    /// It is being built, or waits for that.
    Pending(Box<Job>),
    /// Its last build failed or was cancelled.
    Failed(Box<Job>),
}

/// Why a circuit was neither found nor requested.
#[derive(Debug, thiserror::Error)]
pub enum BuildRequestError {
    /// The job was not accepted.
    #[error(transparent)]
    Submission(#[from] SubmissionError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store of circuits failed, or is full.
    #[error(transparent)]
    Store(#[from] CircuitStoreError),
    /// The payload could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The circuit id is no key.
    #[error(transparent)]
    Key(#[from] InvalidIdempotencyKey),
    /// The circuit was built and removed meanwhile.
    #[error("the build of the circuit ended at the moment of this request: send it again")]
    TooFast,
}

impl HasProblemType for BuildRequestError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Submission(error) => error.kind(),
            Self::Queue(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Encode(_) | Self::Key(_) => ProblemType::Internal,
            Self::TooFast => ProblemType::NotReady,
        }
    }
}

/// Who asks for a circuit.
pub struct Requester {
    /// The owner of the job.
    pub owner: String,
    /// Its account: see [`Jobs::account`].
    pub account: String,
    /// The id of the request.
    pub request_id: String,
    /// Who is notified when the build has finished.
    pub callback: Option<Callback>,
    /// What the build takes from the limits of the caller.
    pub charge: Charge,
}

impl Jobs {
    /// Finds a circuit or its build; `None` where neither is known.
    pub async fn build_state(&self, id: &CircuitId) -> Result<Option<BuildState>, BuildRequestError> {
        if let Some(stored) = self.stored_circuit(id).await? {
            return Ok(Some(BuildState::Ready(Box::new(stored))));
        }
        match self.store.queue.latest(KIND, id.as_str()).await? {
            Some(job) => self.state_of(id, job).await,
            None => Ok(None),
        }
    }

    /// The state of a circuit whose latest build is this one; `None` where it was removed since.
    async fn state_of(&self, id: &CircuitId, job: Job) -> Result<Option<BuildState>, BuildRequestError> {
        Ok(match job.status {
            JobStatus::Queued | JobStatus::Running => Some(BuildState::Pending(Box::new(job))),
            JobStatus::Failed | JobStatus::Cancelled => Some(BuildState::Failed(Box::new(job))),
            // It may have been published since the look above, or was removed.
            JobStatus::Completed | JobStatus::Expired => {
                self.stored_circuit(id).await?.map(|stored| BuildState::Ready(Box::new(stored)))
            }
        })
    }

    /// The state of a circuit by a job that builds it.
    pub(super) async fn state_by(&self, job: Job) -> Result<BuildState, CircuitStoreError> {
        let stored = match job.status {
            JobStatus::Queued | JobStatus::Running => return Ok(BuildState::Pending(Box::new(job))),
            JobStatus::Failed | JobStatus::Cancelled => None,
            JobStatus::Completed | JobStatus::Expired => match job.subject.parse() {
                Ok(id) => self.stored_circuit(&id).await?,
                Err(_) => None,
            },
        };
        // A circuit that was removed since is none.
        Ok(stored
            .map_or_else(|| BuildState::Failed(Box::new(job)), |stored| BuildState::Ready(Box::new(stored))))
    }

    /// Asks for a circuit. It is built if it is neither published nor on its way.
    pub async fn request_build(
        &self,
        instance: &Instance,
        (id, hash): (&CircuitId, CircuitHash),
        by: Requester,
    ) -> Result<BuildState, BuildRequestError> {
        if let Some(stored) = self.stored_circuit(id).await? {
            return Ok(BuildState::Ready(Box::new(stored)));
        }
        // The key follows from the same look as the decision to build: a later look may find the job of another request.
        let latest = self.store.queue.latest(KIND, id.as_str()).await?;
        let key: IdempotencyKey = match latest {
            Some(job) => {
                let key = format!("build/{id}/{}", job.seq).parse()?;
                match self.state_of(id, job).await? {
                    Some(BuildState::Pending(job)) => {
                        // It may finish at this moment, and is reported nevertheless.
                        self.owe(&job, by.callback.as_ref()).await.map_err(SubmissionError::from)?;
                        return Ok(BuildState::Pending(job));
                    }
                    Some(state @ BuildState::Ready(_)) => return Ok(state),
                    Some(BuildState::Failed(_)) | None => {}
                }
                key
            }
            None => format!("build/{id}").parse()?,
        };
        if let Some(store) = self.circuits.store() {
            store.check_space(1).await?;
        }
        let template = instance.template();
        let payload = Payload {
            template: template.name().to_owned(),
            language: template.language(),
            params: serde_json::Value::Object(params(instance)).to_string(),
            request_id: by.request_id.clone(),
        };
        let job_id = JobId::new(self.store.instance_number, *Uuid::new_v4().as_bytes());
        let job = NewJob {
            id: job_id.map_err(SubmissionError::InstanceNumber)?,
            kind: KIND.to_owned(),
            subject: id.to_string(),
            version: hash.to_string(),
            owner: by.owner,
            account: by.account,
            priority: Priority::Normal,
            max_attempts: self.max_attempts,
            idempotency: Some(Idempotency { key, body: BodyDigest(*hash.as_bytes()) }),
            payload: encode_payload(&payload)?,
            input: None,
        };
        let asked = Asked { request_id: by.request_id, callback: by.callback };
        let accepted = self.accept(job, None, asked, by.charge).await?;
        let (Enqueued::Accepted(job) | Enqueued::Known(job)) = accepted;
        if !job.status.is_finished() {
            return Ok(BuildState::Pending(job));
        }
        // Another request was faster, and its build has ended already.
        self.build_state(id).await?.ok_or(BuildRequestError::TooFast)
    }

    async fn stored_circuit(&self, id: &CircuitId) -> Result<Option<StoredCircuit>, CircuitStoreError> {
        match self.circuits.store() {
            Some(store) => store.find(id).await,
            None => Ok(None),
        }
    }
}
