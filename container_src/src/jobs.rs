//! The jobs of this server: what it adds to the queue of [`edgeprove_job_queue`], which knows no kind of work.
//!
//! Start with [`submission`]: from a checked upload to an accepted job. [`job_kinds::prove`] then runs the job.
//!
//! Imports run down this list only.
//! - [`system`]: puts everything together, and starts it.
//! - [`webhooks`]: what is sent to callers when their jobs have finished.
//! - [`circuit_document`]: the wire's document of a circuit.
//! - [`build_request`]: requests for circuits.
//! - [`deploy_request`]: requests for deployments of their contracts.
//! - [`pulled_proof`]: checks the proofs of provers that pull. [`pull`]: gives jobs to them, and ends these jobs.
//! - [`scale`]: how many provers the queue needs.
//! - [`submission`]: accepts jobs. [`changes`]: cancels them, and queues failed ones again.
//! - [`link_token`]: tokens with which pages read one job.
//! - [`watch_permits`]: how many clients may follow jobs.
//! - [`document`]: the wire's document of a job.
//! - [`spent_proofs`]: returns the proofs of failed jobs to the quotas of their callers.
//! - [`lost_entries`]: completes the audit log after a crash.
//! - [`job_recorder`]: writes what happens to jobs to the audit log and the metrics.
//! - [`job_kinds`]: the kinds of jobs, a file each.
//! - [`held_keys`]: the private keys of deployments that wait for a worker.

pub mod build_request;
pub mod changes;
pub mod circuit_document;
pub mod deploy_request;
pub mod document;
pub mod held_keys;
pub mod job_kinds;
pub mod job_recorder;
pub mod link_token;
pub mod lost_entries;
pub mod pull;
pub mod pulled_proof;
pub mod scale;
pub mod spent_proofs;
pub mod submission;
pub mod system;
pub mod watch_permits;
pub mod webhooks;

use std::{path::PathBuf, sync::Arc};

use edgeprove_artifacts::ArtifactStore;
use edgeprove_builder::Builder;
use edgeprove_job_queue::{
    QueueError, SqlQueue, activity::Activity, job_counts::JobCounter, job_view::JobViews, kind::JobKinds,
    watchers::JobWatchers,
};
use edgeprove_job_rules::prediction::Estimate;
use edgeprove_outbound::AllowedHosts;
use edgeprove_protocol::{HasProblemType, JobDocument, Priority, ProblemType};
use edgeprove_telemetry::Supervisor;

use self::{
    held_keys::HeldKeys, job_recorder::JobRecorder, link_token::LinkTokens, pull::PullJobs,
    scale::ScaleMeter, spent_proofs::SpentProofs, watch_permits::WatchPermits, webhooks::Webhooks,
};
use crate::{
    access::{ANONYMOUS, Caller},
    circuits::Circuits,
};

/// The jobs of this server, as its endpoints use them.
pub struct Jobs {
    /// Where jobs and their artifacts are stored.
    pub store: JobStore,
    /// The circuits that jobs prove and build.
    pub circuits: Arc<Circuits>,
    /// Builds circuits, and calls their verifier contracts; `None` on a server that builds none.
    pub builder: Option<Builder>,
    /// Follows jobs.
    pub watchers: Arc<JobWatchers>,
    /// Bounds the number of clients that follow jobs.
    pub watch_permits: WatchPermits,
    /// The jobs of provers that pull.
    pub pull: PullJobs,
    /// How many provers the queue needs.
    pub scale: ScaleMeter,
    /// Makes and checks the tokens of links.
    pub link_tokens: LinkTokens,
    /// What is measured of jobs.
    pub gauges: JobGauges,
    /// The spent proofs of callers with a quota.
    pub quota: Arc<SpentProofs>,
    /// Writes to the audit log.
    pub recorder: JobRecorder,
    /// The maximum number of attempts at a job.
    pub max_attempts: u32,
    /// The Ethereum nodes by which contracts may be deployed. Empty: none are deployed.
    pub deploy_nodes: AllowedHosts,
    /// The webhooks; `None` where none are sent.
    pub webhooks: Option<Webhooks>,
    /// The private keys of deployments that wait.
    keys: HeldKeys,
    supervisor: Supervisor,
}

/// Where jobs and their artifacts are stored.
pub struct JobStore {
    /// The queue.
    pub queue: SqlQueue,
    /// Their inputs and results, encrypted.
    pub artifacts: Arc<ArtifactStore>,
    /// The data folder, if the jobs are in one.
    pub folder: Option<PathBuf>,
    /// The number of this container in the ids of its jobs, if it alone stores them.
    pub instance_number: Option<u16>,
}

/// What is measured of jobs.
pub struct JobGauges {
    /// The kinds of jobs that this server runs.
    pub kinds: JobKinds,
    /// How full the queue is.
    pub counter: Arc<JobCounter>,
    /// How many jobs this server runs.
    pub activity: Activity,
}

impl Jobs {
    /// Views of jobs, with position, percent and remaining time.
    #[must_use]
    pub fn views(&self) -> &JobViews {
        self.watchers.views()
    }

    /// The account under which a caller's jobs take turns with those of others and have a share of the queue. An address is
    /// stored as a hash under the store's key.
    #[must_use]
    pub fn account(&self, caller: &Caller) -> String {
        if caller.name().is_some() {
            return caller.owner();
        }
        let hash = self.store.artifacts.fingerprint(&[b"account", caller.share_account().as_bytes()]);
        format!("address:{}", hex::encode(&hash[..8]))
    }

    /// Adds a token to the link to the events of a job with an owner. The job of a caller without a key needs none: its id
    /// is all that protects it.
    #[must_use]
    pub fn with_link_token(&self, mut document: JobDocument, owner: &str) -> JobDocument {
        if owner != ANONYMOUS {
            let token = self.link_tokens.issue(document.id);
            document.links.events = format!("{}?token={token}", document.links.events);
        }
        document
    }

    /// The time that a new job of this account and priority would take until it finishes; `None` where nothing is known of such
    /// jobs.
    pub async fn forecast(
        &self,
        kind: &str,
        subject: &str,
        account: &str,
        priority: Priority,
    ) -> Result<Option<Estimate>, QueueError> {
        self.views().forecast(kind, subject, account, priority).await
    }
}

/// Why this server accepts no jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JobsDisabled {
    /// No location for them was configured.
    #[error(
        "asynchronous jobs are disabled: start with --data DIR (EDGEPROVE_DATA) on a volume, or with DATABASE_URL and \
         EDGEPROVE_ARTIFACTS, or accept the loss of jobs with --ephemeral-jobs"
    )]
    NoPlace,
    /// Their location is removed with the container.
    #[error(
        "asynchronous jobs are disabled: the data folder is part of this container and is removed with it; mount a \
         volume there, set DATABASE_URL, or accept the loss of jobs with --ephemeral-jobs"
    )]
    InContainer,
    /// The location of their witnesses and proofs is removed with the container.
    #[error(
        "asynchronous jobs are disabled: the folder of the artifacts is part of this container and is removed with it; \
         mount a volume there, set EDGEPROVE_ARTIFACTS to a bucket, or accept the loss of jobs with --ephemeral-jobs"
    )]
    ArtifactsInContainer,
    /// The default data folder cannot be used.
    #[error(
        "asynchronous jobs are disabled: the default data folder cannot be used, for the reason in the log; choose \
         another one with --data DIR (EDGEPROVE_DATA)"
    )]
    DefaultFolder,
}

impl HasProblemType for JobsDisabled {
    fn kind(&self) -> ProblemType {
        ProblemType::JobsDisabled
    }
}
