//! Deploys the contracts of circuits.
//!
//! The private key of the deployment is not in the job: the server that accepted it holds the key in memory
//! ([`HeldKeys`]), and only it takes the job, or another one that received the same request while the job waited. There is one
//! attempt: after its server ended, the job fails, and the same request continues the deployment.
//!
//! 1. The circuit is the one that was requested, and has compiled contracts.
//! 2. The deployment is taken over from earlier jobs: they can no longer send anything.
//! 3. The contracts are deployed. What is known is stored before each transaction is sent.
//! 4. The deployment is written to the audit log.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use edgeprove_audit::Audit;
use edgeprove_chain::{
    DeployError, Deployment, DeploymentStage, Journal, JournalError, Node, NodeError, Record,
    deployment::Limits,
};
use edgeprove_circuit_store::{CircuitStore, CircuitStoreError, deployments::DeploymentKey};
use edgeprove_job_queue::{
    JobOutcome, QueueError, SqlQueue,
    attempt::Attempt,
    kind::{JobKind, Work},
};
use edgeprove_job_rules::{
    audit::{Action, Entry, Outcome},
    capability::Capability,
    job::Job,
    outcome::DecodeError,
    progress::Stage,
};
use edgeprove_outbound::Timeouts;
use edgeprove_protocol::{CircuitId, HasProblemType, JobId, Problem, ProblemType};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    access,
    circuits::{
        Circuits,
        compiled_contracts::{self, ContractsError},
    },
    jobs::held_keys::{HeldKey, HeldKeys, Taken},
};

/// The name of the kind.
pub const KIND: &str = "deploy";

/// The stages of an attempt.
const PREPARING: Stage = Stage { name: "preparing", percent: 5, is_timed: false };
const DEPLOYING: Stage = Stage { name: "deploying", percent: 20, is_timed: false };

/// How often the queue is compared with the private keys in memory.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// The most queued deployments that are compared.
const QUEUED_MAX: u32 = 1_000;

/// The payload of a deployment. No part is private.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The circuit.
    pub circuit: CircuitId,
    /// Its version.
    pub version: String,
    /// The chain.
    pub chain_id: u64,
    /// The address of the account that deploys.
    pub deployer: String,
    /// The id of the request that asked for it.
    pub request_id: String,
}

impl Payload {
    /// The payload of a deployment.
    pub fn of(job: &Job) -> Result<Self, DecodeError> {
        job.read_payload()
    }

    /// What identifies the deployment.
    #[must_use]
    pub fn key(&self) -> DeploymentKey {
        DeploymentKey {
            circuit: self.circuit.clone(),
            version: self.version.clone(),
            chain_id: self.chain_id,
            deployer: self.deployer.clone(),
        }
    }
}

/// What a deployment reports. The record of the deployment has the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DeployReport {
    address: Option<String>,
}

/// The kind of deployments.
pub struct Deploy {
    circuits: Arc<Circuits>,
    keys: HeldKeys,
    audit: Audit,
}

/// Why an attempt has no result.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The server that held the key ended.
    #[error(
        "the server that had the private key in memory ended before the deployment did: send the same request again, which \
         continues it"
    )]
    KeyGone,
    #[error("this server stores no circuits")]
    NoStore,
    #[error("the circuit was removed, or built again with other keys, after the deployment was requested")]
    CircuitChanged,
    #[error(transparent)]
    Payload(#[from] DecodeError),
    #[error(transparent)]
    Store(#[from] CircuitStoreError),
    #[error(transparent)]
    Contracts(#[from] ContractsError),
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error("the record of the deployment is damaged")]
    Record(#[from] serde_json::Error),
}

/// Another job continues the deployment.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("another job continues the deployment")]
struct TakenOver;

impl HasProblemType for Failure {
    fn kind(&self) -> ProblemType {
        match self {
            Self::KeyGone => ProblemType::DeploymentFailed,
            Self::NoStore | Self::CircuitChanged => ProblemType::CircuitNotFound,
            Self::Payload(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Contracts(error) => error.kind(),
            Self::Deploy(error) => deploy_problem(error),
            Self::Record(_) => ProblemType::StoredDataDamaged,
        }
    }
}

/// The problem of a failed deployment.
fn deploy_problem(error: &DeployError) -> ProblemType {
    match error {
        DeployError::Node(error) => node_problem(error),
        DeployError::Contracts(_) => ProblemType::StoredDataDamaged,
        DeployError::Journal(JournalError(error)) if error.is::<TakenOver>() => ProblemType::DeploymentFailed,
        DeployError::Journal(_) => ProblemType::JobStoreUnavailable,
        DeployError::WrongChain { .. }
        | DeployError::TooFewCoins { .. }
        | DeployError::TooMuchGas { .. }
        | DeployError::AbsurdFee { .. }
        | DeployError::Reverted { .. }
        | DeployError::NotInBlock { .. }
        | DeployError::NonceTaken { .. }
        | DeployError::UnknownContract { .. }
        | DeployError::Contradiction { .. } => ProblemType::DeploymentFailed,
    }
}

/// The problem of a node without an answer.
#[must_use]
pub const fn node_problem(error: &NodeError) -> ProblemType {
    match error {
        NodeError::Refused { .. } => ProblemType::DeploymentFailed,
        NodeError::InternalAddress { .. } => ProblemType::NodeNotAllowed,
        NodeError::Client { .. }
        | NodeError::Unreachable { .. }
        | NodeError::TooSlow { .. }
        | NodeError::Status { .. }
        | NodeError::TooLarge { .. }
        | NodeError::Improper { .. } => ProblemType::NodeUnavailable,
    }
}

/// Stores what is known of a deployment in the database.
struct StoredRecord<'a> {
    store: &'a CircuitStore,
    key: &'a DeploymentKey,
    job: JobId,
}

#[async_trait]
impl Journal for StoredRecord<'_> {
    async fn store(&self, record: &Record) -> Result<(), JournalError> {
        let text = serde_json::to_string(record).map_err(|error| JournalError(error.into()))?;
        let stored = self.store.store_deployment(self.key, self.job, &text, record.is_complete()).await;
        match stored {
            Ok(true) => Ok(()),
            Ok(false) => Err(JournalError(TakenOver.into())),
            Err(error) => Err(JournalError(error.into())),
        }
    }
}

impl Deploy {
    /// Deploys contracts of these circuits with these keys.
    #[must_use]
    pub const fn new(circuits: Arc<Circuits>, keys: HeldKeys, audit: Audit) -> Self {
        Self { circuits, keys, audit }
    }

    async fn attempt(&self, job: &Job, attempt: &Attempt, held: &HeldKey) -> Result<DeployReport, Failure> {
        let payload = Payload::of(job)?;
        let store = self.circuits.store().ok_or(Failure::NoStore)?;
        let stored = store.find(&payload.circuit).await?;
        let stored = stored.filter(|stored| stored.circuit.version == payload.version);
        let contracts = compiled_contracts::read(store, &stored.ok_or(Failure::CircuitChanged)?).await?;
        let key = payload.key();
        let record = match store.begin_deployment(&key, job.id).await? {
            Some(record) => {
                let node = Node::new(held.node.clone(), Timeouts::default()).map_err(DeployError::from)?;
                let deployment = Deployment {
                    node: &node,
                    chain_id: payload.chain_id,
                    key: &held.key,
                    contracts: &contracts,
                    journal: &StoredRecord { store, key: &key, job: job.id },
                    limits: Limits::default(),
                    on_stage: &|stage| attempt.report_stage(stage_of(stage).name),
                };
                let record = deployment.run(serde_json::from_str(&record)?).await?;
                self.record_deployed(job, &payload, &record).await;
                record
            }
            // An earlier job completed it, after this one was accepted.
            None => match store.deployment(&key).await? {
                Some(deployment) => serde_json::from_str(&deployment.record)?,
                None => return Err(Failure::CircuitChanged),
            },
        };
        Ok(DeployReport { address: record.contracts.last().map(|contract| contract.address.to_string()) })
    }

    /// The contracts are on the chain, whatever becomes of the log: the entry is retained until it can be written.
    async fn record_deployed(&self, job: &Job, payload: &Payload, record: &Record) {
        let verifier = record.contracts.last();
        let entry = Entry {
            job_id: Some(job.id),
            job_kind: Some(job.kind.clone()),
            circuit: Some(payload.circuit.clone()),
            contract: verifier.map(|it| format!("eip155:{}:{}", payload.chain_id, it.address)),
            request_id: Some(payload.request_id.clone()),
            outcome: Some(Outcome::Ok),
            ..self.audit.entry(access::actor(&job.owner), Action::CircuitDeployed)
        };
        self.audit.record_or_retain(entry).await;
    }
}

const fn stage_of(stage: DeploymentStage) -> Stage {
    match stage {
        DeploymentStage::Preparing => PREPARING,
        DeploymentStage::Deploying => DEPLOYING,
    }
}

#[async_trait]
impl JobKind for Deploy {
    fn name(&self) -> &'static str {
        KIND
    }

    fn stages(&self) -> &'static [Stage] {
        &[PREPARING, DEPLOYING]
    }

    /// The jobs whose keys this server holds, and those that nobody can run any more.
    fn capability(&self) -> Capability {
        Capability { kind: KIND, subjects: Some(self.keys.subjects()) }
    }

    /// How long a chain takes depends on the chain, so that nothing is learned from earlier jobs.
    fn work_of(&self, _: &Job) -> Option<Work> {
        None
    }

    fn span(&self, job: &Job) -> tracing::Span {
        match Payload::of(job) {
            Ok(Payload { request_id, .. }) => tracing::info_span!("job", request_id),
            Err(_) => tracing::Span::none(),
        }
    }

    async fn run(&self, job: &Job, attempt: &Attempt) -> JobOutcome {
        let result = match self.keys.take(&job.version) {
            Taken::Later => return JobOutcome::Released,
            Taken::Gone => Err(Failure::KeyGone),
            Taken::Key(held, _busy) => self.attempt(job, attempt, &held).await,
        };
        let problem = |kind, detail| {
            let request_id = Payload::of(job).ok().map(|payload| payload.request_id);
            JobOutcome::Failed(Box::new(Problem::new(kind, detail, request_id)))
        };
        match result {
            Ok(report) => JobOutcome::completed(None, report).unwrap_or_else(|error| {
                tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "the report of a deployment could not be encoded");
                problem(ProblemType::Internal, "the server failed to store the outcome".to_owned())
            }),
            Err(failure) => {
                tracing::warn!(error = %edgeprove_telemetry::chain(&failure), "a circuit could not be deployed");
                problem(failure.kind(), failure.public_detail())
            }
        }
    }
}

/// Compares the queue with the private keys in memory again and again, until the server stops.
pub async fn follow_queue(keys: &HeldKeys, queue: &SqlQueue, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = compare(keys, queue).await {
            tracing::warn!(error = %edgeprove_telemetry::chain(&error), "deployments in the queue cannot be listed");
        }
        let _ = tokio::time::timeout(COMPARE_EVERY, stop.cancelled()).await;
    }
}

async fn compare(keys: &HeldKeys, queue: &SqlQueue) -> Result<(), QueueError> {
    // Also where the database does not answer.
    keys.expire();
    for version in keys.versions() {
        // The version of such a job is its id. A job that is not accepted yet is not in the database.
        let Ok(id) = version.parse() else { continue };
        if queue.get(id).await?.is_some_and(|job| job.status.is_finished()) {
            keys.forget(&version);
        }
    }
    let queued = queue.queued_of(KIND, QUEUED_MAX).await?;
    keys.compare(queued.iter(), queue.database().is_shared());
    Ok(())
}
