//! Requests for deployments: the contracts of a circuit are deployed once on a chain for an account, however many requests
//! ask for it.
//!
//! All deployments have one account in the queue, so that operators who ask at the same moment get one job. A deployment that
//! failed can be requested again, and continues: the key of the next job has the number of the job before it.

use edgeprove_chain::{DeployerKey, Node, NodeError, Record};
use edgeprove_circuit_store::{
    CircuitStoreError, StoredCircuit,
    deployments::{DeploymentKey, StoredDeployment},
};
use edgeprove_job_queue::{Enqueued, QueueError};
use edgeprove_job_rules::{
    capability::Subject,
    idempotency::{BodyDigest, Idempotency, IdempotencyKey, InvalidIdempotencyKey},
    job::{Job, NewJob},
    outcome::{DecodeError, EncodeError, encode_payload},
};
use edgeprove_outbound::RemoteUrl;
use edgeprove_protocol::{
    CircuitId, HasProblemType, JobId, JobStatus, Priority, ProblemType,
    answer::{DeployedContract, DeploymentEntry, DeploymentStatus},
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Jobs,
    held_keys::{HeldKey, TooManyKeys},
    job_kinds::deploy::{KIND, Payload, node_problem},
    submission::{Asked, Charge, SubmissionError},
};

/// The account of all deployments. Callers have accounts with a colon or without a space.
const ACCOUNT: &str = "contract deployments";
/// The most deployments of a circuit that are listed.
const LISTED_MAX: u32 = 100;

/// What is to be deployed.
pub struct DeployRequest {
    /// The circuit.
    pub circuit: StoredCircuit,
    /// The chain.
    pub chain_id: u64,
    /// The key of the account that deploys.
    pub key: DeployerKey,
    /// The node.
    pub node: RemoteUrl,
    /// Its client.
    pub client: Node,
    /// The owner of the job.
    pub owner: String,
    /// The request.
    pub asked: Asked,
    /// What the job takes from the limits of the caller.
    pub charge: Charge,
}

/// Why a deployment was not requested.
#[derive(Debug, thiserror::Error)]
pub enum DeployRequestError {
    /// The job was not accepted.
    #[error(transparent)]
    Submission(#[from] SubmissionError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store of circuits failed.
    #[error(transparent)]
    Store(#[from] CircuitStoreError),
    /// The node has no answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// There are too many deployments.
    #[error(transparent)]
    Keys(#[from] TooManyKeys),
    /// The payload could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The outcome of a job cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The key of the job is invalid.
    #[error(transparent)]
    Key(#[from] InvalidIdempotencyKey),
    /// The record of a deployment cannot be read or written.
    #[error("the record of a deployment is damaged")]
    Record(#[from] serde_json::Error),
    /// This server stores no circuits.
    #[error("this server stores no circuits")]
    NoStore,
}

impl HasProblemType for DeployRequestError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Submission(error) => error.kind(),
            Self::Queue(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Node(error) => node_problem(error),
            Self::Keys(error) => error.kind(),
            Self::Decode(error) => error.kind(),
            Self::Encode(_) | Self::Key(_) => ProblemType::Internal,
            Self::Record(_) => ProblemType::StoredDataDamaged,
            Self::NoStore => ProblemType::CircuitNotFound,
        }
    }
}

/// The subject of the jobs of a deployment.
fn subject(key: &DeploymentKey) -> String {
    let DeploymentKey { circuit, version, chain_id, deployer } = key;
    format!("{circuit} {version} on {chain_id} by {deployer}")
}

impl Jobs {
    /// Deploys a circuit, or continues. The private key is forgotten if there is nothing to do. Where the node has no code of
    /// a verifier that was deployed, the deployment runs again.
    pub async fn request_deployment(
        &self,
        request: DeployRequest,
    ) -> Result<DeploymentEntry, DeployRequestError> {
        let DeployRequest { circuit, chain_id, key, node, client, owner, asked, charge } = request;
        let store = self.circuits.store().ok_or(DeployRequestError::NoStore)?;
        let id = circuit.circuit.id;
        let payload = Payload {
            circuit: id.clone(),
            version: circuit.circuit.version,
            chain_id,
            deployer: key.address().to_string(),
            request_id: asked.request_id.clone(),
        };
        let of = payload.key();
        let (mut known, latest) =
            (store.deployment(&of).await?, self.store.queue.latest(KIND, &subject(&of)).await?);
        if let Some(known) = &mut known
            && let Some(completed_at) = known.completed_at
            && !has_verifier(&client, &known.record).await?
        {
            tracing::warn!(circuit = %id, chain = chain_id, node = client.host(), "the chain has no contract where one was deployed: it is deployed again");
            store.reopen_deployment(&of, completed_at).await?;
            known.completed_at = None;
        }
        let pending = latest.as_ref().filter(|job| !job.status.is_finished());
        if let Some(known) = known.filter(|known| known.completed_at.is_some() || pending.is_some()) {
            if let Some(job) = pending {
                self.owe(job, asked.callback.as_ref()).await.map_err(SubmissionError::from)?;
            }
            // The server that accepted the job may have ended since.
            if let Some(job) = pending.filter(|job| job.status == JobStatus::Queued)
                && known.completed_at.is_none()
                && !self.keys.holds(&job.version)
            {
                let subject = Subject { name: job.subject.clone(), version: job.version.clone() };
                self.keys.hold(HeldKey { key, node, chain_id, subject })?;
            }
            return entry(&id, known, latest.as_ref(), true);
        }
        let number = latest.map_or(0, |job| job.seq);
        let job_id = JobId::new(self.store.instance_number, *Uuid::new_v4().as_bytes());
        let job_id = job_id.map_err(SubmissionError::InstanceNumber)?;
        let digest = Sha256::digest(subject(&of));
        // Only this server has the private key: the version of the job is that of no other one.
        let subject = Subject { name: subject(&of), version: job_id.to_string() };
        let idempotency_key: IdempotencyKey = format!("deploy/{}/{number}", hex::encode(digest)).parse()?;
        let job = NewJob {
            id: job_id,
            kind: KIND.to_owned(),
            subject: subject.name.clone(),
            version: subject.version.clone(),
            owner,
            account: ACCOUNT.to_owned(),
            priority: Priority::Normal,
            max_attempts: 1,
            idempotency: Some(Idempotency { key: idempotency_key, body: BodyDigest(digest.into()) }),
            payload: encode_payload(&payload)?,
            input: None,
        };
        let version = subject.version.clone();
        let record = serde_json::to_string(&Record::default())?;
        // Before anything is stored, and before a worker of this server can see the job.
        self.keys.hold(HeldKey { key, node, chain_id, subject })?;
        let accepted: Result<Enqueued, DeployRequestError> = async {
            store.plan_deployment(&of, job_id, &record).await?;
            Ok(self.accept(job, None, asked, charge).await?)
        }
        .await;
        if !matches!(accepted, Ok(Enqueued::Accepted(_))) {
            self.keys.forget(&version);
        }
        let (Enqueued::Accepted(job) | Enqueued::Known(job)) = accepted?;
        let stored = store.deployment(&of).await?.ok_or(DeployRequestError::NoStore)?;
        entry(&id, stored, Some(&job), true)
    }

    /// The deployment that a job was for, as operators see it; `None` where it is not known any more.
    pub(super) async fn deployment_of(
        &self,
        job: &Job,
    ) -> Result<Option<DeploymentEntry>, DeployRequestError> {
        let payload = Payload::of(job)?;
        let store = self.circuits.store().ok_or(DeployRequestError::NoStore)?;
        let stored = store.deployment(&payload.key()).await?;
        stored.map(|stored| entry(&payload.circuit, stored, Some(job), true)).transpose()
    }

    /// The deployments of a circuit. Why one failed is only for operators.
    pub async fn deployments(
        &self,
        circuit: &StoredCircuit,
        is_operator: bool,
    ) -> Result<Vec<DeploymentEntry>, DeployRequestError> {
        let Some(store) = self.circuits.store() else { return Ok(Vec::new()) };
        let id = &circuit.circuit.id;
        let mut entries = Vec::new();
        for mut stored in store.deployments(circuit, LISTED_MAX).await? {
            let latest = if stored.completed_at.is_none() {
                let key = DeploymentKey {
                    circuit: id.clone(),
                    version: circuit.circuit.version.clone(),
                    chain_id: stored.chain_id,
                    deployer: stored.deployer.clone(),
                };
                let latest = self.store.queue.latest(KIND, &subject(&key)).await?;
                if latest.as_ref().is_some_and(|job| job.status.is_finished()) {
                    // It may have completed the deployment after that was read, and then it has not failed.
                    stored = store.deployment(&key).await?.unwrap_or(stored);
                }
                latest
            } else {
                None
            };
            let entry = entry(id, stored, latest.as_ref(), is_operator)?;
            // A request that was refused after all left nothing.
            let is_empty =
                entry.status == DeploymentStatus::Failed && latest.is_none() && entry.contracts.is_empty();
            entries.extend((!is_empty).then_some(entry));
        }
        Ok(entries)
    }
}

/// Whether the node has the code of the verifier that this record has.
async fn has_verifier(client: &Node, record: &str) -> Result<bool, DeployRequestError> {
    let record: Record = serde_json::from_str(record)?;
    let Some(verifier) = record.contracts.last() else { return Ok(false) };
    Ok(client.has_code(verifier.address).await?)
}

fn entry(
    circuit: &CircuitId,
    stored: StoredDeployment,
    latest: Option<&Job>,
    is_operator: bool,
) -> Result<DeploymentEntry, DeployRequestError> {
    let StoredDeployment { chain_id, deployer, record, completed_at } = stored;
    let record: Record = serde_json::from_str(&record)?;
    let status = match (completed_at, latest.map(|job| job.status)) {
        (Some(_), _) => DeploymentStatus::Deployed,
        (None, Some(JobStatus::Queued | JobStatus::Running)) => DeploymentStatus::Pending,
        (None, _) => DeploymentStatus::Failed,
    };
    let error = match latest.filter(|_| is_operator && status == DeploymentStatus::Failed) {
        Some(job) => job.problem()?,
        None => None,
    };
    let verifier = record.contracts.last().filter(|_| completed_at.is_some());
    let address = verifier.map(|verifier| verifier.address.to_string());
    let contracts = record.contracts.into_iter().filter_map(|contract| {
        let created = contract.created?;
        Some(DeployedContract {
            name: contract.name,
            address: contract.address.to_string(),
            transaction: created.transaction.to_string(),
            block: created.block,
            gas_used: created.gas_used,
        })
    });
    Ok(DeploymentEntry {
        circuit: circuit.clone(),
        chain_id,
        deployer,
        status,
        address,
        contracts: contracts.collect(),
        deployed_at: completed_at.map(|at| edgeprove_telemetry::timestamp(at.0)),
        job_id: latest.filter(|_| completed_at.is_none()).map(|job| job.id),
        error,
    })
}
